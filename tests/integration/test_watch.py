# SPDX-License-Identifier: AGPL-3.0-or-later
"""Watching files by real inotify: everything is reported, and a file only once nobody writes to it."""

import os
import time
from collections.abc import Iterator
from pathlib import Path as OsPath

import pytest

from harp.sync.folder.apply import Ready
from harp.sync.folder.watch import Changes, Watcher
from harp.sync.model import Path, RemoveFile, WriteFile
from tests.fakes.folder import MTIME_NS, Folder, entry, folder_at
from tests.fakes.watching import NEVER_S, Heard, Start, marks, starting


@pytest.fixture
def folder(tmp_path: OsPath) -> Folder:
    (tmp_path / "folder").mkdir()
    return folder_at(tmp_path / "folder")


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def start(folder: Folder, heard: Heard) -> Iterator[Start]:
    with starting(folder, heard) as started:
        yield started


def test_a_saved_file_is_reported_alone(folder: Folder, heard: Heard, start: Start) -> None:
    (folder.at / "d").mkdir()
    start()
    folder.put("d/file", b"content")
    heard.until(lambda heard: b"d/file" in heard.paths)
    assert heard.paths == {b"d/file"}
    assert heard.subtrees == set()


def test_what_happens_to_files_is_reported_at_both_ends(
    folder: Folder, heard: Heard, start: Start, tmp_path: OsPath
) -> None:
    for name in ("removed", "renamed", "moved-out", "touched", "rewritten"):
        folder.put(name, b"x")
    start()
    (folder.at / "removed").unlink()
    (folder.at / "renamed").rename(folder.at / "new name")
    (folder.at / "moved-out").rename(tmp_path / "out")
    (tmp_path / "in").write_bytes(b"x")
    (tmp_path / "in").rename(folder.at / "moved-in")
    (folder.at / "touched").chmod(0o755)
    folder.put("rewritten", b"y")
    (folder.at / "symlink").symlink_to("nowhere")
    os.link(folder.at / "touched", folder.at / "hard link")
    os.mkfifo(folder.at / "fifo")
    expected = {b"removed", b"renamed", b"new name", b"moved-out", b"moved-in", b"touched", b"rewritten"}
    expected |= {b"symlink", b"hard link", b"fifo"}
    heard.until(lambda heard: heard.paths >= expected)
    assert heard.paths == expected


@pytest.mark.parametrize("name", [b"new\nline", "🎶".encode(), b"x" * 255, b"not utf-8 \xff", b" "])
def test_every_name_is_reported_as_it_is(folder: Folder, heard: Heard, start: Start, name: bytes) -> None:
    start()
    folder.put(name, b"x")
    heard.until(lambda heard: name in heard.paths)


def test_a_file_is_held_while_it_is_open_for_writing(folder: Folder, heard: Heard, start: Start) -> None:
    start()
    with (folder.at / "large").open("wb", buffering=0) as file:
        for _ in range(20):
            file.write(b"x" * 1000)
        marks(folder, heard)
        assert heard.paths == {b"the-mark"}
    heard.until(lambda heard: b"large" in heard.paths)


def test_a_file_that_is_renamed_while_it_is_written_is_still_held(folder: Folder, heard: Heard, start: Start) -> None:
    start()
    with (folder.at / "partial").open("wb", buffering=0) as file:
        file.write(b"x")
        (folder.at / "partial").rename(folder.at / "whole")
        marks(folder, heard)
        assert b"whole" not in heard.paths
        file.write(b"y")
    heard.until(lambda heard: b"whole" in heard.paths)


def test_a_file_held_open_is_reported_after_some_quiet(folder: Folder, heard: Heard, start: Start) -> None:
    start(quiet_s=0.3)
    with (folder.at / "log").open("wb", buffering=0) as file:
        file.write(b"line\n")
        written = time.monotonic()
        heard.until(lambda heard: b"log" in heard.paths)
        assert time.monotonic() - written >= 0.29
        heard.forget()
        file.write(b"line\n")
        heard.until(lambda heard: b"log" in heard.paths)


def test_each_write_begins_the_quiet_anew(folder: Folder, heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a chosen clock, so on no thread."""
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    watcher = Watcher(folder.root, heard, quiet_s=10, probe_s=NEVER_S)
    for now in (0.0, 6.0, 11.0, 15.9):
        if now in (0.0, 6.0):
            watcher._hold(Path(b"log"), now)
        watcher._release_due()
        watcher._deliver()
    assert heard.all == []
    now = 16.1
    watcher._release_due()
    watcher._deliver()
    assert heard.all == [Changes(paths=frozenset([Path(b"log")]))]


def test_a_file_that_nobody_has_open_is_reported_without_a_close(folder: Folder, heard: Heard, start: Start) -> None:
    """truncate(2) and linking an unnamed file into place give no CLOSE_WRITE."""
    folder.put("cut", b"123456")
    with (folder.at / "open").open("wb", buffering=0) as file:
        start(probe_s=0.05)
        file.write(b"x")
        os.truncate(folder.at / "cut", 3)
        unnamed = os.open(folder.at, os.O_TMPFILE | os.O_WRONLY)
        os.write(unnamed, b"x")
        os.link(f"/proc/self/fd/{unnamed}", "linked", dst_dir_fd=folder.root.fd, follow_symlinks=True)
        os.close(unnamed)
        heard.until(lambda heard: heard.paths >= {b"cut", b"linked"})
        assert b"open" not in heard.paths


def test_what_harp_applies_itself_is_reported_like_any_other(folder: Folder, heard: Heard, start: Start) -> None:
    known = folder.put("replaced", b"old")
    gone = folder.put("removed", b"old")
    start()
    folder.staging.write_small("t1", b"x", MTIME_NS, False)
    folder.staging.write_small("t2", b"x", MTIME_NS, False)
    folder.commit(
        Ready(WriteFile(Path(b"made/by/harp"), entry(b"made/by/harp", b"x"), None), "t1"),
        Ready(WriteFile(Path(b"replaced"), entry(b"replaced", b"x"), known), "t2"),
        Ready(RemoveFile(Path(b"removed"), gone)),
    )
    heard.until(lambda heard: heard.covers("made/by/harp", "replaced", "removed"))
    heard.forget()
    folder.put("made/by/a user", b"")
    heard.until(lambda heard: b"made/by/a user" in heard.paths)
