# SPDX-License-Identifier: AGPL-3.0-or-later
"""Links in a WebSocket (RFC 6455), so that they pass through any reverse proxy, which reads nothing of them.

The payloads of all binary messages, one after the other, are the stream that TCP would carry: a knock, then the TLS of
the two devices. Where one message ends says nothing. ``websockets`` is used as a machine that does no I/O; text, an
extension, or a message beyond 1 MiB ends the connection.
"""

import contextlib
import errno
import http
import logging
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import Protocol, State
from websockets.uri import WebSocketURI

from harp.base.errors import LinkError
from harp.base.webaddress import WebAddress
from harp.identity.device import DeviceId
from harp.sync.transport.carrier import Flow
from harp.sync.transport.link import Link
from harp.sync.transport.records import reserved
from harp.sync.transport.tcp import introduced
from harp.sync.transport.tls import Identity
from harp.sync.transport.webstream import PlainStream, SecureStream, Stream

MAX_MESSAGE_BYTES = 1024 * 1024
SENT_BYTES = 256 * 1024
"""The most that one message of ours carries."""
_MAX_WAITING_BYTES = 64 * 1024
_MAX_WAITING = 1024
"""Answers to pings of somebody who does not listen to them: no working program lets so many gather."""
_READ_BYTES = 256 * 1024
_POSITION = struct.Struct(">Q")
_MEASURE_BYTES = 64 * 1024
_MAX_PINGS = 256

QUIET = logging.getLogger("harp.websocket")
"""The machine's own log: what a stranger does wrong is counted, not logged."""
QUIET.setLevel(logging.CRITICAL)


