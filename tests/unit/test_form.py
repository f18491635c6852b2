# SPDX-License-Identifier: AGPL-3.0-or-later
"""What one entry has to be: each field that a kind cannot have is refused by its name."""

from dataclasses import replace

import pytest

from harp.base.errors import RemoteProtocolError
from harp.sync.engine import details, form
from harp.sync.model import EntryId, FolderId, Hlc, Kind, Metadata, Path, Role, RootId
from tests.fakes.history import device_key, incarnation

DEVICE = device_key(1).device_id
ID = EntryId(b"i" * 32)
FILE = Metadata(
    folder=FolderId(b"f" * 32),
    author=DEVICE,
    incarnation=incarnation(1),
    sequence=1,
    kind=Kind.FILE,
    path=Path(b"a"),
    size=5,
    root=RootId(b"r" * 32),
    executable=True,
    replaces=(ID,),
)
PLAIN = replace(FILE, size=0, root=RootId(b""), executable=False)
DIRECTORY = replace(PLAIN, kind=Kind.DIRECTORY)
SYMLINK = replace(PLAIN, kind=Kind.SYMLINK, target=b"../b")
TOMBSTONE = replace(PLAIN, kind=Kind.TOMBSTONE)
GRANT = replace(
    PLAIN, kind=Kind.GRANT, path=Path(b""), replaces=(), detail=details.grant_detail(DEVICE, Role.OWNER, "x")
)


@pytest.mark.parametrize("meta", [FILE, PLAIN, DIRECTORY, SYMLINK, TOMBSTONE, GRANT], ids=lambda meta: meta.kind.name)
def test_each_kind_has_a_form_that_is_accepted(meta: Metadata) -> None:
    form.check_form(meta)


def test_the_ends_of_the_ranges_are_within() -> None:
    form.check_form(replace(FILE, size=2**63 - 1, mtime_ns=-(2**63), hlc=Hlc(2**63 - 1), sequence=2**63 - 1))
    form.check_form(replace(FILE, mtime_ns=2**63 - 1, path=Path(b"p" * 4096), replaces=(ID,) * 256))


@pytest.mark.parametrize(
    ("meta", "field"),
    [
        (replace(FILE, root=RootId(b"")), "root"),
        (replace(FILE, root=RootId(b"r" * 31)), "root"),
        (replace(FILE, size=0), "root"),
        (replace(FILE, size=-1), "size"),
        (replace(FILE, size=2**63), "size"),
        (replace(FILE, mtime_ns=2**63), "mtime"),
        (replace(FILE, mtime_ns=-(2**63) - 1), "mtime"),
        (replace(FILE, hlc=Hlc(-1)), "clock"),
        (replace(FILE, hlc=Hlc(2**63)), "clock"),
        (replace(FILE, sequence=0), "sequence"),
        (replace(FILE, sequence=2**63), "sequence"),
        (replace(FILE, path=Path(b"")), "path"),
        (replace(FILE, path=Path(b"p" * 4097)), "path"),
        (replace(FILE, target=b"t"), "target"),
        (replace(FILE, detail=b"\x80"), "detail"),
        (replace(FILE, replaces=(ID,) * 257), "replaces"),
        (replace(FILE, replaces=(EntryId(b"short"),)), "replaces"),
        (replace(DIRECTORY, root=RootId(b"r" * 32)), "root"),
        (replace(DIRECTORY, size=1), "size"),
        (replace(DIRECTORY, executable=True), "executable"),
        (replace(SYMLINK, target=b""), "target"),
        (replace(SYMLINK, target=b"a\0b"), "target"),
        (replace(SYMLINK, target=b"t" * 4097), "target"),
        (replace(TOMBSTONE, target=b"t"), "target"),
        (replace(GRANT, path=Path(b"a")), "path"),
        (replace(GRANT, replaces=(ID,)), "replaces"),
        (replace(GRANT, detail=b""), "CBOR"),
        (replace(GRANT, kind=Kind.LEAVE), "leave"),
        (replace(SYMLINK, path=Path(b"p" * 4096), target=b"t" * 4096, replaces=(ID,) * 256), "length"),
    ],
)
def test_what_a_kind_cannot_have_is_refused_by_name(meta: Metadata, field: str) -> None:
    with pytest.raises(RemoteProtocolError, match=field):
        form.check_form(meta)


def test_the_bound_of_an_entrys_length_is_one_and_a_close_one() -> None:
    for meta in (FILE, SYMLINK, GRANT, replace(FILE, path=Path(b"p" * 4096), hlc=Hlc(2**62), replaces=(ID,) * 256)):
        bound = form.size_bound(meta.path, meta.target, meta.detail, len(meta.replaces))
        assert bound - 256 <= len(meta.serialize()) <= bound
