# SPDX-License-Identifier: AGPL-3.0-or-later
"""Names as they cross the API: hostile text made printable, paths made lossless, folders found by what is typed."""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import TypedDict

from harp.base.errors import UsageError

# Control characters of both sets, line separators, lone surrogates, and the characters that turn the writing direction
# around: each of them can make a terminal or a page show something else than what is there.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_SHORT_ESCAPES: Mapping[str, str] = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_MIN_PREFIX = 4


class PathFields(TypedDict):
    """The two fields of :class:`harp.bridge.model.PathForm`."""

    path: str
    path_b64: str | None


def printable(text: str) -> str:
    """``text`` on one line that no terminal obeys: what is unsafe is written as an escape."""
    return _UNSAFE.sub(_escape, text)


def path_fields(raw: bytes) -> PathFields:
    """A path for the API: ``path`` to be shown, and ``path_b64`` (RFC 4648, section 4) where ``path`` is not exact."""
    text = raw.decode("utf-8", "surrogateescape")
    shown = printable(text)
    return PathFields(path=shown, path_b64=None if shown == text else base64.b64encode(raw).decode())


def raw_path(path: str, path_b64: str | None) -> bytes:
    """The bytes that :func:`path_fields` named; ``path_b64`` counts where it is given. Raises :class:`UsageError`."""
    try:
        if path_b64 is None:
            return path.encode("utf-8", "surrogateescape")
        return base64.b64decode(path_b64, validate=True)
    except UnicodeEncodeError as error:
        raise UsageError("the path is no text", hint="send path_b64") from error
    except (binascii.Error, ValueError) as error:
        raise UsageError("path_b64 is not base64") from error


def chosen_folder(reference: str, folders: Iterable[tuple[bytes, str]]) -> bytes:
    """The id among ``folders`` (pairs of id and name) that a person means by ``reference``.

    That is a name, a whole id in hexadecimal, or the first characters (at least four) of one id only. Raises
    :class:`UsageError` where that is nothing, or more than one.
    """
    known = list(folders)
    wanted = reference.lower()
    found = [folder for folder, _ in known if folder.hex() == wanted]
    found = found or [folder for folder, name in known if name == reference]
    if not found and len(wanted) >= _MIN_PREFIX:
        found = [folder for folder, _ in known if folder.hex().startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(folder.hex()[:12] for folder in found)
        raise UsageError(f"{printable(reference)} means more than one folder", hint=f"name one by its id: {ids}")
    names = ", ".join(sorted(printable(name) for _, name in known))
    hint = (
        f"shared here: {names}" if names else "nothing is shared here yet: `harp share PATH` or `harp join TICKET PATH`"
    )
    raise UsageError(f"no folder {printable(reference)} here", hint=hint)


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return _SHORT_ESCAPES.get(character, f"\\x{code:02x}")
    return f"\\u{code:04x}"
