# SPDX-License-Identifier: AGPL-3.0-or-later
"""Probing real disks, and one that can do less."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path as OsPath

import pytest

from harp.base.errors import FolderError
from harp.sync.folder import read, rename, syscalls
from harp.sync.folder.probe import probe
from tests.fakes import mounting
from tests.fakes.folder import Folder, folder_at, ordinary_users_folder


@pytest.fixture
def folder(tmp_path: OsPath) -> Folder:
    return folder_at(tmp_path)


def test_this_disk_is_what_it_shows_itself_to_be(folder: Folder) -> None:
    found = probe(folder.root)
    folder.put("case", b"")
    assert found.folds_case == (folder.at / "CASE").exists()
    (folder.at / "link").symlink_to("case")
    assert found.symlinks
    assert found.exchange
    assert found.noreplace
    assert found.executable_bit
    assert found.mtime_granularity_ns in (1, 100, 1_000)
    assert 0 < found.free_bytes <= found.total_bytes
    assert found.max_name_bytes == 255
    assert found.folds == (found.folds_case or found.normalises)


def test_nothing_is_left_behind_and_nothing_else_is_touched(folder: Folder) -> None:
    folder.stage(b"a temp")
    (folder.at / ".harp/tmp/probe-left-by-a-crash").touch()
    names = folder.staging.names()
    probe(folder.root)
    assert folder.staging.names() == [name for name in names if not name.startswith("probe-")]
    assert sorted(os.listdir(folder.at)) == [".harp"]


def test_a_disk_that_lacks_everything_says_so(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(*_: object, **__: object) -> None:
        raise OSError(errno.EINVAL, "invalid")

    for module, name in ((syscalls, "rename"), (syscalls, "syncfs"), (os, "symlink"), (os, "link")):
        monkeypatch.setattr(module, name, cannot)
    monkeypatch.setattr(rename, "exchange", cannot)
    monkeypatch.setattr(os, "fchmod", lambda *_: None)
    monkeypatch.setattr(read, "hole_at", lambda *_: 0)
    found = probe(folder.root)
    assert not any(
        (
            found.exchange,
            found.noreplace,
            found.syncfs,
            found.symlinks,
            found.hard_links,
            found.executable_bit,
            found.holes,
        )
    )
    assert folder.staging.names() == []


def test_a_disk_that_rounds_times_is_found_out(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.utime
    for granularity in (100, 1_000_000_000, 2_000_000_000):

        def rounded(fd: int, *, ns: tuple[int, int], step: int = granularity) -> None:
            real(fd, ns=(ns[0] // step * step, ns[1] // step * step))

        monkeypatch.setattr(os, "utime", rounded)
        assert probe(folder.root).mtime_granularity_ns == granularity


def test_a_disk_that_takes_names_for_one_another_is_found_out(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open = os.open

    def folding(name: object, *arguments: object, **keywords: object) -> int:
        if isinstance(name, bytes) and name.startswith(b"probe-"):
            name = name.lower()
        return real_open(name, *arguments, **keywords)  # type: ignore[arg-type]

    real_stat = os.stat

    def folded(name: object, **keywords: object) -> os.stat_result:
        return real_stat(name.lower() if isinstance(name, bytes) else name, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", folding)
    monkeypatch.setattr(os, "stat", folded)
    found = probe(folder.root)
    assert found.folds_case
    assert not found.normalises
    assert found.folds


def test_a_disk_that_cannot_be_written_is_refused() -> None:
    with ordinary_users_folder() as folder:
        (folder.at / ".harp/tmp").chmod(0o500)
        with pytest.raises(FolderError, match="permission denied"):
            probe(folder.root)
        (folder.at / ".harp/tmp").chmod(0o700)


@pytest.fixture
def mounted(request: pytest.FixtureRequest, tmp_path: OsPath) -> Iterator[OsPath]:
    """A disk in a file, of the kind that is asked for."""
    with mounting.disk(request.param, tmp_path) as at:
        yield at


@pytest.mark.root
@pytest.mark.parametrize(
    "mounted", [["mkfs.ext4", "-q"], ["mkfs.ext4", "-q", "-I", "128"], ["mkfs.vfat"], ["mkfs.xfs", "-q"]], indirect=True
)
def test_other_disks_are_probed_without_a_failure(mounted: OsPath, request: pytest.FixtureRequest) -> None:
    folder = folder_at(mounted)
    found = probe(folder.root)
    kind = request.node.callspec.params["mounted"]
    assert found.folds_case == (kind[0] == "mkfs.vfat")
    if "128" in kind:
        assert found.mtime_granularity_ns == 1_000_000_000
    assert folder.staging.names() == []
    del folder
