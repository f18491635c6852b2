# SPDX-License-Identifier: AGPL-3.0-or-later
"""Laws of names: nothing accepted leaves the folder, and colliding is an equivalence."""

import posixpath
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harp.base.errors import RemoteProtocolError
from harp.sync.folder import names
from harp.sync.model import MAX_DEPTH, MAX_NAME_BYTES, MAX_PATH_BYTES, Path

nasty = st.sampled_from(
    [b"", b".", b"..", b"/", b"//", b"\0", b".harp", b".HARP", b"..\\", b"a", b"\xff", b"~", b"%2e%2e"]
)
components = st.one_of(nasty, st.binary(max_size=12), st.text(max_size=8).map(lambda t: t.encode("utf-8", "replace")))
paths = st.lists(components, max_size=8).map(lambda parts: Path(b"/".join(parts)))
texts = st.text(st.characters(codec="utf-8"), max_size=12)


@given(paths)
def test_nothing_accepted_escapes_the_root(path: Path) -> None:
    try:
        names.check(path)
    except RemoteProtocolError:
        return
    landed = posixpath.normpath(posixpath.join(b"/root", path))
    assert landed == b"/root/" + path
    assert path.count(b"\0") == 0
    assert 0 < len(path) <= MAX_PATH_BYTES
    assert path.count(b"/") < MAX_DEPTH
    assert all(0 < len(component) <= MAX_NAME_BYTES for component in path.split(b"/"))


@given(
    texts,
    st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]),
    st.sampled_from([str.upper, str.lower, str.title, str.casefold]),
)
def test_no_form_of_the_private_directory_is_accepted(tail: str, form: str, case: object) -> None:
    written = unicodedata.normalize(form, case(".harp"))  # type: ignore[operator, arg-type]
    for first in (written, "".join(chr(ord(c) + 0xFEE0) for c in written)):
        path = Path((first + tail.replace("/", "_").replace("\0", "_")).encode())
        if path == names.SYNCED_IGNORE:
            continue
        with pytest.raises(RemoteProtocolError):
            names.check(path)


@given(texts.filter(bool))
def test_a_name_collides_with_its_other_normal_forms_and_cases(text: str) -> None:
    key = names.folded(Path(text.encode()))
    for form in ("NFC", "NFD"):
        assert names.folded(Path(unicodedata.normalize(form, text).encode())) == key
    assert names.folded(Path(text.casefold().encode())) == key


@given(st.one_of(st.binary(max_size=40), texts.map(str.encode)))
def test_folding_keeps_the_components_apart(raw: bytes) -> None:
    assert names.folded(Path(raw)).count(b"/") == raw.count(b"/")


@given(texts)
def test_folding_twice_is_folding_once(text: str) -> None:
    once = names.folded(Path(text.encode()))
    assert names.folded(Path(once)) == once


@given(st.text("aAbB./é", max_size=6), st.text("aAbB./é", max_size=6))
def test_names_of_composed_letters_collide_exactly_when_they_differ_by_case_alone(one: str, other: str) -> None:
    assert (names.folded(Path(one.encode())) == names.folded(Path(other.encode()))) == (one.lower() == other.lower())


@given(st.lists(st.binary(min_size=1, max_size=9).map(lambda b: b.replace(b"/", b"_")), min_size=1, max_size=6))
def test_join_undoes_parent_and_name(parts: list[bytes]) -> None:
    path = Path(b"/".join(parts))
    assert names.join(names.parent(path), names.name(path)) == path
    assert list(names.ancestors(path)) == [Path(b"/".join(parts[:n])) for n in range(1, len(parts))]
    assert all(names.is_below(path, above) for above in names.ancestors(path))
