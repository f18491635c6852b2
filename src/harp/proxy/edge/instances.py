# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where the instances of an app are that have names: HAProxy is told, as it would ask the DNS alone and no hosts(5)."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from harp.base.runtime import Tasks
from harp.proxy.edge.runtime import RuntimeSocket, RuntimeSocketError
from harp.proxy.model import Resolver
from harp.proxy.policy.shape import SLOT_KINDS, is_literal

_log = logging.getLogger(__name__)

ROUND_S = 1.0

Pools = Sequence[tuple[str, Sequence[str]]]


class Instances:
    """``pools()`` are those that HAProxy has just now, as :class:`harp.proxy.policy.shape.Shape` holds them."""

    def __init__(self, pools: Callable[[], Pools], resolver: Resolver, socket: RuntimeSocket, tasks: Tasks) -> None:
        self._pools = pools
        self._resolver = resolver
        self._socket = socket
        self._tasks = tasks
        self._asked: set[str] = set()

    async def follow(self) -> None:
        """Looks up each name again and again, until it is cancelled; one that is slow holds up no other.

        HAProxy is told each time: it may have been reloaded meanwhile, and what it knows already it passes over.
        """
        while True:
            for number, (_app, instances) in enumerate(self._pools()):
                for place, instance in enumerate(instances):
                    if not is_literal(instance) and instance not in self._asked:
                        self._asked.add(instance)
                        backends = [f"{kind}{slot}" for kind in SLOT_KINDS for slot in (2 * number, 2 * number + 1)]
                        servers = [f"{backend}/app{place}" for backend in backends]
                        self._tasks.start(f"address of {instance}", self._tell(instance, servers))
            await asyncio.sleep(ROUND_S)

    async def _tell(self, instance: str, servers: Sequence[str]) -> None:
        host, _colon, port = instance.rpartition(":")
        try:
            address = await self._resolver.address(host)
            for server in servers if address is not None else ():
                await self._socket.ask(f"set server {server} addr {address} port {port}")
        except RuntimeSocketError as error:
            _log.debug("HAProxy cannot be told where %s is: %s", instance, error)
        finally:
            self._asked.discard(instance)
