# SPDX-License-Identifier: AGPL-3.0-or-later
"""The port of a link to whatever carries its bytes, and the TLS handshake over it."""

import contextlib
import time
from typing import NamedTuple, Protocol

from harp.base.errors import HarpError, LinkError
from harp.sync.transport.tls import TlsMachine

_FLIGHT_BYTES = 16 * 1024


class Flow(NamedTuple):
    """How far what was sent has come: bytes the other end has, bytes it has not, and the shortest round trip.

    ``unheard_s`` is how long the other end has acknowledged nothing of what it has not; it is 0 where it has all.
    """

    acked: int
    unacked: int
    round_trip_s: float
    unheard_s: float = 0.0
    is_lost: bool = False
    """What was sent was sent again and no word came: the way is cut, or the other machine is gone. A device that lives
    and takes nothing in says so."""


class Carrier(Protocol):
    """Bytes both ways, in order: TCP, or a WebSocket. All calls but ``shut`` may block; errors are OSError."""

    @property
    def remote(self) -> tuple[str, int]:
        """Address and port of the other end; for a WebSocket, its URL and 0."""

    @property
    def local(self) -> tuple[str, int]:
        """Address and port of this end."""

    def recv_into(self, buffer: memoryview) -> int:
        """Wait for bytes; how many came, 0 at the end."""

    def sendall(self, data: bytes | memoryview) -> None:
        """Send all of it, as slowly as the other end takes it."""

    def flow(self) -> Flow:
        """How far what was sent has come. Never blocks, never raises."""

    def set_timeout(self, timeout_s: float | None) -> None:
        """How long a later call may block before it raises TimeoutError; None for as long as it takes."""

    def end_writing(self) -> None:
        """Tell the other end that nothing more comes; receiving goes on."""

    def shut(self) -> None:
        """End both directions at once, also under a thread that is blocked in a call. Never raises."""

    def close(self) -> None:
        """Give the carrier back, once no thread uses it any more. Never raises."""


def shake_hands(carrier: Carrier, machine: TlsMachine, *, timeout_s: float) -> None:
    """Make the session: on return both ends are known to each other's satisfaction, as far as this end can tell.

    A client is done before the server has looked at its key, so a server's refusal shows as the link's end. Raises
    :class:`TrustError` or :class:`LinkError`; an alert that says why was sent then. What the peer sent behind the
    handshake is kept in the machine.
    """
    deadline = time.monotonic() + timeout_s
    buffer = memoryview(bytearray(_FLIGHT_BYTES))
    try:
        while True:
            is_done = _step(carrier, machine, deadline)
            if is_done:
                carrier.set_timeout(None)
                return
            carrier.set_timeout(_left_s(deadline))
            length = carrier.recv_into(buffer)
            if not length:
                raise LinkError("the other end closed the connection before the session was made")
            machine.receive(buffer[:length])
    except TimeoutError as error:
        raise LinkError("the other end did not make a session in time") from error
    except OSError as error:
        raise LinkError("the connection broke before the session was made") from error


def _step(carrier: Carrier, machine: TlsMachine, deadline: float) -> bool:
    try:
        is_done = machine.handshake()
    except HarpError:
        with contextlib.suppress(OSError):
            _send(carrier, machine, deadline)
        raise
    _send(carrier, machine, deadline)
    return is_done


def _send(carrier: Carrier, machine: TlsMachine, deadline: float) -> None:
    data = machine.data_to_send()
    if data:
        carrier.set_timeout(_left_s(deadline))
        carrier.sendall(data)


def _left_s(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s
