# SPDX-License-Identifier: AGPL-3.0-or-later
"""What one entry has to be, looked at by itself: the fields that its kind has, and their ranges.

Whether a path is one that a disk may be given is for :mod:`harp.sync.folder.names`.
"""

from harp.base.errors import RemoteProtocolError
from harp.sync.engine import details
from harp.sync.model import ID_BYTES, MAX_ENTRY_BYTES, MAX_PATH_BYTES, MAX_REPLACES, Kind, Metadata

_MIN_INT, _MAX_INT = -(2**63), 2**63 - 1

_FIXED_BYTES = MAX_ENTRY_BYTES - details.MAX_DETAIL_BYTES
"""More than the CBOR of all fields of fixed length, and of the heads of the others."""
_REPLACES_BYTES = ID_BYTES + 2


def size_bound(path: bytes, target: bytes, detail: bytes, replaces: int) -> int:
    """At least the length in bytes of the serialized entry that has these; at most 256 more."""
    return _FIXED_BYTES + len(path) + len(target) + len(detail) + replaces * _REPLACES_BYTES


def replaces_room(path: bytes, target: bytes) -> int:
    """How many entries one about a path can replace within the limits: at least 200."""
    return min(MAX_REPLACES, (MAX_ENTRY_BYTES - size_bound(path, target, b"", 0)) // _REPLACES_BYTES)


def check_form(meta: Metadata) -> None:
    """Raises :class:`RemoteProtocolError` that names the field which an entry of that kind cannot have."""
    kind = meta.kind
    if kind is Kind.FILE:
        _require(len(meta.root) == (ID_BYTES if meta.size else 0), meta, "root")
    else:
        _require(isinstance(kind, Kind), meta, "kind")
        _require(not meta.root, meta, "root")
        _require(meta.size == 0, meta, "size")
        _require(not meta.executable, meta, "executable bit")
    _check_ranges(meta)
    _check_texts(meta, kind)


def _check_ranges(meta: Metadata) -> None:
    _require(0 <= meta.size <= _MAX_INT, meta, "size")
    _require(_MIN_INT <= meta.mtime_ns <= _MAX_INT, meta, "mtime")
    _require(0 <= meta.hlc <= _MAX_INT, meta, "clock")
    _require(1 <= meta.sequence <= _MAX_INT, meta, "sequence")
    if meta.replaces:
        _require(len(meta.replaces) <= MAX_REPLACES, meta, "list of what it replaces")
        _require(all(len(replaced) == ID_BYTES for replaced in meta.replaces), meta, "list of what it replaces")


def _check_texts(meta: Metadata, kind: Kind) -> None:
    if kind is Kind.SYMLINK:
        _require(0 < len(meta.target) <= MAX_PATH_BYTES and b"\0" not in meta.target, meta, "target")
    else:
        _require(not meta.target, meta, "target")
    if kind.is_about_path:
        _require(0 < len(meta.path) <= MAX_PATH_BYTES, meta, "path")
        _require(not meta.detail, meta, "detail")
    else:
        _require(not meta.path, meta, "path")
        _require(not meta.replaces, meta, "list of what it replaces")
        details.check_detail(kind, meta.detail)
    bound = size_bound(meta.path, meta.target, meta.detail, len(meta.replaces))
    # Serialized only where it may matter: this runs for every entry that arrives.
    _require(bound <= MAX_ENTRY_BYTES or len(meta.serialize()) <= MAX_ENTRY_BYTES, meta, "length")


def _require(is_right: bool, meta: Metadata, field: str) -> None:
    if not is_right:
        raise RemoteProtocolError(f"entry {meta.sequence} of a batch has a {field} that its kind cannot have")
