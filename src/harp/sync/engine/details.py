# SPDX-License-Identifier: AGPL-3.0-or-later
"""The details of entries about members, as they are hashed: deterministic CBOR arrays, read without trust.

    grant    [device, role, name]              genesis  [device, role, name, nonce]
    cut      [device, [[incarnation, sequence]…], [[device, sealed secret]…]]
    approve  [0, digest of the held set]  or  [1, author, incarnation, entry id, entry id]
    leave    []

Rows are in ascending order and name nothing twice. Every parser raises RemoteProtocolError for any other bytes.
"""

import hashlib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cbor2

from harp.base.errors import LocalProtocolError, RemoteProtocolError
from harp.identity.device import DEVICE_ID_BYTES, DeviceId
from harp.sync.model import ID_BYTES, INCARNATION_BYTES, MAX_ENTRY_BYTES, ChainId, EntryId, Incarnation, Kind, Role

NONCE_BYTES = 32
MAX_NAME_TEXT_BYTES = 255
MAX_SEALED_BYTES = 512
MAX_NUMBER = 2**63 - 1
MAX_DETAIL_BYTES = MAX_ENTRY_BYTES - 256
"""What the other fields of an entry about members leave."""
NOBODY = DeviceId(bytes(DEVICE_ID_BYTES))
"""Whom a cut is about that only brings a new secret: no key, so it ends no membership, also not a new one."""

_HELD, _FORK = 0, 1
_MAX_DEPTH = 4
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Grant:
    """Admits ``device``. ``nonce`` is the founder's, in a genesis alone; elsewhere it is empty."""

    device: DeviceId
    role: Role
    name: str
    nonce: bytes = b""


@dataclass(frozen=True, slots=True)
class Cut:
    """Ends what ``device`` may say: for each incarnation ``last`` is the last sequence accepted."""

    device: DeviceId
    last: Mapping[Incarnation, int]
    sealed_secrets: Mapping[DeviceId, bytes] = field(repr=False)
    """The next knocking secret of the folder, sealed to each member that remains."""


@dataclass(frozen=True, slots=True)
class HeldSet:
    """The author stands by a held set of its own entries; see :func:`held_digest`."""

    digest: bytes


@dataclass(frozen=True, slots=True)
class ForkBranches:
    """An owner takes both branches of a forked chain; ``branches`` are the first entries that differ, ascending."""

    chain: ChainId
    branches: tuple[EntryId, EntryId]


Approval = HeldSet | ForkBranches


def held_digest(entries: Iterable[EntryId]) -> bytes:
    """32 bytes that bind an approval to exactly this set: SHA3-256 over its ids in ascending order, each once."""
    return hashlib.sha3_256(b"harp held v1" + b"".join(sorted(set(entries)))).digest()


def grant_detail(device: DeviceId, role: Role, name: str) -> bytes:
    """The detail of a GRANT. Raises :class:`LocalProtocolError` for what no peer would accept."""
    return _written((device, int(role), name), Kind.GRANT)


def genesis_detail(device: DeviceId, name: str, nonce: bytes) -> bytes:
    """The detail of a founder's first entry, which makes it owner. Raises :class:`LocalProtocolError`."""
    detail = _written((device, int(Role.OWNER), name, nonce), Kind.GRANT)
    if len(nonce) != NONCE_BYTES:
        raise LocalProtocolError("a genesis needs a nonce of 32 bytes")
    return detail


def cut_detail(device: DeviceId, last: Mapping[Incarnation, int], sealed_secrets: Mapping[DeviceId, bytes]) -> bytes:
    """The detail of a CUT: an incarnation that ``last`` leaves out is not accepted at all.

    Raises :class:`LocalProtocolError` for what no peer would accept.
    """
    return _written((device, tuple(sorted(last.items())), tuple(sorted(sealed_secrets.items()))), Kind.CUT)


def cut_details(
    device: DeviceId, last: Mapping[Incarnation, int], sealed_secrets: Mapping[DeviceId, bytes]
) -> list[bytes]:
    """The details of as many CUTs as it takes to say this in entries that peers accept.

    The first cuts ``device``, the others nobody: they hand the secrets to those members for whom it had no room. Where
    not even ``last`` fits, those chains keep their entries that have most of them.
    """
    longest = sorted(last.items(), key=lambda row: (-row[1], row[0]))
    room = MAX_DETAIL_BYTES - _CUT_BYTES
    kept = longest[: _fitting(longest, room)]
    secrets = sorted(sealed_secrets.items())
    first = _fitting(secrets, room - sum(map(_row_bytes, kept)))
    found = [cut_detail(device, dict(kept), dict(secrets[:first]))]
    rest = secrets[first:]
    while rest:
        part, rest = rest[: _fitting(rest, room)], rest[_fitting(rest, room) :]
        found.append(cut_detail(NOBODY, {}, dict(part)))
    return found


_CUT_BYTES = 64
"""More than a cut's detail has besides its rows."""


def _fitting(rows: Sequence[tuple[bytes, int | bytes]], room: int) -> int:
    """How many of the rows, from the first, have room."""
    return sum(total <= room for total in itertools.accumulate(map(_row_bytes, rows)))


def _row_bytes(row: tuple[bytes, int | bytes]) -> int:
    return len(cbor2.dumps(row))


def approve_detail(approval: Approval) -> bytes:
    """The detail of an APPROVE. Raises :class:`LocalProtocolError` for what no peer would accept."""
    match approval:
        case HeldSet(digest):
            return _written((_HELD, digest), Kind.APPROVE)
        case ForkBranches(chain, branches):
            return _written((_FORK, *chain, *sorted(branches)), Kind.APPROVE)


