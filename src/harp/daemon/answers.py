# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the API is answered: the daemon's side of ``bridge.daemonport``, one method a question."""

import asyncio
import contextlib
import functools
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from harp.base import config as settings
from harp.base.config import Address
from harp.base.errors import FolderError, HarpError, TrustError, UsageError
from harp.bridge import facts, model, naming, selftest
from harp.daemon import mirrorportraits, mirrors, portraits
from harp.daemon.accountanswers import AccountAnswers
from harp.daemon.looking import Looking
from harp.daemon.proxyanswers import ProxyAnswers
from harp.daemon.waiting import MirroredAccount, until_same
from harp.identity import device as device_id
from harp.identity import pairing
from harp.identity.device import DeviceId
from harp.sync.model import FolderId, Role
from harp.sync.model import Path as FolderPath
from harp.sync.protocol.messages import Welcome
from harp.sync.service import opening
from harp.sync.service.decisions import Decisions
from harp.sync.service.explanation import explained
from harp.sync.service.folderloop import FolderLoop
from harp.sync.service.inquiry import Checked, Finding, Inquiry
from harp.sync.store import backup
from harp.sync.store.accounts import Mirrored
from harp.sync.store.registry import OpenTicket, SharedFolder

if TYPE_CHECKING:
    from harp.daemon.composition import Daemon

T = TypeVar("T")
LONGEST_WAIT_STEP_S = 0.1


