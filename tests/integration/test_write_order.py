# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a power cut at any moment would leave: every write and sync of two devices, in their order, as strace saw them.

The disk is taken at its worst: what was not synced by name is lost, in any order. Then nothing may get its name before
its bytes are synced, and nothing may be said before what it rests on is.
"""

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fakes.durable import SAID, SETTLED

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

_CALLS = (
    "write,pwrite64,pwritev,writev,copy_file_range,sendfile,ftruncate,fallocate,utimensat,fchmod,"
    "fsync,fdatasync,syncfs,rename,renameat,renameat2,link,linkat"
)
_ROOT = Path(__file__).resolve().parents[2]
_LINE = re.compile(r"^\d+ +(\w+)\((.*)\) += (-?\d+)")
_OPEN_FILE = re.compile(r"(?<!\w)\d+<([^>]*)>")
_BY_DIRECTORY = re.compile(r'(\d+|AT_FDCWD)<([^>]*)>, "([^"]*)"')
_MARK = re.compile(rf'"({SAID}|{SETTLED}) (.*)\\n"')


@dataclass
class _Disk:
    """What of the files is not durable, after each call."""

    unsynced: set[str] = field(default_factory=set)
    """Files with bytes or attributes that a power cut may take."""
    unnamed: set[str] = field(default_factory=set)
    """Paths that a power cut may turn back to what they were before a rename."""
    faults: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def written(self, path: str) -> None:
        self.unsynced.add(path)

    def synced(self, path: str) -> None:
        """By fsync: a file, or the names in a directory."""
        self.unsynced.discard(path)
        self.unnamed = {name for name in self.unnamed if name.rpartition("/")[0] != path}

    def all_synced(self, top: str) -> None:
        """By syncfs. Both devices lie on one disk here; each has to see to its own folder nevertheless."""
        for kept in (self.unsynced, self.unnamed):
            kept.difference_update([path for path in kept if path.startswith(f"{top}/")])

    def renamed(self, source: str, target: str) -> None:
        self.seen["renamed"] += 1
        if source in self.unsynced and "/.harp/tmp/" in source and "/.harp/" not in target:
            self.faults.append(f"{target} got its name before its bytes were synced")
        for kept in (self.unsynced, self.unnamed):
            if source in kept:
                kept.discard(source)
                kept.add(target)
        self.unnamed.add(target)

    def told(self, what: str, home: str) -> None:
        self.seen[what] += 1
        ledger = [path for path in self.unsynced if path.startswith(f"{home}/") and path.endswith("-wal")]
        if ledger:
            self.faults.append(f"{what} before the ledger was synced: {ledger}")
        if what == SETTLED:
            folder = home.removesuffix("/home") + "/folder/"
            open_ = [
                path
                for path in self.unsynced | self.unnamed
                if path.startswith(folder) and "/.harp/" not in path and path in self.own
            ]
            if open_:
                self.faults.append(f"settled before these were synced: {sorted(open_)[:3]}")

    @property
    def own(self) -> set[str]:
        """What Harp wrote: a user's hands, which are in the trace as well, sync nothing."""
        return {path for path in self.unsynced | self.unnamed if "/member-2/" in path}


def _replayed(lines: Iterator[str]) -> _Disk:
    disk = _Disk()
    for line in lines:
        found = _LINE.match(line)
        if found is None or int(found[3]) < 0:
            continue
        call, arguments = found[1], found[2]
        mark = _MARK.search(arguments) if call == "write" else None
        if mark is not None:
            disk.told(mark[1], mark[2])
        elif call.startswith(("rename", "link")):
            names = [f"{where}/{name}" for _, where, name in _BY_DIRECTORY.findall(arguments)]
            if len(names) == 2:
                disk.renamed(*names)
                if "RENAME_EXCHANGE" in arguments:
                    disk.unnamed.add(names[0])
        elif call in ("fsync", "fdatasync"):
            disk.seen["synced"] += 1
            disk.synced(_OPEN_FILE.findall(arguments)[0])
        elif call == "syncfs":
            disk.seen["all synced"] += 1
            disk.all_synced(_OPEN_FILE.findall(arguments)[0])
        elif "AT_SYMLINK_NOFOLLOW" not in arguments:
            # A symlink cannot be synced by itself: it is made in its directory's transaction, and so are its times.
            named = _BY_DIRECTORY.findall(arguments)
            files = [f"{where}/{name}" for _, where, name in named] or _OPEN_FILE.findall(arguments)
            # Of a copy the last file that is open is the target; all others name one.
            disk.written(files[-1])
    return disk


def _traced(place: Path, *words: str) -> _Disk:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed: sudo apt install strace")
    trace = place / "trace"
    command = [strace, "-f", "-y", "-qq", "-s", "4096", "-e", "signal=none", "-e", f"trace={_CALLS}", "-o", str(trace)]
    command += [sys.executable, "-m", "tests.fakes.durable", str(place / "devices"), *words]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, check=False)
    if b"PTRACE_TRACEME" in done.stderr:
        pytest.skip("this machine does not let one process trace another")
    assert done.returncode == 0, done.stderr.decode()
    with trace.open(encoding="utf-8", errors="replace") as lines:
        return _replayed(lines)


def test_nothing_is_named_or_said_before_it_is_synced(tmp_path: Path) -> None:
    disk = _traced(tmp_path)
    assert disk.faults == []
    assert disk.seen["renamed"] > 240, "each of more than 240 files was renamed into place"
    assert disk.seen["all synced"] >= 4, "many at once, by syncfs"
    assert disk.seen["synced"] >= 20, "few at once, and the ledger, by fsync"
    assert disk.seen[SAID] >= 5
    assert disk.seen[SETTLED] >= 10


def test_a_program_that_syncs_nothing_is_found_out(tmp_path: Path) -> None:
    disk = _traced(tmp_path, "unsynced")
    assert any("got its name before its bytes were synced" in fault for fault in disk.faults)
    assert any("settled before these were synced" in fault for fault in disk.faults)
