# SPDX-License-Identifier: AGPL-3.0-or-later
"""Links over TCP: dial a device, or listen for those whose knock a doorman knows."""

import contextlib
import fcntl
import socket
import struct
import termios
import time
from collections.abc import Callable

from harp.base.errors import LinkError
from harp.identity.device import DeviceId
from harp.sync.transport.addresses import address_text, plain_address
from harp.sync.transport.carrier import Carrier, Flow, shake_hands
from harp.sync.transport.link import Link
from harp.sync.transport.tls import Identity, TlsMachine

_UNSENT_BYTES = 256 * 1024
"""What the kernel keeps beyond what is on its way: a control frame waits behind no more than this (and one answer)."""
_DEAD_AFTER_MS = 60_000
_TCP_INFO_BYTES = 152
_ACKED, _ACKED_AT = struct.Struct("=Q"), 120
_NUMBER, _MIN_RTT_AT, _LAST_ACK_AT = struct.Struct("=I"), 148, 56
_RETRANSMITS_AT = 2


class TcpCarrier:
    """A connected TCP socket as a link's :class:`~harp.sync.transport.carrier.Carrier`."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self.remote = plain_address(connection.getpeername())
        self.local = plain_address(connection.getsockname())
        self.set_timeout = connection.settimeout
        self.sendall = connection.sendall
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        with contextlib.suppress(AttributeError, OSError):  # Linux has both, others may not
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_AFTER_MS)

    def recv_into(self, buffer: memoryview) -> int:
        return self._socket.recv_into(buffer)

    def flow(self) -> Flow:
        """From the kernel: SIOCOUTQ of tcp(7), and of linux/tcp.h's struct tcp_info retransmits (those since the last
        acknowledgement), bytes_acked, min_rtt and last_ack_recv."""
        try:
            info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
            waiting = bytearray(4)
            fcntl.ioctl(self._socket, termios.TIOCOUTQ, waiting)
            (acked,) = _ACKED.unpack_from(info, _ACKED_AT)
            (round_trip_us,) = _NUMBER.unpack_from(info, _MIN_RTT_AT)
            (last_ack_ms,) = _NUMBER.unpack_from(info, _LAST_ACK_AT)
            (unacked,) = _NUMBER.unpack(waiting)
            silent_s = last_ack_ms / 1000 if unacked else 0.0
            return Flow(acked, unacked, round_trip_us / 1e6, silent_s, is_lost=info[_RETRANSMITS_AT] > 0)
        except (OSError, AttributeError, struct.error):  # closed meanwhile, or not Linux
            return Flow(0, 0, 0.0)

    def end_writing(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def shut(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()


def dial(
    host: str,
    port: int,
    identity: Identity,
    knock: bytes,
    accepts: Callable[[DeviceId], bool],
    timeout_s: float,
) -> Link:
    """A link, not yet started, to a device whose key ``accepts`` is true for. Blocks: run it in a thread.

    Raises :class:`LinkError` where nobody answers in time, :class:`TrustError` where somebody else does. A listener
    that does not know the knock, or refuses our key, just closes: that is a LinkError, or the end of the link.
    """
    deadline = time.monotonic() + timeout_s
    try:
        connection = socket.create_connection((host, port), timeout=timeout_s)
    except (OSError, UnicodeError, OverflowError) as error:
        raise LinkError(f"nobody answers at {address_text(host, port)}: {_reason(error)}") from error
    try:
        return introduced(TcpCarrier(connection), identity, knock, accepts, deadline)
    except OSError as error:
        connection.close()
        raise LinkError(f"the connection to {address_text(host, port)} broke: {_reason(error)}") from error
    except BaseException:
        connection.close()
        raise


def introduced(
    carrier: Carrier, identity: Identity, knock: bytes, accepts: Callable[[DeviceId], bool], deadline: float
) -> Link:
    """The dialler's part over any carrier: knock, then shake hands. ``deadline`` is monotonic, in seconds."""
    carrier.set_timeout(max(0.001, deadline - time.monotonic()))
    carrier.sendall(knock)
    machine = TlsMachine(identity, is_client=True, accepts=accepts)
    shake_hands(carrier, machine, timeout_s=deadline - time.monotonic())
    return Link(carrier, machine, is_dialler=True)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    return (error.strerror if isinstance(error, OSError) else None) or "not an address"
