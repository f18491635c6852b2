# SPDX-License-Identifier: AGPL-3.0-or-later
"""Laws of merging one path: the view is a function of the set of heads, and hides nobody's edit."""

import itertools

from hypothesis import assume, given
from hypothesis import strategies as st

from harp.sync.engine.merge import conflict_path, content, merged_heads, next_hlc, shown, surviving, view
from harp.sync.folder import names
from harp.sync.model import MAX_NAME_BYTES, Entry, Kind, Path
from tests.fakes.tree import directory, head, symlink, tombstone

PATH = Path(b"some/notes.txt")
NAMES = st.binary(min_size=1, max_size=255).filter(lambda name: b"/" not in name and b"\0" not in name)


@st.composite
def heads_of(draw: st.DrawFn, path: bytes = PATH) -> tuple[Entry, ...]:
    """Concurrent heads: each made by an author of its own."""
    heads = []
    for author in range(1, draw(st.integers(0, 6)) + 1):
        hlc, which = draw(st.integers(0, 3)), draw(st.integers(0, 5))
        match which:
            case 0:
                heads.append(tombstone(path, author=author, hlc=hlc))
            case 1:
                heads.append(directory(path, author=author, hlc=hlc))
            case 2:
                heads.append(symlink(path, draw(st.sampled_from([b"here", b"there"])), author=author, hlc=hlc))
            case _:
                held, mtime = draw(st.sampled_from([b"", b"one", b"two"])), draw(st.integers(0, 1))
                heads.append(head(path, bytes_=held, author=author, hlc=hlc, mtime_ns=mtime))
    return tuple(heads)


@st.composite
def histories(draw: st.DrawFn) -> list[Entry]:
    """Entries of one path, each replacing any that were made before it."""
    entries: list[Entry] = []
    for number in range(1, draw(st.integers(1, 8)) + 1):
        replaced = draw(st.sets(st.sampled_from(entries), max_size=3)) if entries else set()
        ids = sorted(entry.id for entry in replaced)
        dies = draw(st.booleans())
        author, hlc = draw(st.integers(1, 3)), draw(st.integers(0, 3))
        kind, held = (Kind.TOMBSTONE, b"") if dies else (Kind.FILE, draw(st.sampled_from([b"one", b"two"])))
        entries.append(head(PATH, kind=kind, bytes_=held, replaces=ids, author=author, sequence=number, hlc=hlc))
    return entries


@given(histories(), st.data())
def test_any_order_and_any_repetition_give_the_same_heads(entries: list[Entry], data: st.DataObject) -> None:
    superseded = {id for entry in entries for id in entry.meta.replaces}
    expected = surviving(entries, superseded)
    order = data.draw(st.permutations(entries)) + data.draw(st.lists(st.sampled_from(entries), max_size=4))
    heads: tuple[Entry, ...] = ()
    merged: set[bytes] = set()
    for entry in order:
        heads = merged_heads(heads, entry, merged.__contains__)
        merged |= set(entry.meta.replaces)
    assert heads == expected


@given(heads_of(), st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_the_heads_does_not_matter(heads: tuple[Entry, ...], below: bool, random: object) -> None:
    shuffled = list(heads)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert view(PATH, shuffled, lives_below=below) == view(PATH, heads, lives_below=below)


@given(heads_of(), st.booleans())
def test_every_concurrent_edit_survives_under_exactly_one_name(heads: tuple[Entry, ...], below: bool) -> None:
    seen = view(PATH, heads, lives_below=below)
    shows = [entry for entry in (seen.at_path, *(entry for _, entry in seen.copies)) if entry is not None]
    kept = [content(entry.meta) for entry in shows]
    assert len(set(kept)) == len(kept)
    assert set(kept) == {content(entry.meta) for entry in heads if entry.meta.kind is not Kind.TOMBSTONE}
    names = [PATH, *(name for name, _ in seen.copies)]
    assert len(set(names)) == len(names)


@given(heads_of(), st.booleans())
def test_of_equal_bytes_the_greatest_is_the_one_shown(heads: tuple[Entry, ...], below: bool) -> None:
    seen = view(PATH, heads, lives_below=below)
    for entry in (seen.at_path, *(entry for _, entry in seen.copies)):
        if entry is not None:
            alike = [one for one in heads if content(one.meta) == content(entry.meta)]
            assert entry == max(alike, key=lambda one: (one.meta.hlc, one.id))
            assert set(shown(entry, heads)) == {one.id for one in alike}


@given(heads_of(), st.booleans())
def test_the_name_goes_to_a_directory_first_and_then_to_the_greatest(heads: tuple[Entry, ...], below: bool) -> None:
    seen = view(PATH, heads, lives_below=below)
    live = sorted((entry for entry in heads if entry.meta.kind is not Kind.TOMBSTONE), key=lambda e: (e.meta.hlc, e.id))
    directories = [entry for entry in live if entry.meta.kind is Kind.DIRECTORY]
    if directories:
        assert seen.at_path == directories[-1]
    elif below:
        assert seen.implied_directory
        assert seen.at_path is None
    else:
        assert seen.at_path == (live[-1] if live else None)
    assert seen.is_directory == bool(directories or below)
    assert seen.is_empty == (not live and not below)


@given(heads_of(), st.integers(0, 2**40))
def test_a_new_entry_is_greater_than_all_heads_and_the_wall_never_goes_back(heads: tuple[Entry, ...], now: int) -> None:
    hlc = next_hlc(heads, now_ms=now)
    assert hlc >= now << 16
    assert all(hlc > entry.meta.hlc for entry in heads)


@given(NAMES, st.integers(0, 2**63 - 1))
def test_a_copys_name_fits_and_keeps_being_text_and_keeps_its_extension(name: bytes, hlc: int) -> None:
    loser = head(b"d/" + name, bytes_=b"x", hlc=hlc)
    copy = conflict_path(Path(b"d/" + name), loser)
    directory, _, made = copy.rpartition(b"/")
    assert directory == b"d"
    assert len(made) <= MAX_NAME_BYTES
    assert made != name
    assert loser.id.hex()[:8].encode() in made
    try:
        name.decode()
    except UnicodeDecodeError:
        return
    made.decode()


@given(
    st.integers(3950, 4096),
    st.lists(st.integers(40, 255), min_size=1),
    st.integers(1, 120),
    st.sampled_from([8, 16, 32, 64]),
    st.sampled_from([b"", b".text"]),
)
def test_a_copy_of_a_path_of_whatever_length_has_one_that_peers_accept(
    length: int, parts: list[int], last: int, digits: int, ending: bytes
) -> None:
    name = b"n" * last + ending
    above = b"/".join(b"d" * part for part in itertools.islice(itertools.cycle(parts), 120))
    path = Path(above[: length - len(name) - 1].rstrip(b"/") + b"/" + name)
    assume(not names.refusal(path))
    copy = conflict_path(path, head(path, bytes_=b"x"), digits=digits)
    assert not names.refusal(copy)
    assert copy != path
    here, there = copy.rpartition(b"/")[0], path.rpartition(b"/")[0]
    assert here == there or (len(there) > 3900 and there.startswith(here + b"/"))


@given(st.text(alphabet="aä漢🎻.", min_size=1, max_size=80).filter(lambda text: len(text.encode()) <= 255))
def test_a_copys_name_of_text_is_cut_between_characters_only(text: str) -> None:
    name = text.encode()
    made = conflict_path(Path(name), head(name, bytes_=b"x"))
    stem = made.decode().partition(" (conflict ")[0]
    assert text.startswith(stem)
