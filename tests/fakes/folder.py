# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real folder on a real disk with all that acts on it, and entries of which only path and content matter."""

import hashlib
import os
import resource
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path as OsPath

from harp.identity.device import DeviceId
from harp.sync.folder import syscalls
from harp.sync.folder.age import Awake
from harp.sync.folder.apply import Disk, Ready
from harp.sync.folder.fs import Marker, Root
from harp.sync.folder.staging import Staging
from harp.sync.folder.trash import Trash
from harp.sync.model import (
    NO_ENTRY,
    Applied,
    Entry,
    FolderId,
    Incarnation,
    Kind,
    Metadata,
    OnDisk,
    Outcome,
    Path,
    RootId,
    Skipped,
    WriteFile,
    append_metadata,
)

NOW = 1_795_400_000.0
MARKER = Marker(FolderId(b"f" * 32), b"m" * 16)
_NOBODY = 65534
_CWD = -100
"""AT_FDCWD: absolute paths need no directory."""
MTIME_NS = 1_700_000_000_123_456_789


@dataclass
class Folder:
    """``at`` is for the tests' own hands, the rest is what is tested."""

    at: OsPath
    root: Root
    staging: Staging
    trash: Trash
    disk: Disk
    running: "Running"

    def put(self, name: str | bytes, content: bytes = b"", *, mode: int = 0o644) -> OnDisk:
        """A user's file, as the ledger would know it."""
        path = self.at / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
        return self.known(name)

    def known(self, name: str | bytes) -> OnDisk:
        path = Path(os.fsencode(name))
        stat = self.root.stat(path)
        assert stat is not None
        return OnDisk(stat, (entry(path, b"the version before").id,))

    def read(self, name: str | bytes) -> bytes:
        return (self.at / os.fsdecode(name)).read_bytes()

    def stage(self, content: bytes, *, executable: bool = False) -> str:
        """A finished temp."""
        name = f"t{len(self.staging.names())}-{hashlib.sha256(content).hexdigest()[:8]}"
        self.staging.write_small(name, content, MTIME_NS, executable)
        return name

    def commit(self, *items: Ready) -> list[Outcome]:
        return self.disk.commit(items, now=NOW)

    def trashed(self) -> dict[bytes, bytes]:
        """What the trash holds, content by path."""
        return {item.path: (self.at / os.fsdecode(item.place)).read_bytes() for item in self.trash.list()}


class Running:
    """For how long the computer has been awake, as the test sets it."""

    def __init__(self) -> None:
        self._starts, self._awake_s = 1, 100.0

    def __call__(self) -> Awake:
        return Awake(f"boot-{self._starts}", self._awake_s)

    def goes_on(self, seconds: float) -> None:
        self._awake_s += seconds

    def starts_again(self) -> None:
        self._starts, self._awake_s = self._starts + 1, 20.0


def folder_at(path: OsPath) -> Folder:
    root = Root.open(str(path))
    root.write_marker(MARKER)
    running = Running()
    staging, trash = Staging(root), Trash(root, running)
    return Folder(path, root, staging, trash, Disk(root, staging, trash), running)


@contextmanager
def no_more_files(*, but: int = 0) -> Iterator[None]:
    """This process may open nothing more, as the system has it; ``but`` so many."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + but, before[1]))
    taken: list[int] = []
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(2))
        for _ in range(but):
            os.close(taken.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for fd in taken:
            os.close(fd)


@contextmanager
def ordinary_users_folder() -> Iterator[Folder]:
    """A folder in the hands of somebody to whom permissions mean something, also where root runs the tests."""
    with tempfile.TemporaryDirectory() as place:
        OsPath(place).chmod(0o777)
        at = OsPath(place) / "folder"
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(_NOBODY)
        try:
            at.mkdir()
            yield folder_at(at)
        finally:
            if is_root:
                os.seteuid(0)


@contextmanager
def swapping(at: OsPath, outside: OsPath) -> Iterator[None]:
    """While it lasts, ``at`` is its directory and a symlink to ``outside`` by turns, as fast as can be."""
    link = at.with_name("the-symlink")
    link.symlink_to(outside)
    stop = threading.Event()

    def swap() -> None:
        swaps = 0
        while not stop.is_set() or swaps % 2:
            syscalls.rename(_CWD, os.fsencode(at), _CWD, os.fsencode(link), syscalls.RENAME_EXCHANGE)
            swaps += 1

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        link.unlink()


def open_below(at: OsPath) -> list[str]:
    """What this process has open at and below a directory."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
    return sorted(name for name in found if name.startswith(str(at)))


def entry(path: bytes, content: bytes = b"", *, kind: Kind = Kind.FILE, executable: bool = False) -> Entry:
    """An entry about ``path``; for a symlink ``content`` is its target."""
    is_file = kind == Kind.FILE
    meta = Metadata(
        folder=MARKER.folder,
        author=DeviceId(b"a" * 32),
        incarnation=Incarnation(b"i" * 16),
        sequence=1,
        kind=kind,
        path=Path(path),
        target=content if kind == Kind.SYMLINK else b"",
        size=len(content) if is_file else 0,
        mtime_ns=MTIME_NS,
        executable=executable,
        root=RootId(hashlib.sha256(content).digest()) if is_file and content else RootId(b""),
    )
    return Entry(append_metadata(NO_ENTRY, meta), NO_ENTRY, meta)


def write(path: str | bytes, content: bytes, temp: str | None, expected: OnDisk | None = None) -> Ready:
    """A file's write; ``temp`` holds its content, if that is here."""
    name = path.encode() if isinstance(path, str) else path
    return Ready(WriteFile(Path(name), entry(name, content), expected), temp)


def put_new(folder: Folder, path: str | bytes, content: bytes, expected: OnDisk | None = None) -> Applied | Skipped:
    """Stages a content and writes it."""
    (outcome,) = folder.commit(write(path, content, folder.stage(content), expected))
    return outcome
