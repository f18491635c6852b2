# SPDX-License-Identifier: AGPL-3.0-or-later
"""A daemon in memory: it implements the port of the API, remembers what it was told, and syncs nothing."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from harp.base import config
from harp.base.errors import FolderError, HarpError, TrustError, UsageError
from harp.bridge import model
from harp.bridge.naming import chosen_folder, path_fields
from tests.fakes.accounting import FakeAccounting
from tests.fakes.browsing import FakeBrowsing

PHOTOS = "aa" * 32
NOTES = "ab" * 32
ENTRY = "e1" * 32
LOSER = "e2" * 32
HOSTILE_NAME = b"bad\x1b[2J\xff\nname.txt"
BOB = "BOBBOBB-AAAAAAA"


class FakeDaemon(FakeAccounting, FakeBrowsing):
    """Shares Photos and Notes;"""

    def __init__(self) -> None:
        super().__init__()
        self.ready = True
        self.has_console = True
        self.lifted = False
        self.mirror: model.MirrorStatus | None = None
        self.error = ""
        self.waits_because = "permission denied"
        self.rules = "*.tmp\n</textarea><script>\n"
        self.stopping = asyncio.Event()
        self.progress: list[model.Progress | Exception] = [
            model.Progress(phase=model.Phase.SCANNING, total_files=2),
            model.Progress(phase=model.Phase.SYNCING, done_files=1, total_files=2, done_bytes=5, total_bytes=10),
            model.Progress(phase=model.Phase.DONE, done_files=2, total_files=2, done_bytes=10, total_bytes=10),
        ]
        self.waits_forever = False
        self.streams_open = 0
        self.values = {key: setting.default() for key, setting in config.SETTINGS.items()}
        self.names = {PHOTOS: "Photos", NOTES: "Notes"}
        self.held_sets = [
            model.HeldSet(
                id="h1",
                kind="deletions",
                what="120 files would be deleted",
                author="bob",
                since=1_790_000_000.0,
                files=120,
                sample=[model.PathForm(**path_fields(b"a.txt"))],
            ),
            model.HeldSet(
                id="h2", kind="mount", what="the disk is gone", can_be_approved=False, remedy="mount it again"
            ),
        ]
        self.checks = [model.Check(name="daemon", ok=True, text="runs")]

    def folder_id(self, reference: str) -> str:
        return chosen_folder(reference, [(bytes.fromhex(i), name) for i, name in self.names.items()]).hex()

    def is_ready(self) -> bool:
        return self.ready

    def metrics(self) -> str:
        return "# TYPE harp_files_total counter\nharp_files_total 3\n"

    async def device(self) -> model.DeviceInfo:
        self._called("device")
        return model.DeviceInfo(id="ALICEAL-ICEALIC", name="alice", version="0.1.0", home="/h", listen="0.0.0.0:8783")

    async def status(self) -> model.Status:
        self._called("status")
        return model.Status(
            device=await self.device(),
            started_at=1_790_000_000.0,
            bytes_in=7,
            folders=self._folders(),
            peers=self._peers(),
            problems=["inotify's limit is reached"],
        )

    async def peers(self) -> list[model.PeerStatus]:
        self._called("peers")
        return self._peers()

    async def folders(self) -> list[model.FolderStatus]:
        self._called("folders")
        return self._folders()

    def _folders(self) -> list[model.FolderStatus]:
        return [self._folder(folder) for folder in self.names]

    def _folder(self, folder: str, location: str = "/home/alice/x") -> model.FolderStatus:
        return model.FolderStatus(
            id=folder,
            name=self.names[folder],
            location=location,
            role="owner",
            state=model.FolderState.IDLE,
            files=2,
            bytes=2048,
            needed_files=1,
            needed_bytes=5,
            members=2,
            connected=1,
            held=1,
            conflicts=1,
            problems=[model.Problem(**path_fields(HOSTILE_NAME), why=self.waits_because)],
            problem_count=12,
            error=self.error,
            mirror=self.mirror,
        )

    def _peers(self) -> list[model.PeerStatus]:
        shared = model.PeerFolder(id=PHOTOS, name="Photos", role="read-write", lacks_files=1, lacks_bytes=2048)
        return [
            model.PeerStatus(
                id=BOB,
                name="bob",
                is_connected=True,
                reach="lan",
                address="10.0.0.2:8783",
                rate_in=1536.0,
                folders=[shared],
            ),
            model.PeerStatus(id="EVEEVEE-AAAAAAA", name="e\x1bve", is_connected=False, error="connection refused"),
        ]

    async def share(self, path: Path, name: str | None, make: bool) -> model.FolderStatus:
        self._called("share", path, name, make)
        if make:
            path.mkdir(parents=True, exist_ok=True)
        if not path.is_dir():
            raise UsageError(f"{path} is not a folder", hint="make it first")
        folder = "ac" * 32
        self.names[folder] = name or path.name
        return self._folder(folder, str(path))

    async def invite(self, folder: str, read_only: bool, expires_s: float) -> model.Invitation:
        self._called("invite", folder, read_only, expires_s)
        role = "read-only" if read_only else "read-write"
        return model.Invitation(ticket="harp1abc", folder=folder, name=self.names[folder], role=role, expires_at=1.0)

    async def join(self, ticket: str, path: Path, merge: bool) -> model.FolderStatus:
        self._called("join", ticket, path, merge)
        if not ticket.startswith("harp1"):
            raise TrustError("this is not a ticket", hint="a ticket begins with harp1")
        return self._folder(PHOTOS, str(path))

    async def _streamed(self) -> AsyncIterator[model.Progress]:
        self.streams_open += 1
        try:
            for step in self.progress:
                if isinstance(step, Exception):
                    raise step
                yield step
            if self.waits_forever:
                await asyncio.Event().wait()
        finally:
            self.streams_open -= 1

    def wait(self, folder: str, timeout_s: float | None) -> AsyncIterator[model.Progress]:
        self._called("wait", folder, timeout_s)
        return self._streamed()

    def verify(self, folder: str) -> AsyncIterator[model.Progress]:
        self._called("verify", folder)
        return self._streamed()

    async def rescan(self, folder: str) -> model.Done:
        self._called("rescan", folder)
        return model.Done(message="scanned")

    def _version(self, entry: str, *, is_current: bool) -> model.Version:
        return model.Version(
            **path_fields(b"a.txt"),
            entry=entry,
            kind="file",
            at=1_790_000_000.0,
            author=BOB,
            author_name="b\x1bob",
            size=1536,
            is_current=is_current,
            is_restorable=True,
            shown_as="" if is_current else "a (conflict).txt",
        )

    async def why(self, folder: str, path: bytes) -> model.Why:
        self._called("why", folder, path)
        pieces = [
            model.WhyPiece(id="ab" * 32, size=262_144, peer="nas", reach="lan", why="left to a neighbour"),
            model.WhyPiece(id="cd" * 32, size=1024, why="no connected peer has it"),
        ]
        state = "waits for content"
        return model.Why(
            path="a.txt", state=state, size=300_000, missing_pieces=3, missing_bytes=263_168, pieces=pieces
        )

    async def history(self, folder: str, path: bytes) -> list[model.Version]:
        self._called("history", folder, path)
        if path != b"a.txt":
            return []
        return [self._version(ENTRY, is_current=True), self._version(LOSER, is_current=False)]

    async def conflicts(self, folder: str) -> list[model.Conflict]:
        self._called("conflicts", folder)
        versions = [self._version(ENTRY, is_current=True), self._version(LOSER, is_current=False)]
        return [model.Conflict(**path_fields(b"a.txt"), versions=versions)]

    async def restore(self, folder: str, path: bytes, entry: str) -> model.Done:
        self._called("restore", folder, path, entry)
        return model.Done(message="restored")

    async def resolve(self, folder: str, path: bytes, keep: str) -> model.Done:
        self._called("resolve", folder, path, keep)
        return model.Done(message="resolved")

    async def held(self, folder: str) -> list[model.HeldSet]:
        self._called("held", folder)
        return self.held_sets

    async def approve(self, folder: str, held: str) -> model.Done:
        self._called("approve", folder, held)
        return model.Done(message="approved")

    async def reject(self, folder: str, held: str) -> model.Done:
        self._called("reject", folder, held)
        return model.Done(message="rejected")

    async def pause(self, folder: str) -> model.Done:
        self._called("pause", folder)
        return model.Done(message="paused")

    async def resume(self, folder: str) -> model.Done:
        self._called("resume", folder)
        return model.Done(message="resumed")

    async def leave(self, folder: str, for_all: bool) -> model.Done:
        self._called("leave", folder, for_all)
        return model.Done(message="left")

    async def forget(self, device: str) -> model.Forgotten:
        self._called("forget", device)
        return model.Forgotten(device=device, cut_from=["Photos"], still_in=["Notes"])

    async def config_get(self) -> list[model.Setting]:
        self._called("config_get")
        return [self._setting(key) for key in self.values]

    async def config_set(self, key: str, value: str) -> model.Setting:
        self._called("config_set", key, value)
        config.check(key, value)
        self.values[key] = value
        return self._setting(key)

    def _setting(self, key: str) -> model.Setting:
        setting = config.SETTINGS[key]
        restart = key == "listen"
        return model.Setting(
            key=key,
            value=self.values[key],
            default=setting.default(),
            summary=setting.summary,
            needs_restart=restart,
        )

    async def doctor(self) -> model.Report:
        self._called("doctor")
        return model.Report(checks=self.checks)

    async def backup(self, path: Path) -> model.BackupMade:
        self._called("backup", path)
        if path.exists():
            raise FolderError(f"{path} is there already", hint="name another file")
        return model.BackupMade(location=str(path), size_bytes=4096)

    async def down(self) -> model.Done:
        self._called("down")
        self.stopping.set()
        return model.Done(message="stopping")


class Broken(HarpError):
    """An error class that the client does not know."""

    exit_code = 77
