# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the API needs of the daemon: a port, implemented above and handed in.

Every method may raise a :class:`harp.base.errors.HarpError`, which reaches the caller as one line, a hint and an exit
code. ``folder`` is always a whole folder id in hexadecimal, already resolved by :meth:`Daemon.folder_id` and already
checked against what the caller may do. ``path`` within a folder is the model's: relative, ``/``-separated, any bytes.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from harp.bridge import model
from harp.bridge.accountview import Accounting
from harp.bridge.browsing import Browsing
from harp.bridge.proxyview import Proxied


class Daemon(Accounting, Browsing, Proxied, Protocol):
    """The running daemon as the routes see it."""

    def folder_id(self, reference: str) -> str:
        """The id, in hexadecimal, of the folder meant by a name, an id or an unambiguous prefix of one.

        :func:`harp.bridge.naming.chosen_folder` decides; raises :class:`harp.base.errors.UsageError`.
        """
        ...

    def is_ready(self) -> bool:
        """Whether the link listens and every folder that is not paused has been opened."""
        ...

    def metrics(self) -> str:
        """The counters in Prometheus' text form: :meth:`harp.base.runtime.Counters.text`."""
        ...

    async def device(self) -> model.DeviceInfo: ...

    async def status(self) -> model.Status: ...

    async def peers(self) -> list[model.PeerStatus]: ...

    async def folders(self) -> list[model.FolderStatus]: ...

    async def share(self, path: Path, name: str | None, make: bool) -> model.FolderStatus:
        """Share a folder, made before where ``make``; one that is shared already is answered as it is."""
        ...

    async def invite(self, folder: str, read_only: bool, expires_s: float) -> model.Invitation: ...

    async def join(self, ticket: str, path: Path, merge: bool) -> model.FolderStatus:
        """Redeem the ticket with its inviter, then open the folder at ``path``, which is made if need be."""
        ...

    def wait(self, folder: str, timeout_s: float | None) -> AsyncIterator[model.Progress]:
        """Scan, then tell the progress (a few times a second at most), at last one that is done or failed."""
        ...

    async def rescan(self, folder: str) -> model.Done:
        """Scan the whole folder now; answers when the scan is done."""
        ...

    async def history(self, folder: str, path: bytes) -> list[model.Version]:
        """Newest first."""
        ...

    async def why(self, folder: str, path: bytes) -> model.Why:
        """Which content a path waits for, and whom it comes from."""
        ...

    async def conflicts(self, folder: str) -> list[model.Conflict]: ...

    async def restore(self, folder: str, path: bytes, entry: str) -> model.Done: ...

    async def resolve(self, folder: str, path: bytes, keep: str) -> model.Done: ...

    def verify(self, folder: str) -> AsyncIterator[model.Progress]:
        """Check chains, signatures, contents; each wrong thing is a ``finding``; ends done, or failed with a count."""
        ...

    async def held(self, folder: str) -> list[model.HeldSet]: ...

    async def approve(self, folder: str, held: str) -> model.Done: ...

    async def reject(self, folder: str, held: str) -> model.Done: ...

    async def pause(self, folder: str) -> model.Done: ...

    async def resume(self, folder: str) -> model.Done: ...

    async def leave(self, folder: str, for_all: bool) -> model.Done:
        """End this device's membership; with ``for_all``, which takes an owner, first that of every other device."""
        ...

    async def forget(self, device: str) -> model.Forgotten: ...

    async def config_get(self) -> list[model.Setting]: ...

    async def config_set(self, key: str, value: str) -> model.Setting: ...

    async def doctor(self) -> model.Report: ...

    async def backup(self, path: Path) -> model.BackupMade: ...

    async def down(self) -> model.Done:
        """Ask the daemon to end; answers at once, before it has."""
        ...