def leave_detail() -> bytes:
    """The detail of a LEAVE: there is nothing to add."""
    return _written((), Kind.LEAVE)


def parse_grant(detail: bytes) -> Grant:
    """Also of a genesis, whose grant has a nonce. Raises :class:`RemoteProtocolError`."""
    value = _read(detail)
    _require(len(value) in (3, 4), "grant")
    device, role, name, *rest = value
    _require(_is_bytes(device, DEVICE_ID_BYTES) and type(role) is int and role in tuple(Role), "grant")
    _require(_is_name(name) and all(_is_bytes(nonce, NONCE_BYTES) for nonce in rest), "grant")
    return Grant(DeviceId(device), Role(role), name, *rest)


def parse_cut(detail: bytes) -> Cut:
    """Raises :class:`RemoteProtocolError`."""
    value = _read(detail)
    _require(len(value) == 3, "cut")
    device, last, sealed = value
    _require(_is_bytes(device, DEVICE_ID_BYTES) and _are_pairs(last) and _are_pairs(sealed), "cut")
    _require(all(_is_bytes(key, INCARNATION_BYTES) and _is_sequence(number) for key, number in last), "cut")
    _require(all(_is_bytes(key, DEVICE_ID_BYTES) and _is_sealed(secret) for key, secret in sealed), "cut")
    return Cut(DeviceId(device), dict(last), dict(sealed))


def parse_approve(detail: bytes) -> Approval:
    """Raises :class:`RemoteProtocolError`."""
    match _read(detail):
        case (0, bytes(digest)) as value if type(value[0]) is int and len(digest) == ID_BYTES:
            return HeldSet(digest)
        case (1, bytes(author), bytes(incarnation), bytes(a), bytes(b)) as value if type(value[0]) is int and a < b:
            is_right = len(author) == DEVICE_ID_BYTES and len(incarnation) == INCARNATION_BYTES
            _require(is_right and len(a) == len(b) == ID_BYTES, "approve")
            return ForkBranches(ChainId(DeviceId(author), Incarnation(incarnation)), (EntryId(a), EntryId(b)))
    raise RemoteProtocolError("the detail of an approve entry is not as the protocol has it")


def parse_leave(detail: bytes) -> None:
    """Raises :class:`RemoteProtocolError`."""
    _require(_read(detail) == (), "leave")


def check_detail(kind: Kind, detail: bytes) -> None:
    """Raises :class:`RemoteProtocolError` unless ``detail`` is one that an entry of ``kind`` may have."""
    match kind:
        case Kind.GRANT:
            parse_grant(detail)
        case Kind.CUT:
            parse_cut(detail)
        case Kind.APPROVE:
            parse_approve(detail)
        case Kind.LEAVE:
            parse_leave(detail)
        case _:
            _require(detail == b"", kind.name.lower())


def _written(value: tuple[object, ...], kind: Kind) -> bytes:
    """What is written must be readable, so that a defect here never makes an entry that peers refuse."""
    try:
        detail = cbor2.dumps(value)
        check_detail(kind, detail)
    except (cbor2.CBOREncodeError, UnicodeEncodeError, RemoteProtocolError) as error:
        raise LocalProtocolError(f"this {kind.name.lower()} cannot be written") from error
    return detail


def _refuse(*_: object) -> None:
    raise RemoteProtocolError("a detail holds a CBOR tag or map")


# Tags that the decoder knows by itself would run its big-number, regular-expression and mail parsers on a peer's bytes.
_TAGS: Any = dict.fromkeys(
    (0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799), _refuse
)


def _read(detail: bytes) -> tuple[Any, ...]:
    try:
        value = cbor2.loads(
            detail,
            allow_indefinite=False,
            immutable=True,
            strict_hashable_types=True,
            max_depth=_MAX_DEPTH,
            semantic_decoders=_TAGS,
            tag_hook=_refuse,
            object_hook=_refuse,
        )
        is_canonical = type(value) is tuple and cbor2.dumps(value) == detail
    except (cbor2.CBORError, RemoteProtocolError, ValueError, OverflowError) as error:
        raise RemoteProtocolError("a detail is not the CBOR that it has to be") from error
    if not is_canonical:
        raise RemoteProtocolError("a detail is not deterministic CBOR")
    return tuple(value)


def _require(is_right: bool, kind: str) -> None:
    if not is_right:
        raise RemoteProtocolError(f"the detail of a {kind} entry is not as the protocol has it")


def _is_bytes(value: object, length: int) -> bool:
    return type(value) is bytes and len(value) == length


def _is_sequence(value: object) -> bool:
    return type(value) is int and 1 <= value <= MAX_NUMBER


def _is_sealed(value: object) -> bool:
    return type(value) is bytes and 1 <= len(value) <= MAX_SEALED_BYTES


def _is_name(value: object) -> bool:
    """Shown to people, so without control characters; may be empty."""
    return type(value) is str and len(value.encode()) <= MAX_NAME_TEXT_BYTES and not _CONTROL.search(value)


def _are_pairs(rows: object) -> bool:
    """Rows of two whose keys are bytes, ascend, and so are named once."""
    if type(rows) is not tuple or not all(type(row) is tuple and len(row) == 2 for row in rows):
        return False
    keys = [key for key, _ in rows]
    return all(type(key) is bytes for key in keys) and all(a < b for a, b in itertools.pairwise(keys))
