# SPDX-License-Identifier: AGPL-3.0-or-later
"""The watcher at its limits: bursts, a queue that runs over, too few watches, and an end without remains."""

import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path as OsPath

import pytest

from harp.sync.folder import syscalls
from harp.sync.folder.watch import Changes
from tests.fakes.folder import Folder, folder_at, no_more_files
from tests.fakes.watching import DEADLINE_S, Heard, Start, marks, starting


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


def test_a_burst_is_gathered_and_nothing_of_it_is_lost(folder: Folder, heard: Heard, start: Start) -> None:
    start()
    names = {b"%d" % number for number in range(3000)}
    for name in names:
        folder.put(name, b"x")
    heard.until(lambda heard: heard.paths >= names or any(changes.overflow for changes in heard.all))
    assert len(heard.all) < 1500


def test_a_queue_that_runs_over_is_said_and_everything_is_watched_again(
    folder: Folder, heard: Heard, start: Start
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


def test_a_report_that_was_not_taken_in_comes_again_as_an_overflow(folder: Folder, heard: Heard, start: Start) -> None:
    watcher = start()

    def fails(_: Changes) -> None:
        watcher._on_changes = heard
        raise RuntimeError("a defect")

    watcher._on_changes = fails
    (folder.at / "only").touch()
    heard.until(lambda heard: any(changes.overflow for changes in heard.all))
    assert "RuntimeError" in heard.problems[0]


def test_too_few_watches_are_said_once_with_the_remedy_and_the_rest_is_watched(
    folder: Folder, heard: Heard, start: Start, monkeypatch: pytest.MonkeyPatch
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
    folder: Folder, heard: Heard, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int) -> int:
        raise OSError(errno.EMFILE, "no")

    monkeypatch.setattr(syscalls, "inotify_init", fails)
    watcher = start()
    assert not watcher.is_complete
    assert "max_user_instances" in heard.problems[0]
    watcher.stop()


def test_a_folder_for_which_no_descriptor_was_left_is_watched_when_there_are_some_again(
    folder: Folder, heard: Heard, start: Start
) -> None:
    with no_more_files():
        watcher = start()
        watcher.renew(None)
    assert watcher.directories == 0
    assert set(heard.problems) == {
        "the folder cannot be watched, changes are found by scans only: "
        "Harp may open no more files (LimitNOFILE=, or ulimit -n)"
    }
    watcher.renew(None)
    assert watcher.is_complete
    assert heard.problems[-1] == ""
    marks(folder, heard)


def test_the_last_descriptor_is_given_back(folder: Folder, heard: Heard, start: Start) -> None:
    with no_more_files(but=1):
        watcher = start()
        os.close(os.dup(2))
    assert "Harp may open no more files" in heard.problems[0]
    watcher.renew(None)
    assert watcher.is_complete


def test_stopping_ends_the_thread_and_closes_what_was_open(folder: Folder, heard: Heard, start: Start) -> None:
    before = len(os.listdir("/proc/self/fd"))
    watcher = start()
    assert any(thread.name == "harp-watch" for thread in threading.enumerate())
    watcher.stop()
    watcher.stop()
    assert not any(thread.name == "harp-watch" for thread in threading.enumerate())
    assert len(os.listdir("/proc/self/fd")) == before
    assert watcher.directories == 0


def test_an_idle_watcher_uses_no_processor_time(folder: Folder, heard: Heard, start: Start) -> None:
    start()
    marks(folder, heard)
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "harp-watch")
    clock = time.pthread_getcpuclockid(thread.ident or 0)
    before = time.clock_gettime(clock)
    # The only wait for time itself: that nothing happens cannot be waited for in any other way.
    threading.Event().wait(0.5)
    assert time.clock_gettime(clock) - before < 0.01
