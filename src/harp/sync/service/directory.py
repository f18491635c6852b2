# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where devices can be found: what is told over each link, and what was heard there; and when each was seen last."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence

from harp.base.errors import StoreError
from harp.base.webaddress import is_web
from harp.identity.device import DeviceId
from harp.sync.protocol.linkmessages import MAX_ADDRESSES, MAX_DEVICES_NAMED, Addresses
from harp.sync.service.peer import Peer
from harp.sync.store.registry import Registry
from harp.sync.transport.addresses import address_text

_log = logging.getLogger(__name__)

SEEN_KEPT_S = 300.0
"""A device that stays linked is written down as seen this often, lest a daemon that is killed know nothing of it."""

_Known = dict[DeviceId, tuple[str, ...]]


class Directory:
    """For every thread."""

    def __init__(self, own: DeviceId, registry: Registry, own_addresses: Callable[[], Sequence[str]]) -> None:
        self._own = own
        self._registry = registry
        self._own_addresses = own_addresses
        self._lock = threading.Lock()
        self._told: dict[Peer, _Known] = {}
        self._heard: dict[Peer, _Known] = {}
        """Some may be members that history has not told us of yet."""
        self._keep_due_s = 0.0
        """On the monotonic clock."""

    def note(self, peer: Peer) -> bool:
        """A link is open: how its device can be reached; whether others may not know that yet."""
        self._keep_due_s = 0.0
        host, port = peer.link.remote
        known = set(self._registry.addresses(peer.device))
        if peer.link.is_dialler:
            self._registry.add_addresses(peer.device, [address_text(host, port)], worked_s=time.time())
        elif not is_web(host) and peer.session.peer is not None and peer.session.peer.listen_port:
            self._registry.add_addresses(peer.device, [address_text(host, peer.session.peer.listen_port)])
        return not known.issuperset(self._registry.addresses(peer.device))

    def tell(self, peer: Peer, members: Iterable[DeviceId]) -> None:
        """Where this device, and the members of folders that both are in, can be found: as far as that is news."""
        known: _Known = {self._own: tuple(self._own_addresses())[:MAX_ADDRESSES]}
        for device in sorted(set(members) - {peer.device, self._own}):
            addresses = tuple(self._registry.addresses(device))
            if addresses:
                known[device] = addresses
        with self._lock:
            told = self._told.setdefault(peer, {})
            news = [
                (device, addresses)
                for device, addresses in known.items()
                if set(told.get(device, ())) != set(addresses)
            ]
            news = news[:MAX_DEVICES_NAMED]
            told.update(news)
        if news:
            peer.send(Addresses(tuple(news)))

    def hear(self, peer: Peer, message: Addresses, members: Collection[DeviceId]) -> None:
        """A peer says where devices are found; those that are members of something here count."""
        with self._lock:
            heard = self._heard.setdefault(peer, {})
            for device, addresses in message.known:
                if device in heard or len(heard) < MAX_DEVICES_NAMED:
                    heard[device] = addresses
        self._learn(dict(message.known), members)

    def members_changed(self, members: Collection[DeviceId]) -> None:
        """What was heard before may count now."""
        with self._lock:
            heard = [dict(known) for known in self._heard.values()]
        for known in heard:
            self._learn(known, members)

    def ended(self, peer: Peer, *, was_linked: bool) -> None:
        """A link is no more; ``was_linked``: it was the one for its device."""
        with self._lock:
            self._told.pop(peer, None)
            self._heard.pop(peer, None)
        if was_linked:
            self.saw([peer])

    def keep(self, linked: Iterable[Peer]) -> None:
        """Writes down now and then that these are seen. Called every few seconds."""
        now = time.monotonic()
        if now >= self._keep_due_s:
            self._keep_due_s = now + SEEN_KEPT_S
            self.saw(linked)

    def saw(self, peers: Iterable[Peer]) -> None:
        """They are, or were until now, linked: that outlives this daemon."""
        try:
            self._registry.saw([peer.device for peer in peers], now=time.time())
        except StoreError as error:
            # Links and folders go on without it.
            _log.warning("it cannot be written down which devices were seen: %s", error)

    def _learn(self, known: _Known, members: Collection[DeviceId]) -> None:
        for device, addresses in known.items():
            if device in members and device != self._own:
                self._registry.add_addresses(device, addresses)
