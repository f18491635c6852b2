# SPDX-License-Identifier: AGPL-3.0-or-later
"""A disk that takes one spelling of a name for another: nothing is said of the others' files that is not so."""

import time
from collections.abc import Iterator
from pathlib import Path as OsPath

import pytest

from harp.sync.folder.apply import Ready, Refused
from harp.sync.folder.fs import Root
from harp.sync.model import Applied, Kind, MakeDirectory, Path, RemoveDirectory, RemoveFile, Skipped
from tests.fakes import mounting
from tests.fakes.folder import NOW, Folder, entry, folder_at, put_new
from tests.fakes.replicas import Device, link_all, settle

# --- an ordinary disk whose listing spells names otherwise than they are asked for -----------------------------------


def listed_as(monkeypatch: pytest.MonkeyPatch, spelling: dict[bytes, bytes]) -> None:
    """What is asked for under a key answers, and is listed under the value."""
    real = Root.names

    def names(root: Root, path: Path) -> list[bytes] | None:
        found = real(root, path)
        return None if found is None else sorted({spelling.get(name, name) for name in found})

    monkeypatch.setattr(Root, "names", names)


@pytest.fixture
def folder(tmp_path: OsPath, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """``NAME`` is the file that ``name`` is, and the directory ``D`` the one that ``d`` is."""
    made = folder_at(tmp_path)
    made.put("name", b"of somebody else")
    made.put("d/file", b"there too")
    (made.at / "NAME").hardlink_to(made.at / "name")
    (made.at / "D").mkdir()
    (made.at / "D/file").hardlink_to(made.at / "d/file")
    listed_as(monkeypatch, {b"NAME": b"name", b"D": b"d", b"dot.": b"dot"})
    made.root.folds = True
    return made


def test_what_is_listed_under_another_name_does_not_lie_there(folder: Folder) -> None:
    assert folder.root.stat(Path(b"name")) is not None
    assert folder.root.stat(Path(b"d/file")) is not None
    for path in (b"NAME", b"D", b"D/file", b"missing", b"missing/file"):
        assert folder.root.stat(Path(path)) is None


@pytest.mark.parametrize("path", ["NAME", "D/new"])
def test_a_name_that_is_taken_waits_with_an_error(folder: Folder, path: str) -> None:
    outcome = put_new(folder, path, b"another's")
    assert isinstance(outcome, Skipped)
    assert (outcome.why, outcome.changed) == ("this disk takes its name for that of something else", False)
    assert not (folder.at / "D/new").exists()
    assert folder.read("name") == b"of somebody else"


def test_what_cannot_lie_there_is_removed_already(folder: Folder) -> None:
    known = folder.known("name")
    outcomes = folder.commit(
        Ready(RemoveFile(Path(b"NAME"), known)), Ready(RemoveDirectory(Path(b"D"), folder.known("d")))
    )
    assert [type(outcome) for outcome in outcomes] == [Applied, Applied]
    assert folder.read("NAME") == b"of somebody else"
    assert (folder.at / "D").is_dir()
    assert folder.trash.list() == []


def test_a_move_to_a_name_that_is_taken_says_so(folder: Folder) -> None:
    refused = folder.disk.move(Path(b"d/file"), Path(b"NAME"), folder.known("d/file").stat)
    assert isinstance(refused, Refused)
    assert refused.is_misspelled
    assert folder.read("d/file") == b"there too"


def test_a_name_that_the_disk_changes_is_not_held(folder: Folder) -> None:
    file = put_new(folder, "dot.", b"x")
    (directory,) = folder.disk.commit(
        [Ready(MakeDirectory(Path(b"dot."), entry(b"dot.", kind=Kind.DIRECTORY)))], now=NOW
    )
    for outcome in (file, directory):
        assert isinstance(outcome, Skipped)
        assert outcome.why == "this disk cannot hold the name"
    assert not (folder.at / "dot.").exists()
    moved = folder.disk.move(Path(b"d/file"), Path(b"dot."), folder.known("d/file").stat)
    assert isinstance(moved, Refused)
    assert folder.read("d/file") == b"there too"


# --- a real one -------------------------------------------------------------------------------------------------------


@pytest.fixture(
    params=[(["mkfs.vfat"], ["mount", "-o", "loop"]), (["mkfs.exfat"], ["mount", "-t", "exfat-fuse", "-o", "loop"])],
    ids=["vfat", "exfat"],
)
def folding_disk(request: pytest.FixtureRequest, tmp_path: OsPath) -> Iterator[OsPath]:
    make, mount = request.param
    with mounting.disk(make, tmp_path, mount) as at:
        yield at


def two_devices(tmp_path: OsPath, folding_disk: OsPath) -> tuple[Device, Device]:
    """Anna's, and one on the disk that folds; both have ``list`` and ``Docs/a``."""
    anna, stick = Device(tmp_path / "anna", 1).found(), Device(tmp_path / "stick", 2)
    stick.files = folding_disk / "folder"
    stick.files.mkdir()
    stick.join(anna)
    link_all([anna, stick])
    anna.put("list", b"one")
    anna.put("Docs/a", b"a")
    anna.looks()
    at_rest(anna, stick)
    return anna, stick


def at_rest(*devices: Device) -> None:
    """Also what is tried again after a moment, once the kernel has forgotten what a FUSE disk told it (1 s)."""
    for _ in range(3):
        settle(*devices)
        time.sleep(1.1)
        for device in devices:
            device.loop.applier.resume()
            device.looks()
    settle(*devices)


@pytest.mark.root
def test_two_files_that_differ_by_case_stay_two_for_everybody_else(tmp_path: OsPath, folding_disk: OsPath) -> None:
    anna, stick = two_devices(tmp_path, folding_disk)
    anna.put("LIST", b"another")
    anna.put("docs/b", b"b")
    anna.looks()
    at_rest(anna, stick)
    assert stick.tree() == {"list": b"one", "Docs": None, "Docs/a": b"a"}
    assert stick.place("LIST").problem == stick.place("docs/b").problem != ""
    files = {"list": b"one", "LIST": b"another", "Docs": None, "Docs/a": b"a", "docs": None, "docs/b": b"b"}
    assert anna.tree() == files
    anna.remove("list")
    anna.looks()
    at_rest(anna, stick)
    assert anna.tree() == {name: content for name, content in files.items() if name != "list"}
    assert stick.tree() == {"LIST": b"another", "Docs": None, "Docs/a": b"a"}


@pytest.mark.root
def test_a_rename_that_changes_the_case_alone_goes_both_ways(tmp_path: OsPath, folding_disk: OsPath) -> None:
    anna, stick = two_devices(tmp_path, folding_disk)
    (anna.files / "list").rename(anna.files / "List")
    (anna.files / "Docs").rename(anna.files / "docs")
    anna.looks()
    at_rest(anna, stick)
    assert stick.tree() == anna.tree() == {"List": b"one", "docs": None, "docs/a": b"a"}
    (stick.files / "List").rename(stick.files / "LIST")
    at_rest(anna, stick)
    assert stick.tree() == anna.tree() == {"LIST": b"one", "docs": None, "docs/a": b"a"}
