# SPDX-License-Identifier: AGPL-3.0-or-later
"""Listening on a TCP port: a knock first, and for whoever has none not a single byte, not even an alert."""

import contextlib
import errno
import ipaddress
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, Protocol

from harp.base.errors import HarpError, LinkError
from harp.identity.device import DeviceId
from harp.sync.transport.carrier import Carrier, shake_hands
from harp.sync.transport.knock import KNOCK_BYTES
from harp.sync.transport.link import Link
from harp.sync.transport.tcp import TcpCarrier
from harp.sync.transport.tls import Identity, TlsMachine

KNOCK_TIMEOUT_S = 5.0
HANDSHAKE_TIMEOUT_S = 10.0
MAX_AT_THE_DOOR = 64
"""Connections between accept and link, from everywhere."""
MAX_FROM_ONE_SOURCE = 8

_BACKLOG = 128
_PAUSE_S = 0.1


class Admission(Protocol):
    """What a doorman says to a knock that it knows."""

    @property
    def tag(self) -> object:
        """Whatever the doorman wants to find again as the link's ``admitted``."""

    def accepts(self, device: DeviceId) -> bool:
        """Whether that device may come in by this knock."""


class Doorman(Protocol):
    """Who knows the keys one may knock with. Called on the listener's threads, several at a time."""

    def admit(self, knock: bytes, local: tuple[str, int]) -> Admission | None:
        """None for a stranger. ``local`` is the address the knock came to (see ``knock.place``)."""


class Manner(NamedTuple):
    """How links come to a port. ``opened`` gives the carrier to knock on, None where the caller wants something else;

    it may block for KNOCK_TIMEOUT_S. ``option`` is that of ``harp up`` which says where to listen.
    """

    opened: Callable[[socket.socket], Carrier | None]
    option: str
    most_from_one_source: int


BY_TCP = Manner(TcpCarrier, "--listen", MAX_FROM_ONE_SOURCE)


class Listener:
    """Listens from its making until :meth:`close`; hands each session made to ``on_link``, on a thread of its own."""

    def __init__(
        self,
        host: str,
        port: int,
        identity: Identity,
        doorman: Doorman,
        on_link: Callable[[Link], None],
        manner: Manner = BY_TCP,
    ) -> None:
        self._socket = _bound(host, port, manner.option)
        self._manner = manner
        self._identity = identity
        self._doorman = doorman
        self._on_link = on_link
        self._lock = threading.Lock()
        self._at_the_door: dict[socket.socket, str] = {}
        self._sources: Counter[str] = Counter()
        self._is_closed = threading.Event()
        self.strangers = 0
        """Connections without a knock that is known here."""
        self.failed = 0
        """Connections with a good knock, but no session."""
        self.turned_away = 0
        """Connections beyond what is let to the door at once."""
        host, port = self._socket.getsockname()[:2]
        self.address: tuple[str, int] = (host, port)
        """Host and port that are listened on; the port that was chosen where 0 was asked for."""
        threading.Thread(target=self._accept, name=f"harp listener {port}", daemon=True).start()

    def close(self) -> None:
        """Stop listening and drop who is still at the door; links that were made stay."""
        self._is_closed.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with self._lock:
            for connection in self._at_the_door:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._is_closed.is_set():
            try:
                connection, address = self._socket.accept()
            except OSError:
                # Out of descriptors, or a connection that is gone again: both pass.
                self._is_closed.wait(_PAUSE_S)
                continue
            if not self._let_to_the_door(connection, _source(address[0])):
                connection.close()

    def _let_to_the_door(self, connection: socket.socket, source: str) -> bool:
        most = self._manner.most_from_one_source
        with self._lock:
            is_full = len(self._at_the_door) >= MAX_AT_THE_DOOR or self._sources[source] >= most
            if is_full or self._is_closed.is_set():
                self.turned_away += 1
                return False
            self._at_the_door[connection] = source
            self._sources[source] += 1
        try:
            threading.Thread(target=self._meet, args=(connection,), name="harp door", daemon=True).start()
        except RuntimeError:  # no more threads
            self._leave_the_door(connection)
            return False
        return True

    def _leave_the_door(self, connection: socket.socket) -> None:
        with self._lock:
            source = self._at_the_door.pop(connection, None)
            if source is None:
                return
            self._sources[source] -= 1
            if not self._sources[source]:
                del self._sources[source]

    def _meet(self, connection: socket.socket) -> None:
        link = None
        try:
            link = self._session(connection)
        except (HarpError, OSError):
            self.failed += 1
        finally:
            self._leave_the_door(connection)
            if link is None:
                connection.close()
        if link is None:
            return
        if self._is_closed.is_set():
            link.close("this device stops listening")
            return
        self._on_link(link)

    def _session(self, connection: socket.socket) -> Link | None:
        carrier = self._manner.opened(connection)
        if carrier is None:
            return None
        knock = _knock(carrier)
        admission = None if knock is None else self._doorman.admit(knock, carrier.local)
        if admission is None:
            self.strangers += 1
            return None
        machine = TlsMachine(self._identity, is_client=False, accepts=admission.accepts)
        shake_hands(carrier, machine, timeout_s=HANDSHAKE_TIMEOUT_S)
        return Link(carrier, machine, is_dialler=False, admitted=admission.tag)


def _knock(carrier: Carrier) -> bytes | None:
    """The first 153 bytes, and not one more; None where they do not come in time."""
    deadline = time.monotonic() + KNOCK_TIMEOUT_S
    data = bytearray(KNOCK_BYTES)
    filled = 0
    with memoryview(data) as view, contextlib.suppress(OSError):
        while filled < KNOCK_BYTES and (left_s := deadline - time.monotonic()) > 0:
            carrier.set_timeout(left_s)
            length = carrier.recv_into(view[filled:])
            if not length:
                break
            filled += length
    return bytes(data) if filled == KNOCK_BYTES else None


def _bound(host: str, port: int, option: str) -> socket.socket:
    """A listening socket; an empty host or ``::`` listens on IPv6 and IPv4 alike, where there is IPv6."""
    try:
        if host in ("", "::") and socket.has_dualstack_ipv6():
            return socket.create_server(
                ("::", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True, reuse_port=False
            )
        family, *_, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG
        )[0]
        return socket.create_server((str(address[0]), port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError, UnicodeError) as error:
        raise _bind_error(host, port, option, error) from error


def _bind_error(host: str, port: int, option: str, error: Exception) -> LinkError:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return LinkError(
            f"port {port} is in use", hint=f"stop the other program, or choose another with {option} HOST:PORT"
        )
    if number == errno.EACCES:
        return LinkError(f"port {port} may not be used by this user", hint=f"choose one above 1023 with {option}")
    if number == errno.EADDRNOTAVAIL:
        return LinkError(f"{host} is no address of this machine", hint=f"try {option} 0.0.0.0:{port}")
    return LinkError(f"cannot listen on {host} port {port}", hint=f"try {option} 0.0.0.0:{port}")


def _source(host: str) -> str:
    """Whose connections are counted together: an IPv4 address, or the /64 that a single IPv6 customer has."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))