class Answers(AccountAnswers, Looking, ProxyAnswers):
    """Implements :class:`harp.bridge.daemonport.Daemon`; on the daemon's event loop."""

    def __init__(self, daemon: "Daemon") -> None:
        AccountAnswers.__init__(self, daemon)
        Looking.__init__(self, daemon)
        ProxyAnswers.__init__(self, lambda: daemon.app_plane)
        self._one_share = asyncio.Lock()

    # --- the device ---------------------------------------------------------------------------------------------------

    def folder_id(self, reference: str) -> str:
        known = [(bytes(folder.id), folder.name) for folder in self._daemon.registry.folders()]
        return naming.chosen_folder(reference, known).hex()

    def is_ready(self) -> bool:
        return self._daemon.is_ready

    def metrics(self) -> str:
        portraits.count(self._daemon)
        return self._daemon.counters.text()

    async def device(self) -> model.DeviceInfo:
        return portraits.device(self._daemon)

    async def status(self) -> model.Status:
        bytes_in, bytes_out = self._daemon.hub.traffic()
        return model.Status(
            device=portraits.device(self._daemon),
            started_at=self._daemon.started_s,
            bytes_in=bytes_in,
            bytes_out=bytes_out,
            folders=await self.folders(),
            peers=await self.peers(),
            problems=portraits.problems(self._daemon),
        )

    async def peers(self) -> list[model.PeerStatus]:
        return portraits.peers(self._daemon)

    async def folders(self) -> list[model.FolderStatus]:
        return [await self._portrait(folder) for folder in self._daemon.registry.folders()]

    async def _portrait(self, folder: SharedFolder) -> model.FolderStatus:
        portrait = await self._own_portrait(folder)
        found = self._daemon.mirrors.of(folder.id)
        if found is None:
            return portrait
        mirrored, loop = found
        problems = [] if loop is None else sorted(loop.problems.items())
        return mirrorportraits.with_mirror(portrait, self._daemon.mirrors.status(mirrored), problems)

    async def _own_portrait(self, folder: SharedFolder) -> model.FolderStatus:
        loop = self._daemon.hub.loop(folder.id)
        if loop is None:
            return portraits.closed_folder(self._daemon, folder)
        try:
            return await self._on(loop, lambda: portraits.folder(folder, loop, self._daemon.hub.content))
        except FolderError:
            return portraits.closed_folder(self._daemon, folder, loop.trouble)

    async def down(self) -> model.Done:
        self._daemon.ending.set()
        return model.Done(message="the daemon is ending")

    async def config_get(self) -> list[model.Setting]:
        return [self._setting(key) for key in settings.SETTINGS]

    async def config_set(self, key: str, value: str) -> model.Setting:
        settings.set_value(self._daemon.config.home, key, value)
        if key == "device_name":
            self._daemon.rename()
        return self._setting(key)

    def _setting(self, key: str) -> model.Setting:
        known = settings.SETTINGS[key]
        value = settings.get(self._daemon.config.home, key, environ=os.environ)
        return model.Setting(
            key=key, value=value, default=known.default(), summary=known.summary, needs_restart=key != "device_name"
        )

    async def doctor(self) -> model.Report:
        daemon = self._daemon
        listening = None if daemon.listener is None else Address(*daemon.listener.address)
        local = await asyncio.to_thread(facts.gathered, daemon.config, clock=daemon.clock, listening=listening)
        return selftest.report(local, portraits.facts_of(daemon))

    async def backup(self, path: Path) -> model.BackupMade:
        size = await asyncio.to_thread(backup.make, self._daemon.config.home, path)
        return model.BackupMade(location=str(path), size_bytes=size)

    # --- folders and members ------------------------------------------------------------------------------------------

    async def share(self, path: Path, name: str | None, make: bool) -> model.FolderStatus:
        shared = await asyncio.to_thread(self._daemon.share_made if make else self._daemon.share, path, name)
        return await self._portrait(shared)

    async def share_account(
        self, account: str, path: str, name: str | None, place: Path | None, merge: bool
    ) -> model.FolderStatus:
        daemon, wanted = self._daemon, mirrors.cloud_path(path)
        found = daemon.accounts.named(account)
        async with self._one_share:
            folders = {shared.id.hex(): shared for shared in daemon.registry.folders()}
            for known in daemon.accounts.mirrored():
                if (known.account, known.path) == (account, wanted) and known.folder in folders:
                    return await self._portrait(folders[known.folder])
            await daemon.mirrors.demand(found, wanted)
            chosen = name or daemon.free_name(wanted.rpartition("/")[2] or account)
            where = place if place is not None else await asyncio.to_thread(daemon.mirrors.place, account, chosen)
            shared = await asyncio.to_thread(
                daemon.share, await asyncio.to_thread(self._prepared, where, merge), chosen
            )
            await asyncio.to_thread(daemon.accounts.mirror, Mirrored(shared.id.hex(), account, wanted))
        daemon.mirrors.look()
        return await self._portrait(shared)

    async def invite(self, folder: str, read_only: bool, expires_s: float) -> model.Invitation:
        loop = self._loop(folder)
        if loop.replica.role is not Role.OWNER:
            raise TrustError("this device does not own the folder", hint="invite from a device that does")
        role = Role.READ_ONLY if read_only else Role.READ_WRITE
        secret = os.urandom(pairing.SECRET_BYTES)
        expires_at = time.time() + expires_s
        ticket = pairing.Ticket(
            inviter=self._daemon.key.device_id,
            folder=bytes.fromhex(folder),
            name=loop.replica.name,
            addresses=tuple(self._daemon.survey.own_addresses())[: pairing.MAX_ADDRESSES],
            secret=secret,
            role=int(role),
            expires_at=int(expires_at),
        )
        kept = OpenTicket(pairing.secret_hash(secret), pairing.knock_key(secret), loop.replica.folder, role, expires_at)
        self._daemon.registry.add_ticket(kept)
        return model.Invitation(
            ticket=ticket.text(),
            folder=folder,
            name=loop.replica.name,
            role=portraits.role(role),
            expires_at=expires_at,
        )

    async def join(self, ticket: str, path: Path, merge: bool) -> model.FolderStatus:
        daemon = self._daemon
        parsed = pairing.parse(ticket)
        if time.time() > parsed.expires_at + 60:
            raise TrustError("this ticket has expired", hint="ask for another: `harp invite NAME`")
        if parsed.inviter == daemon.key.device_id:
            raise UsageError("this ticket is this device's own", hint="use it on another device")
        if any(folder.id == parsed.folder for folder in daemon.registry.folders()):
            raise UsageError(f"this device has the folder {parsed.name} already", hint="`harp folders` lists it")
        place = await asyncio.to_thread(self._prepared, path, merge)
        assert daemon.dialler is not None
        peer, welcome = await daemon.dialler.join(parsed, daemon.config.device_name)
        if welcome.folder != parsed.folder:
            raise TrustError("the inviter answered for another folder", hint="ask for another ticket")
        shared = await asyncio.to_thread(self._entered, place, welcome)
        daemon.hub.settle_joined(peer, shared.id)
        # The grant is not merged yet, since its causes are still on their way; the inviter has told what it says.
        return msgspec.structs.replace(await self._portrait(shared), role=portraits.role(welcome.role))

    def _prepared(self, path: Path, merge: bool) -> Path:
        """The folder to receive another's content, which is there then. Raises :class:`UsageError`."""
        opening.demand_apart(path, self._daemon.registry.folders())
        try:
            path.mkdir(parents=True, exist_ok=True)
            place = path.resolve()
            opening.demand_apart(place, self._daemon.registry.folders())
            is_empty = not any(entry.name != ".harp" for entry in os.scandir(place))
        except FileExistsError as error:
            raise UsageError(
                f"{path} is not a folder", hint="name a folder, or one that is still to be made"
            ) from error
        except OSError as error:
            raise UsageError(f"{path} cannot be used: {error.strerror}", hint="name another folder") from error
        if not is_empty and not merge:
            raise UsageError(f"{path} is not empty", hint="--merge puts both contents together; or name another folder")
        return place

    def _entered(self, place: Path, welcome: Welcome) -> SharedFolder:
        shared = opening.enter(self._daemon.config.home, place, self._daemon.free_name(welcome.name), welcome)
        self._daemon.registry.add_folder(shared)
        self._daemon.open(shared)
        return shared

    async def pause(self, folder: str) -> model.Done:
        return await self._pause(folder, paused=True)

    async def resume(self, folder: str) -> model.Done:
        return await self._pause(folder, paused=False)

    async def _pause(self, folder: str, *, paused: bool) -> model.Done:
        loop = self._loop(folder)
        self._daemon.registry.set_paused(loop.replica.folder, paused)
        await self._on(loop, lambda: loop.pause(paused))
        return model.Done(message=f"{loop.replica.name} is {'paused' if paused else 'going on'}")

    async def leave(self, folder: str, for_all: bool) -> model.Done:
        id_ = FolderId(bytes.fromhex(folder))
        loop = self._daemon.hub.loop(id_)
        shared = next(one for one in self._daemon.registry.folders() if one.id == id_)
        if for_all and loop is None:
            raise UsageError(f"{shared.name} is not open here, so nobody can be told", hint="`harp status` says why")
        unheard: list[str] = []
        if loop is not None:
            if for_all:
                unheard = await self._on(loop, functools.partial(_end, loop))
            owners = [m for m in loop.replica.membership.members.values() if m.role is Role.OWNER]
            is_alone = len(loop.replica.membership.members) == 1
            if loop.replica.role is Role.OWNER and len(owners) == 1 and not is_alone:
                raise TrustError(
                    "the last owner cannot leave a folder that others are in",
                    hint="`harp leave NAME --for-all` takes the others away first; they keep their files",
                )
            if loop.replica.role is not None and not is_alone:
                with contextlib.suppress(HarpError):
                    await self._on(loop, lambda: loop.published(loop.governor.leave()))
            await asyncio.to_thread(self._daemon.close_folder, id_)
        await self._daemon.mirrors.forget(id_)
        await asyncio.to_thread(self._daemon.give_up, shared)
        message = f"left {shared.name}; its files stay at {shared.path}"
        if unheard:
            message += f"; not connected, and not told of it: {', '.join(unheard)}"
        return model.Done(message=message)

    async def forget(self, device: str) -> model.Forgotten:
        id_ = self._device(device)
        cut_from, still_in = [], []
        for loop in self._daemon.hub.loops():
            if loop.replica.membership.role(id_) is None:
                continue
            if loop.replica.role is Role.OWNER:
                await self._on(loop, functools.partial(_cut, loop, id_))
                cut_from.append(loop.replica.name)
            else:
                still_in.append(loop.replica.name)
        self._daemon.registry.forget(id_, now=time.time())
        self._daemon.hub.forget(id_)
        return model.Forgotten(device=device_id.text(id_), cut_from=cut_from, still_in=still_in)

    # --- one folder ---------------------------------------------------------------------------------------------------

    def wait(self, folder: str, timeout_s: float | None) -> AsyncIterator[model.Progress]:
        loop = self._loop(folder)
        mirrors = self._daemon.mirrors
        found = mirrors.of(loop.replica.folder)
        account = None
        if found is not None:
            current = functools.partial(mirrors.loop, loop.replica.folder)
            account = MirroredAccount(current, functools.partial(mirrors.status, found[0]))
        return until_same(loop, account, timeout_s)

    async def rescan(self, folder: str) -> model.Done:
        loop = self._loop(folder)
        await asyncio.wrap_future(loop.scanned())
        return model.Done(message=f"scanned {loop.replica.name}")

    async def history(self, folder: str, path: bytes) -> list[model.Version]:
        loop = self._loop(folder)
        found = await self._on(loop, lambda: Inquiry(loop.replica).history(FolderPath(path)))
        return [portraits.version(loop, one) for one in found]

    async def why(self, folder: str, path: bytes) -> model.Why:
        loop = self._loop(folder)
        found = await self._on(
            loop,
            lambda: explained(loop.replica, loop.applier, loop.courier, FolderPath(path), now=time.monotonic()),
        )
        return portraits.why(self._daemon, FolderPath(path), found)

    async def conflicts(self, folder: str) -> list[model.Conflict]:
        loop = self._loop(folder)
        found = await self._on(loop, lambda: Inquiry(loop.replica).conflicts())
        return [
            model.Conflict(**naming.path_fields(path), versions=[portraits.version(loop, one) for one in versions])
            for path, versions in found
        ]

    async def restore(self, folder: str, path: bytes, entry: str) -> model.Done:
        loop = self._loop(folder)
        return model.Done(message=await self._on(loop, lambda: Decisions(loop).restore(FolderPath(path), entry)))

    async def resolve(self, folder: str, path: bytes, keep: str) -> model.Done:
        loop = self._loop(folder)
        return model.Done(message=await self._on(loop, lambda: Decisions(loop).resolve(FolderPath(path), keep)))

    async def verify(self, folder: str) -> AsyncIterator[model.Progress]:
        loop = self._loop(folder)
        total_files, total_bytes = await self._on(loop, loop.replica.places.totals)
        steps = Inquiry(loop.replica).verify()
        files = size = wrong = 0
        while True:
            found = await self._on(loop, lambda: _some(steps))
            if not found:
                break
            for one in found:
                match one:
                    case Finding():
                        wrong += 1
                        finding = model.Problem(**naming.path_fields(one.path), why=one.why)
                        yield model.Progress(phase=model.Phase.VERIFYING, finding=finding)
                    case Checked():
                        files, size = files + one.files, size + one.bytes
            yield model.Progress(
                phase=model.Phase.VERIFYING,
                done_files=files,
                total_files=total_files,
                done_bytes=size,
                total_bytes=total_bytes,
            )
        yield portraits.verified(wrong, files, size)

    async def held(self, folder: str) -> list[model.HeldSet]:
        loop = self._loop(folder)
        return self._asked(folder) + await self._on(loop, lambda: portraits.held(loop))

    async def approve(self, folder: str, held: str) -> model.Done:
        if done := await self._answered(folder, held, "follow"):
            return done
        loop = self._loop(folder)
        return model.Done(message=await self._on(loop, lambda: Decisions(loop).approve(held)))

    async def reject(self, folder: str, held: str) -> model.Done:
        if done := await self._answered(folder, held, "merge"):
            return done
        loop = self._loop(folder)
        return model.Done(message=await self._on(loop, lambda: Decisions(loop).reject(held)))

    # --- parts --------------------------------------------------------------------------------------------------------

    def _device(self, reference: str) -> DeviceId:
        """A device by its id, the beginning of it, or the name that only one member has."""
        with contextlib.suppress(TrustError):
            return device_id.parse(reference)
        members = {
            member.device: member.name
            for loop in self._daemon.hub.loops()
            for member in loop.replica.membership.members.values()
        }
        wanted = reference.replace("-", "").upper()
        found = {
            device
            for device, name in members.items()
            if name == reference or (len(wanted) >= 4 and device_id.text(device).replace("-", "").startswith(wanted))
        }
        if len(found) != 1:
            raise UsageError(
                f"{reference!r} names {'no' if not found else 'more than one'} device", hint="`harp peers` lists them"
            )
        return found.pop()


def _cut(loop: FolderLoop, device: DeviceId) -> None:
    loop.published(loop.governor.cut(device))


def _end(loop: FolderLoop) -> list[str]:
    """Ends the membership of all others, and tells them; the names of those that are not there to hear it."""
    others = [member for member in loop.replica.membership.members.values() if member.device != loop.replica.device]
    written = [one for member in others for one in loop.governor.cut(member.device)]
    unheard = [naming.printable(member.name) for member in others if loop.exchange.get(member.device) is None]
    if written:
        # All at once: who is no member any more is not spoken to.
        loop.published(written)
    return sorted(unheard)


def _some(steps: Iterator[Finding | Checked]) -> list[Finding | Checked]:
    """As much as is done within a moment, so that the folder's thread is free again soon."""
    until = time.monotonic() + LONGEST_WAIT_STEP_S
    done = []
    for one in steps:
        done.append(one)
        if time.monotonic() > until:
            break
    return done
