# SPDX-License-Identifier: AGPL-3.0-or-later
"""Finds the members we are not linked to: addresses that worked, addresses we were told, and who answers the beacon."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from harp.base.config import address as parsed_address
from harp.base.errors import HarpError, LinkError
from harp.base.runtime import Backoff, Tasks
from harp.base.webaddress import is_web, web_address
from harp.identity import pairing
from harp.identity.device import DeviceId, short
from harp.sync.model import FolderId
from harp.sync.protocol import messages
from harp.sync.service.doors import Doors
from harp.sync.service.hub import Hub, Joining
from harp.sync.service.peer import Peer
from harp.sync.transport import tcp, websocket
from harp.sync.transport.link import Link
from harp.sync.transport.tls import Identity

_log = logging.getLogger(__name__)

DIAL_TIMEOUT_S = 5.0
JOIN_TIMEOUT_S = 30.0
IDLE_S = 30.0
FOUND_AGAIN_S = 2.0
BACKOFF = Backoff(first_s=0.5, most_s=60.0)


@dataclass(slots=True)
class _Attempts:
    """How it went with one device; ``due`` is monotonic."""

    failures: int = 0
    due: float = 0.0
    is_under_way: bool = False
    error: str = ""


class Dialler:
    """Lives on the daemon's event loop; dials in threads."""

    def __init__(self, hub: Hub, doors: Doors, identity: Identity, tasks: Tasks, executor: ThreadPoolExecutor) -> None:
        self._hub = hub
        self._doors = doors
        self._identity = identity
        self._tasks = tasks
        self._executor = executor
        self._attempts: dict[DeviceId, _Attempts] = {}
        self._found: dict[tuple[FolderId, str, int], float] = {}
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def wake(self) -> None:
        """Something changed: look again who is missing; from any thread.

        To no effect once the event loop is closed: the last links may end after it.
        """
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._wake.set)

    def error_of(self, device: DeviceId) -> str:
        """Why the last attempt to reach a device failed; empty where it did not."""
        return self._attempts[device].error if device in self._attempts else ""

    async def run(self) -> None:
        """Dials whoever is missing, again and again with back-off, for as long as it takes."""
        while True:
            self._wake.clear()
            now = time.monotonic()
            next_due = now + IDLE_S
            for device in self._missing():
                attempts = self._attempts.setdefault(device, _Attempts())
                if attempts.is_under_way:
                    continue
                if attempts.due <= now:
                    attempts.is_under_way = True
                    self._tasks.start(f"dial {short(device)}", self._dial(device, attempts))
                else:
                    next_due = min(next_due, attempts.due)
            try:
                async with asyncio.timeout(max(0.01, next_due - time.monotonic())):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def found(self, folder: FolderId, address: tuple[str, int]) -> None:
        """Somebody who knows a folder's secret listens there: it may be a member we are not linked to."""
        now = time.monotonic()
        key = (folder, *address)
        if self._found.get(key, 0.0) > now or not self._missing_in(folder):
            return
        if any(peer.link.remote[0] == address[0] and peer.link.remote[1] == address[1] for peer in self._hub.peers()):
            return
        self._found = {known: until for known, until in self._found.items() if until > now}
        self._found[key] = now + FOUND_AGAIN_S
        self._tasks.start(f"dial {address[0]}", self._dial_found(folder, address))

    async def join(self, ticket: pairing.Ticket, device_name: str) -> tuple[Peer, messages.Welcome]:
        """Redeems a ticket with its inviter. Raises :class:`LinkError`, or :class:`TrustError` where it is refused."""
        knock_key = pairing.knock_key(ticket.secret)
        inviter = DeviceId(ticket.inviter)
        failure: HarpError = LinkError("the ticket names no address", hint="is the inviting daemon connected?")
        for address in dict.fromkeys((*ticket.addresses, *self._hub.registry.addresses(inviter))):
            try:
                knock = self._doors.knock_with(knock_key, inviter)
                link = await self._reached(address, knock, lambda device: device == inviter)
                joining = Joining(ticket.secret, device_name)
                peer = self._hub.link_made(link, joining)
                async with asyncio.timeout(JOIN_TIMEOUT_S):
                    return peer, await asyncio.wrap_future(joining.welcome)
            except LinkError as error:
                failure = error
            except TimeoutError:
                failure = LinkError(f"the inviter at {address} does not answer")
        raise (
            LinkError(
                f"the device that invited cannot be reached: {failure.message}",
                hint="its daemon must run, and its port be reachable from here: `harp doctor` on both",
            )
            if isinstance(failure, LinkError) and failure.retryable
            else failure
        )

    # --- dialling -----------------------------------------------------------------------------------------------------

    def _missing(self) -> set[DeviceId]:
        members = {device for loop in self._hub.loops() for device in loop.replica.membership.members}
        linked = {peer.device for peer in self._hub.peers()}
        return members - linked - self._hub.registry.forgotten() - {self._hub.key.device_id}

    def _missing_in(self, folder: FolderId) -> bool:
        """Whether a member may be unlinked; a member that is not known here yet counts, so one more is hoped for."""
        return self._hub.loop(folder) is not None

    async def _dial(self, device: DeviceId, attempts: _Attempts) -> None:
        addresses = self._hub.registry.addresses(device)
        attempts.error = "" if addresses else "no address of it is known"
        try:
            for address in addresses:
                knock = self._doors.knock_for(device)
                if knock is None or self._hub.peer(device) is not None:
                    break
                if await self._try(address, knock, lambda found: found == device, attempts):
                    break
        finally:
            attempts.is_under_way = False
            attempts.failures += 1
            attempts.due = time.monotonic() + BACKOFF.delay_s(attempts.failures, jitter=random.random())  # noqa: S311
            self._wake.set()

    async def _try(self, address: str, knock: bytes, accepts: Callable[[DeviceId], bool], attempts: _Attempts) -> bool:
        try:
            link = await self._reached(address, knock, accepts)
        except HarpError as error:
            attempts.error = error.message
            return False
        attempts.error = ""
        attempts.failures = 0
        self._hub.link_made(link)
        return True

    async def _dial_found(self, folder: FolderId, address: tuple[str, int]) -> None:
        knock = self._doors.knock_at(folder, *address)
        missing = self._missing()
        own = self._hub.key.device_id

        def accepts(device: DeviceId) -> bool:
            linked = self._hub.peer(device)
            return device != own and (device in missing or linked is None or is_web(linked.link.remote[0]))

        if knock is None:
            return
        try:
            link = await self._dialled(*address, knock, accepts)
        except HarpError as error:
            _log.debug("%s:%d: %s", *address, error.message)
            return
        self._hub.link_made(link)

    async def _reached(self, address: str, knock: bytes, accepts: Callable[[DeviceId], bool]) -> Link:
        """A link through any address that a ticket or a peer names."""
        if not is_web(address):
            host, port = _split(address)
            return await self._dialled(host, port, knock, accepts)
        try:
            web = web_address(address)
        except ValueError as error:
            raise LinkError(f"{address!r} is no address") from error
        return await self._loop.run_in_executor(
            self._executor, websocket.dial, web, self._identity, knock, accepts, DIAL_TIMEOUT_S
        )

    async def _dialled(self, host: str, port: int, knock: bytes, accepts: Callable[[DeviceId], bool]) -> Link:
        return await self._loop.run_in_executor(
            self._executor, tcp.dial, host, port, self._identity, knock, accepts, DIAL_TIMEOUT_S
        )


def _split(address: str) -> tuple[str, int]:
    """Raises :class:`LinkError` for what is no ``host:port``: peers say what they like."""
    try:
        found = parsed_address(address)
    except ValueError as error:
        raise LinkError(f"{address!r} is no address") from error
    return found.host, found.port