class WebSocketCarrier:
    """An open WebSocket as a link's :class:`~harp.sync.transport.carrier.Carrier`.

    ``remote`` is ``(URL, 0)``: such a peer counts as far, and its address is the URL that was dialled. How far what was
    sent has come is measured from end to end, by pings that carry the position in the stream.
    """

    def __init__(self, stream: Stream, protocol: Protocol, remote: str, local: tuple[str, int]) -> None:
        self._stream = stream
        self._protocol = protocol
        self.remote = (remote, 0)
        self.local = local
        self.set_timeout = stream.set_timeout
        self.shut = stream.shut
        self.close = stream.close
        self._lock = threading.Lock()
        """Of the machine and the measure; never held while the network is waited for."""
        self._send_lock = threading.Lock()
        self._received = reserved(_READ_BYTES)
        self._ready: deque[memoryview] = deque()
        self._has_ended = False
        self._measure = Measure()
        self._take(protocol.events_received())

    def recv_into(self, buffer: memoryview) -> int:
        while not self._ready:
            if self._has_ended:
                return 0
            self._receive()
        piece = self._ready.popleft()
        length = min(len(piece), len(buffer))
        buffer[:length] = piece[:length]
        if length < len(piece):
            self._ready.appendleft(piece[length:])
        return length

    def sendall(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        for start in range(0, len(view), SENT_BYTES):
            piece = view[start : start + SENT_BYTES]
            with self._lock:
                if self._protocol.state is not State.OPEN:
                    raise BrokenPipeError(errno.EPIPE, "the WebSocket is closed")
                self._protocol.send_binary(piece)
                self._ask(self._measure.sent(len(piece), now=time.monotonic()))
            self._flush()

    def flow(self) -> Flow:
        with self._lock:
            return self._measure.flow(now=time.monotonic())

    def end_writing(self) -> None:
        with self._lock:
            if self._protocol.state is State.OPEN:
                self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
        self._flush()

    # --- receiving ----------------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        length = self._stream.recv_into(self._received)
        with self._lock:
            if not length:
                self._has_ended = True
                return
            self._protocol.receive_data(self._received[:length])  # type: ignore[arg-type]
            self._take(self._protocol.events_received())
            fault = self._protocol.parser_exc
        self._flush_now()
        if fault is not None and not self._ready:
            raise ConnectionAbortedError(errno.ECONNABORTED, "the other end breaks the rules of WebSockets")

    def _take(self, events: Sequence[object]) -> None:
        for event in events:
            if not isinstance(event, Frame):
                continue
            match event.opcode:
                case Opcode.BINARY | Opcode.CONT if event.data:
                    self._ready.append(memoryview(event.data))
                case Opcode.TEXT:
                    self._protocol.fail(CloseCode.UNSUPPORTED_DATA)
                    self._has_ended = True
                    return
                case Opcode.PONG:
                    self._ask(self._measure.answered(bytes(event.data), now=time.monotonic()))
                case Opcode.CLOSE:
                    self._has_ended = True
                case _:
                    pass

    def _ask(self, ping: bytes) -> None:
        if ping and self._protocol.state is State.OPEN:
            self._protocol.send_ping(ping)

    # --- sending ------------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Send all that waits, also what the receiver has to answer meanwhile."""
        while True:
            with self._send_lock:
                self._stream.sendall(self._waiting())
            if not self._is_anything_left():
                return

    def _flush_now(self) -> None:
        """The same from the receiver, which must never wait to send: the other end may be waiting for it to receive."""
        while (self._stream.rest_bytes or self._is_anything_left()) and self._send_lock.acquire(blocking=False):
            try:
                self._stream.send_now(self._waiting())
            finally:
                self._send_lock.release()
            if self._stream.rest_bytes > _MAX_WAITING_BYTES + SENT_BYTES:
                raise _pings_in_vain()
            if self._stream.rest_bytes:
                return

    def _waiting(self) -> bytes:
        with self._lock:
            # The end of the stream is an empty piece among them; ours is said by ``shut``.
            return b"".join(self._protocol.data_to_send())

    def _is_anything_left(self) -> bool:
        with self._lock:
            if len(self._protocol.writes) > _MAX_WAITING:
                raise _pings_in_vain()
            return any(self._protocol.writes)


def _pings_in_vain() -> OSError:
    return ConnectionAbortedError(errno.ECONNABORTED, "the other end pings and does not listen")


class Measure:
    """How far a stream has come, by positions that the other end gives back. ``now`` is monotonic, in seconds."""

    def __init__(self) -> None:
        self._sent = 0
        self._acked = 0
        self._asked: deque[tuple[int, float]] = deque()
        """Positions on their way, and since when."""
        self._round_trip_s = 0.0
        self._heard_at = 0.0

    def sent(self, length: int, *, now: float) -> bytes:
        """So much more is on its way; the payload of a ping to send behind it, empty if none is due."""
        if self._acked == self._sent:
            self._heard_at = now
        self._sent += length
        last = self._asked[-1][0] if self._asked else self._acked
        is_due = not self._asked or (self._sent - last >= _MEASURE_BYTES and len(self._asked) < _MAX_PINGS)
        return self._question(now) if is_due else b""

    def answered(self, payload: bytes, *, now: float) -> bytes:
        """A pong came; the payload of one more ping, if there is more to be known. Other payloads say nothing."""
        position = _POSITION.unpack(payload)[0] if len(payload) == _POSITION.size else -1
        if not any(position == asked for asked, _ in self._asked):
            return b""
        while self._asked:
            # A pong may answer the newest of several pings alone (RFC 6455, 5.5.3).
            asked, since = self._asked.popleft()
            if asked == position:
                took_s = now - since
                self._round_trip_s = min(self._round_trip_s or took_s, took_s)
                break
        self._acked, self._heard_at = position, now
        return self._question(now) if not self._asked and self._acked < self._sent else b""

    def flow(self, *, now: float) -> Flow:
        unacked = self._sent - self._acked
        return Flow(self._acked, unacked, self._round_trip_s, now - self._heard_at if unacked else 0.0)

    def _question(self, now: float) -> bytes:
        self._asked.append((self._sent, now))
        return _POSITION.pack(self._sent)


def dial(
    address: WebAddress, identity: Identity, knock: bytes, accepts: Callable[[DeviceId], bool], timeout_s: float
) -> Link:
    """A link, not yet started, through the web server at ``address``; as :func:`harp.sync.transport.tcp.dial`."""
    deadline = time.monotonic() + timeout_s
    try:
        connection = socket.create_connection((address.host, address.port), timeout=timeout_s)
    except (OSError, UnicodeError, OverflowError) as error:
        raise LinkError(f"nobody answers at {address}: {_reason(error)}") from error
    try:
        plain = PlainStream(connection)
        stream = SecureStream(plain, address.host, deadline - time.monotonic()) if address.is_secure else plain
        carrier = WebSocketCarrier(
            stream, _upgraded(stream, address, deadline), str(address), connection.getsockname()[:2]
        )
        return introduced(carrier, identity, knock, accepts, deadline)
    except (OSError, WebSocketException) as error:
        connection.close()
        raise LinkError(f"the connection to {address} broke: {_reason(error)}") from error
    except BaseException:
        connection.close()
        raise


def _upgraded(stream: Stream, address: WebAddress, deadline: float) -> Protocol:
    """Ask the web server for a WebSocket. Raises :class:`LinkError` where it gives another answer."""
    uri = WebSocketURI(address.is_secure, address.host, address.port, address.path, "")
    protocol = ClientProtocol(uri, max_size=(None, MAX_MESSAGE_BYTES), logger=QUIET)
    protocol.send_request(protocol.connect())
    stream.set_timeout(max(0.001, deadline - time.monotonic()))
    stream.sendall(b"".join(protocol.data_to_send()))
    buffer = memoryview(bytearray(16 * 1024))
    while protocol.state is State.CONNECTING:
        stream.set_timeout(max(0.001, deadline - time.monotonic()))
        length = stream.recv_into(buffer)
        if length:
            protocol.receive_data(buffer[:length])  # type: ignore[arg-type]
        else:
            protocol.receive_eof()
        if protocol.handshake_exc is not None:
            raise LinkError(
                f"no hub at {address}: {_answer(protocol.handshake_exc)}",
                hint="is it running, and does the web server pass this path on to it, WebSockets included?",
            )
        if not length:
            raise LinkError(f"the web server at {address} closed the connection")
    return protocol


def _answer(error: Exception) -> str:
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        with contextlib.suppress(ValueError):
            return f"the web server answers {status} {http.HTTPStatus(status).phrase}"
        return f"the web server answers {status}"
    return "what answers there is no WebSocket"


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the web server's certificate is not good: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return "what answers there does not speak TLS as a web server does"
    return (error.strerror if isinstance(error, OSError) else None) or "not an address"
