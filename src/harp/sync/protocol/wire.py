# SPDX-License-Identifier: AGPL-3.0-or-later
"""Values as they travel: one narrow, deterministic CBOR (RFC 8949, section 4.2.1), read without trust.

Harp uses of CBOR: unsigned and negative integers of 64 bits, byte strings, text strings, arrays, false and true.
Maps, tags, floats, null, undefined and indefinite lengths are refused, and so is any encoding but the shortest:
equal values are equal bytes.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

import cbor2

from harp.base.errors import LocalProtocolError, RemoteProtocolError
from harp.identity.device import DEVICE_ID_BYTES, DeviceId
from harp.sync.model import INCARNATION_BYTES, ChainId, Incarnation, Vector

MAX_UINT = 2**63 - 1
"""The greatest number anywhere in the protocol: SQLite and most languages hold no more."""
MAX_TEXT_BYTES = 255
MAX_CHAINS = 4096
"""The most chains that one vector names."""

MAX_DEPTH = 6
"""Arrays within arrays."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_T = TypeVar("_T")


def _refuse(*_: object) -> NoReturn:
    raise RemoteProtocolError("a CBOR tag or map stands where none may be")


# The tags that the decoder knows by itself would run big-number, regular-expression and mail parsers on a peer's bytes.
_REFUSED_TAGS: Mapping[int, Any] = dict.fromkeys(
    (0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799), _refuse
)


def encoded(value: object) -> bytes:
    """The deterministic CBOR of ``value``. Raises :class:`LocalProtocolError` for what CBOR or UTF-8 cannot hold."""
    try:
        return cbor2.dumps(value)
    except (cbor2.CBOREncodeError, UnicodeEncodeError) as error:
        raise LocalProtocolError(f"a message cannot be written: {error}") from error


def decoded(data: bytes | memoryview, *, max_depth: int = MAX_DEPTH) -> Any:
    """The value, with tuples for arrays, whose deterministic CBOR is exactly ``data``.

    Raises :class:`RemoteProtocolError` for anything else. The types within are the caller's to check.
    """
    try:
        value = cbor2.loads(
            data,
            allow_indefinite=False,
            immutable=True,
            strict_hashable_types=True,
            max_depth=max_depth,
            semantic_decoders=_REFUSED_TAGS,
            tag_hook=_refuse,
            object_hook=_refuse,
        )
        written = cbor2.dumps(value)
    except (cbor2.CBORError, RemoteProtocolError, ValueError, OverflowError) as error:
        raise RemoteProtocolError("a message is not the CBOR that it has to be") from error
    if written != data:
        raise RemoteProtocolError("a message is not deterministic CBOR")
    return value


def fields(data: bytes, count: int) -> tuple[Any, ...]:
    """The first ``count`` fields of the array that ``data`` is; those a later version added are checked and left out.

    Raises :class:`RemoteProtocolError` for an array that is shorter, or holds what Harp's CBOR does not.
    """
    value = decoded(data)
    if type(value) is not tuple or len(value) < count:
        raise RemoteProtocolError(f"a message does not have its {count} fields")
    if not all(_is_plain(extra) for extra in value[count:]):
        raise RemoteProtocolError("a message holds a kind of value that the protocol does not use")
    return value[:count]


def _is_plain(value: object) -> bool:
    if type(value) is tuple:
        return all(_is_plain(part) for part in value)
    return type(value) in (int, bytes, str, bool)


def read(make: Callable[[], _T]) -> _T:
    """What ``make`` makes out of a peer's words; what it refuses is the peer's fault, not ours."""
    try:
        return make()
    except LocalProtocolError as error:
        raise RemoteProtocolError(error.message) from error
    except (TypeError, ValueError) as error:
        raise RemoteProtocolError("a message does not have the form it has to have") from error


# --- checks: they raise LocalProtocolError, since whoever builds a value answers for it ------------------------------


def check(is_right: bool, what: str) -> None:
    """Raises :class:`LocalProtocolError` that says ``what`` is not as it has to be."""
    if not is_right:
        raise LocalProtocolError(f"{what} is not as the protocol has it")


def check_uint(value: object, what: str, limit: int = MAX_UINT) -> None:
    """A bool is no number here, although Python thinks so."""
    check(type(value) is int and 0 <= value <= limit, what)


def check_bytes(value: object, what: str, length: int) -> None:
    check(type(value) is bytes and len(value) == length, what)


def check_text(value: object, what: str, limit: int = MAX_TEXT_BYTES) -> None:
    """Text of at most ``limit`` bytes of UTF-8 and without control characters: it will be shown to people."""
    check(isinstance(value, str) and len(value) <= limit and _is_shown_safely(value, limit), what)


def _is_shown_safely(text: str, limit: int) -> bool:
    try:
        return len(text.encode()) <= limit and _CONTROL.search(text) is None
    except UnicodeEncodeError:
        return False


def check_count(value: object, what: str, limit: int) -> None:
    """A tuple of at most ``limit``."""
    check(type(value) is tuple and len(value) <= limit, what)


def check_vector(vector: Vector, what: str) -> None:
    check(len(vector) <= MAX_CHAINS, what)
    for chain, sequence in vector.items():
        check(type(chain) is ChainId, what)
        check_bytes(chain.author, what, DEVICE_ID_BYTES)
        check_bytes(chain.incarnation, what, INCARNATION_BYTES)
        check(type(sequence) is int and 1 <= sequence <= MAX_UINT, what)


def vector_rows(vector: Vector) -> tuple[tuple[bytes, bytes, int], ...]:
    """``vector`` as it is written: [author, incarnation, sequence], in the order of author and incarnation."""
    return tuple(sorted((author, incarnation, sequence) for (author, incarnation), sequence in vector.items()))


def vector_of(rows: Any) -> Vector:
    """The vector that ``rows`` write. Raises :class:`LocalProtocolError` where they are unordered or name one twice."""
    check_count(rows, "a vector", MAX_CHAINS)
    vector = {ChainId(DeviceId(author), Incarnation(incarnation)): sequence for author, incarnation, sequence in rows}
    check_vector(vector, "a vector")
    check(list(vector) == sorted(vector) and len(vector) == len(rows), "the order of a vector")
    return vector
