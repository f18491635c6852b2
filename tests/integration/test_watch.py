# SPDX-License-Identifier: AGPL-3.0-or-later
"""Watching a real folder by real inotify: everything is reported, and a file only once nobody writes to it."""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path as OsPath

import pytest

from harp.sync.folder import syscalls
from harp.sync.folder import walk as walking
from harp.sync.folder.apply import Ready
from harp.sync.folder.fs import Root
from harp.sync.folder.ignore import IgnoreRules
from harp.sync.folder.walk import walk
from harp.sync.folder.watch import Changes, Watcher
from harp.sync.model import Path, RemoveFile, WriteFile
from tests.fakes.folder import MTIME_NS, Folder, entry, folder_at

DEADLINE_S = 20.0
NEVER_S = 1000.0


class Heard:
    """What a watcher said, gathered; :meth:`until` waits for it to say enough."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self.all: list[Changes] = []
        self.problems: list[str] = []

    def __call__(self, changes: Changes) -> None:
        with self._condition:
            self.all.append(changes)
            self._condition.notify_all()

    @property
    def paths(self) -> set[bytes]:
        return {path for changes in self.all for path in changes.paths}

    @property
    def subtrees(self) -> set[bytes]:
        return {path for changes in self.all for path in changes.subtrees}

    def until(self, enough: Callable[["Heard"], bool]) -> None:
        with self._condition:
            assert self._condition.wait_for(lambda: enough(self), DEADLINE_S), self.all[-20:]

    def forget(self) -> None:
        with self._condition:
            self.all.clear()

    def covers(self, *paths: str) -> bool:
        """Whether each path was reported, or a directory above it is to be walked."""
        wanted = [path.encode() for path in paths]
        return all(
            path in self.paths or any(path == tree or path.startswith(tree + b"/") for tree in self.subtrees)
            for path in wanted
        )


@pytest.fixture
def folder(tmp_path: OsPath) -> Folder:
    (tmp_path / "folder").mkdir()
    return folder_at(tmp_path / "folder")


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def start(folder: Folder, heard: Heard) -> Iterator[Callable[..., Watcher]]:
    """Starts a watcher that holds open files for ever, unless told otherwise."""
    watchers: list[Watcher] = []

    def started(rules: bytes = b"", *, quiet_s: float = NEVER_S, probe_s: float = NEVER_S) -> Watcher:
        watcher = Watcher(
            folder.root,
            heard,
            IgnoreRules.parse(rules, b""),
            on_problem=heard.problems.append,
            quiet_s=quiet_s,
            probe_s=probe_s,
        )
        watcher.start()
        watchers.append(watcher)
        return watcher

    yield started
    for watcher in watchers:
        watcher.stop()


def marks(folder: Folder, heard: Heard, name: str = "the-mark") -> None:
    """Makes a file and waits for it: all that happened before it has been taken in by then."""
    folder.put(name, b"mark")
    heard.until(lambda heard: name.encode() in heard.paths)


def test_a_saved_file_is_reported_alone(folder: Folder, heard: Heard, start: Callable[..., Watcher]) -> None:
    (folder.at / "d").mkdir()
    start()
    folder.put("d/file", b"content")
    heard.until(lambda heard: b"d/file" in heard.paths)
    assert heard.paths == {b"d/file"}
    assert heard.subtrees == set()


def test_what_happens_to_files_is_reported_at_both_ends(
    folder: Folder, heard: Heard, start: Callable[..., Watcher], tmp_path: OsPath
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
def test_every_name_is_reported_as_it_is(
    folder: Folder, heard: Heard, start: Callable[..., Watcher], name: bytes
) -> None:
    start()
    folder.put(name, b"x")
    heard.until(lambda heard: name in heard.paths)


def test_a_file_is_held_while_it_is_open_for_writing(
    folder: Folder, heard: Heard, start: Callable[..., Watcher]
) -> None:
    start()
    with (folder.at / "large").open("wb", buffering=0) as file:
        for _ in range(20):
            file.write(b"x" * 1000)
        marks(folder, heard)
        assert heard.paths == {b"the-mark"}
    heard.until(lambda heard: b"large" in heard.paths)


def test_a_file_that_is_renamed_while_it_is_written_is_still_held(
    folder: Folder, heard: Heard, start: Callable[..., Watcher]
) -> None:
    start()
    with (folder.at / "partial").open("wb", buffering=0) as file:
        file.write(b"x")
        (folder.at / "partial").rename(folder.at / "whole")
        marks(folder, heard)
        assert b"whole" not in heard.paths
        file.write(b"y")
    heard.until(lambda heard: b"whole" in heard.paths)


def test_a_file_held_open_is_reported_after_some_quiet(
    folder: Folder, heard: Heard, start: Callable[..., Watcher]
) -> None:
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


def test_a_file_that_nobody_has_open_is_reported_without_a_close(
    folder: Folder, heard: Heard, start: Callable[..., Watcher]
) -> None:
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


def test_nested_directories_made_at_once_lose_nothing(
    folder: Folder, heard: Heard, start: Callable[..., Watcher]
) -> None:
    watcher = start()
    names = [f"n{number}/a/b/file" for number in range(200)]
    for name in names:
        folder.put(name, b"x")
    heard.until(lambda heard: heard.covers(*names))
    heard.until(lambda _: watcher.directories >= 602)
    heard.forget()
    for name in names:
        folder.put(name, b"y")
    heard.until(lambda heard: heard.paths == {name.encode() for name in names})


def test_a_walk_after_a_subtree_finds_what_came_before_its_watch(
    folder: Folder, heard: Heard, start: Callable[..., Watcher]
) -> None:
    """The reports and the walks that they ask for, together, give the tree."""
    start()
    for number in range(100):
        folder.put(f"d{number % 7}/e{number % 5}/f{number}", b"x")
    marks(folder, heard)
    found = set(heard.paths)
    for tree in heard.subtrees:
        found |= {one[0] for one in walk(folder.root, Path(tree)) if isinstance(one, tuple)}
    assert found >= {one[0] for one in walk(folder.root) if isinstance(one, tuple)}


def test_a_directory_that_moves_is_reported_at_both_ends_and_watched_under_its_new_name(
    folder: Folder, heard: Heard, start: Callable[..., Watcher], tmp_path: OsPath
) -> None:
    folder.put("old/deep/file", b"x")
    folder.put("leaving/deep/file", b"x")
    (tmp_path / "coming" / "deep").mkdir(parents=True)
    watcher = start()
    (folder.at / "old").rename(folder.at / "new")
    heard.until(lambda heard: heard.subtrees >= {b"old", b"new"})
    folder.put("new/deep/other", b"x")
    heard.until(lambda heard: b"new/deep/other" in heard.paths)
    (folder.at / "leaving").rename(tmp_path / "left")
    (tmp_path / "coming").rename(folder.at / "coming")
    heard.until(lambda heard: heard.subtrees >= {b"leaving", b"coming"})
    count = watcher.directories
    heard.forget()
    (tmp_path / "left" / "deep" / "file").write_bytes(b"y")
    folder.put("coming/deep/file", b"x")
    heard.until(lambda heard: b"coming/deep/file" in heard.paths)
    assert heard.paths == {b"coming/deep/file"}
    assert watcher.directories == count == 6


def test_a_directory_that_moves_into_a_new_one_keeps_its_watch(
    folder: Folder, heard: Heard, start: Callable[..., Watcher]
) -> None:
    folder.put("inner/file", b"x")
    start()
    for round_ in range(20):
        (folder.at / f"outer{round_}").mkdir()
        source = folder.at / "inner" if round_ == 0 else folder.at / f"outer{round_ - 1}/inner"
        source.rename(folder.at / f"outer{round_}/inner")
    marks(folder, heard)
    heard.forget()
    folder.put("outer19/inner/file", b"y")
    heard.until(lambda heard: b"outer19/inner/file" in heard.paths)
    assert heard.paths == {b"outer19/inner/file"}


def test_removed_directories_are_reported_and_their_watches_end(
    folder: Folder, heard: Heard, start: Callable[..., Watcher]
) -> None:
    for number in range(50):
        folder.put(f"d/{number}/x", b"")
    watcher = start()
    assert watcher.directories == 53
    for number in range(50):
        (folder.at / f"d/{number}/x").unlink()
        (folder.at / f"d/{number}").rmdir()
    (folder.at / "d").rmdir()
    heard.until(lambda heard: b"d" in heard.subtrees)
    marks(folder, heard)
    assert watcher.directories == 2
    heard.forget()
    folder.put("d/again", b"")
    heard.until(lambda heard: heard.covers("d/again"))
    heard.forget()
    folder.put("d/more", b"")
    heard.until(lambda heard: b"d/more" in heard.paths)


def test_ignored_paths_are_not_reported_and_not_watched(
    folder: Folder, heard: Heard, start: Callable[..., Watcher]
) -> None:
    folder.put("build/old/x", b"")
    watcher = start(b"*.o\nbuild/\n")
    assert watcher.directories == 2
    for name in ("a.o", "build/new", "d/b.o"):
        folder.put(name, b"")
    (folder.at / "d/build").mkdir()
    marks(folder, heard)
    assert heard.paths == {b"the-mark"}
    assert heard.subtrees == {b"d"}
    watcher.renew(IgnoreRules.parse(b"", b""))
    heard.until(lambda heard: any(changes.overflow for changes in heard.all))
    heard.forget()
    folder.put("build/old/y", b"")
    heard.until(lambda heard: b"build/old/y" in heard.paths)


def test_of_harps_own_directory_only_rules_and_marker_are_noticed(
    folder: Folder, heard: Heard, start: Callable[..., Watcher]
) -> None:
    start()
    folder.stage(b"a temp")
    (folder.at / ".HARP").mkdir()
    (folder.at / ".harpoon").touch()
    marks(folder, heard)
    assert heard.paths == {b"the-mark"}
    assert heard.subtrees == set()
    assert not any(changes.rules or changes.overflow for changes in heard.all)
    (folder.at / ".harp/ignore").write_bytes(b"x")
    heard.until(lambda heard: any(changes.rules for changes in heard.all))
    heard.forget()
    folder.put(".harpignore", b"x")
    heard.until(lambda heard: any(changes.rules for changes in heard.all))
    assert heard.paths == {b".harpignore"}
    (folder.at / ".harp/folder").unlink()
    heard.until(lambda heard: any(changes.overflow for changes in heard.all))


def test_a_folder_that_is_moved_away_is_an_overflow(
    folder: Folder, heard: Heard, start: Callable[..., Watcher]
) -> None:
    start()
    folder.at.rename(folder.at.with_name("moved"))
    heard.until(lambda heard: any(changes.overflow for changes in heard.all))
    assert not folder.root.marker_is_there()


def test_what_harp_applies_itself_is_reported_like_any_other(
    folder: Folder, heard: Heard, start: Callable[..., Watcher]
) -> None:
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


def test_a_burst_is_gathered_and_nothing_of_it_is_lost(
    folder: Folder, heard: Heard, start: Callable[..., Watcher]
) -> None:
    start()
    names = {b"%d" % number for number in range(3000)}
    for name in names:
        folder.put(name, b"x")
    heard.until(lambda heard: heard.paths >= names or any(changes.overflow for changes in heard.all))
    assert len(heard.all) < 1500


def test_a_queue_that_runs_over_is_said_and_everything_is_watched_again(
    folder: Folder, heard: Heard, start: Callable[..., Watcher]
) -> None:
    """The reader is held up until the kernel's queue is full; directories made meanwhile are watched afterwards."""
    limit = int(OsPath("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 100_000:
        pytest.skip(f"max_queued_events is {limit}: filling it takes too long")
    gate = threading.Event()
    watcher = start()
    watcher._on_changes = lambda changes: (gate.wait(DEADLINE_S), heard(changes))  # type: ignore[assignment, func-returns-value]
    folder.put("first", b"")
    names = [folder.at / "a", folder.at / "b"]
    for name in names:
        name.touch()
    for _ in range(limit):
        for name in names:
            name.chmod(0o644)
    (folder.at / "late" / "directory").mkdir(parents=True)
    gate.set()
    heard.until(lambda heard: any(changes.overflow for changes in heard.all))
    heard.forget()
    folder.put("late/directory/file", b"")
    heard.until(lambda heard: b"late/directory/file" in heard.paths)


def test_a_report_that_was_not_taken_in_comes_again_as_an_overflow(
    folder: Folder, heard: Heard, start: Callable[..., Watcher]
) -> None:
    watcher = start()

    def fails(_: Changes) -> None:
        watcher._on_changes = heard
        raise RuntimeError("a defect")

    watcher._on_changes = fails
    (folder.at / "only").touch()
    heard.until(lambda heard: any(changes.overflow for changes in heard.all))
    assert "RuntimeError" in heard.problems[0]


def test_too_few_watches_are_said_once_with_the_remedy_and_the_rest_is_watched(
    folder: Folder, heard: Heard, start: Callable[..., Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        (folder.at / f"d{number}").mkdir()
    real = syscalls.inotify_add_watch
    left = [5]

    def add(fd: int, path: bytes, mask: int) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "no")
        return real(fd, path, mask)

    monkeypatch.setattr(syscalls, "inotify_add_watch", add)
    watcher = start()
    assert not watcher.is_complete
    assert watcher.directories == 5
    (problem,) = heard.problems
    assert "fs.inotify.max_user_watches=" in problem
    marks(folder, heard)


def test_without_any_inotify_the_folder_is_left_to_scans(
    folder: Folder, heard: Heard, start: Callable[..., Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int) -> int:
        raise OSError(errno.EMFILE, "no")

    monkeypatch.setattr(syscalls, "inotify_init", fails)
    watcher = start()
    assert not watcher.is_complete
    assert "max_user_instances" in heard.problems[0]
    watcher.stop()


def test_a_directory_that_becomes_readable_is_walked_and_watched(
    folder: Folder, heard: Heard, start: Callable[..., Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.put("closed/x", b"")
    opened = walking._opened
    closed = [True]

    def permitted(root: Root, path: Path) -> object:
        if path == b"closed" and closed[0]:
            raise PermissionError(errno.EACCES, "no")
        return opened(root, path)

    monkeypatch.setattr(walking, "_opened", permitted)
    watcher = start()
    assert watcher.directories == 2
    closed[0] = False
    (folder.at / "closed").chmod(0o750)
    heard.until(lambda heard: b"closed" in heard.subtrees)
    heard.forget()
    (folder.at / "closed").chmod(0o755)
    folder.put("closed/y", b"")
    heard.until(lambda heard: b"closed/y" in heard.paths)
    assert heard.subtrees == set()


def test_stopping_ends_the_thread_and_closes_what_was_open(
    folder: Folder, heard: Heard, start: Callable[..., Watcher]
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    watcher = start()
    assert any(thread.name == "harp-watch" for thread in threading.enumerate())
    watcher.stop()
    watcher.stop()
    assert not any(thread.name == "harp-watch" for thread in threading.enumerate())
    assert len(os.listdir("/proc/self/fd")) == before
    assert watcher.directories == 0


def test_an_idle_watcher_uses_no_processor_time(folder: Folder, heard: Heard, start: Callable[..., Watcher]) -> None:
    start()
    marks(folder, heard)
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "harp-watch")
    clock = time.pthread_getcpuclockid(thread.ident or 0)
    before = time.clock_gettime(clock)
    # The only wait for time itself: that nothing happens cannot be waited for in any other way.
    threading.Event().wait(0.5)
    assert time.clock_gettime(clock) - before < 0.01
