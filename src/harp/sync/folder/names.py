# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which paths a peer may name, and which names collide on a disk that folds case or normal forms (pure)."""

import unicodedata
from collections.abc import Iterator
from typing import Literal

from harp.base.errors import RemoteProtocolError
from harp.sync.model import MAX_DEPTH, MAX_NAME_BYTES, MAX_PATH_BYTES, Path

PRIVATE = b".harp"
"""The folder's own directory, and the prefix of every name that is reserved at the top of a folder."""
TOP = Path(b"")
"""The folder itself."""
SYNCED_IGNORE = Path(b".harpignore")
"""The one reserved name that is synced like any other file."""

_FORBIDDEN_COMPONENTS = frozenset((b"", b".", b".."))
_IGNORABLE = frozenset(
    chr(code)
    for first, last in (
        (0x034F, 0x034F),
        (0x115F, 0x1160),
        (0x17B4, 0x17B5),
        (0x180B, 0x180F),
        (0x3164, 0x3164),
        (0xFE00, 0xFE0F),
        (0xFFA0, 0xFFA0),
        (0xE0100, 0xE01EF),
    )
    for code in range(first, last + 1)
)
"""Default-ignorable code points (Unicode, DerivedCoreProperties) beside those of category Cf."""
_FOLD_ROUNDS = 4


def check(path: Path) -> None:
    """Refuse what no peer may say of a path.

    Raises :class:`RemoteProtocolError` for a path that is empty, absolute, has an empty, ``.`` or ``..`` component or
    a NUL, is longer than MAX_PATH_BYTES, deeper than MAX_DEPTH, has a component longer than MAX_NAME_BYTES, or is
    reserved (:func:`is_reserved`).
    """
    why = refusal(path)
    if why:
        raise RemoteProtocolError(f"a peer named a path that {why}")


def refusal(path: Path) -> str:
    """Why :func:`check` refuses ``path``, as the end of a sentence; empty for a good path."""
    if not path:
        return "is empty"
    if len(path) > MAX_PATH_BYTES:
        return f"is longer than {MAX_PATH_BYTES} bytes"
    if 0 in path:
        return "holds a NUL"
    components = path.split(b"/")
    if len(components) > MAX_DEPTH:
        return f"is deeper than {MAX_DEPTH} levels"
    if not _FORBIDDEN_COMPONENTS.isdisjoint(components):
        return "is absolute or has an empty, '.' or '..' component"
    if len(path) > MAX_NAME_BYTES and len(max(components, key=len)) > MAX_NAME_BYTES:
        return f"has a component longer than {MAX_NAME_BYTES} bytes"
    if is_reserved(path):
        return "is reserved"
    return ""


def is_reserved(path: Path) -> bool:
    """Whether the first component is ``.harp*`` to any disk or eye: any case, any Unicode normal form.

    Only ``.harpignore`` at the top, spelled exactly so, is not reserved.
    """
    starts_so = path[: len(PRIVATE)].lower() == PRIVATE
    if not starts_so and path.isascii():
        return False
    first, _, rest = path.partition(b"/")
    if first == SYNCED_IGNORE:
        return bool(rest)
    return starts_so or _fixed_point(first, "NFKD").startswith(PRIVATE.decode())


def folded(path: Path) -> bytes:
    """The key under which paths collide on a disk that folds case, normal forms or invisible characters.

    Canonical caseless matching (Unicode, D145) without default-ignorable characters, which ext4 and HFS+ pass over. It
    may unite a few names that some disk tells apart, never the reverse. Bytes that are not UTF-8 stay as they are.
    """
    if path.isascii():
        return path.lower()
    return _fixed_point(path, "NFD").encode("utf-8", "surrogatepass")


def parent(path: Path) -> Path:
    """The directory that holds ``path``; empty (the folder itself) for a path at the top."""
    return Path(path.rpartition(b"/")[0])


def name(path: Path) -> bytes:
    """The last component."""
    return path.rpartition(b"/")[2]


def join(directory: Path, component: bytes) -> Path:
    """The path of ``component`` in ``directory``; the empty path is the folder itself."""
    return Path(b"%s/%s" % (directory, component)) if directory else Path(component)


def ancestors(path: Path) -> Iterator[Path]:
    """The directories above ``path``, the topmost first, without the folder itself."""
    cut = path.find(b"/")
    while cut >= 0:
        yield Path(path[:cut])
        cut = path.find(b"/", cut + 1)


def is_below(path: Path, directory: Path) -> bool:
    """Whether ``path`` lies strictly below ``directory``; everything but the folder itself lies below it."""
    return path.startswith(directory + b"/") if directory else bool(path)


def _fixed_point(path: bytes, form: Literal["NFD", "NFKD"]) -> str:
    """Casefolded, in one normal form, without what nobody sees; a few characters need a second round."""
    text = path.decode("utf-8", "surrogateescape")
    for _ in range(_FOLD_ROUNDS):
        before = text
        text = unicodedata.normalize(form, unicodedata.normalize(form, text).casefold())
        text = "".join(character for character in text if not _is_ignorable(character))
        if text == before:
            break
    return text


def _is_ignorable(character: str) -> bool:
    return character in _IGNORABLE or unicodedata.category(character) == "Cf"
