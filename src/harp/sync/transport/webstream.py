# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a WebSocket travels in: a TCP connection, or the web server's own TLS in one."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable

from harp.sync.transport.records import reserved

_READ_BYTES = 256 * 1024
_DEAD_AFTER_MS = 60_000


class PlainStream:
    """A TCP connection. One thread receives, one at a time sends; all calls but ``send_now`` and ``shut`` may block."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._rest = b""
        """What :meth:`send_now` could not send yet; it goes before anything else."""
        self.set_timeout = connection.settimeout
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        with contextlib.suppress(AttributeError, OSError):  # Linux has it, others may not
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_AFTER_MS)

    @property
    def rest_bytes(self) -> int:
        """How much was not sent yet."""
        return len(self._rest)

    def recv_into(self, buffer: memoryview) -> int:
        return self._socket.recv_into(buffer)

    def sendall(self, data: bytes) -> None:
        if self._rest:
            data, self._rest = self._rest + data, b""
        if data:
            self._socket.sendall(data)

    def send_now(self, data: bytes) -> None:
        """Send what can be sent without waiting; the rest is kept."""
        data = self._rest + data
        sent = 0
        with contextlib.suppress(BlockingIOError):
            sent = self._socket.send(data, socket.MSG_DONTWAIT) if data else 0
        self._rest = data[sent:]

    def shut(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()


class SecureStream:
    """The same through TLS as a web server speaks it, client's end. It only wraps: the devices have their own within.

    On memory BIOs and under a lock, because two threads must not be in one ``ssl`` object at once, and one that waits
    for the network must not keep the other from it.
    """

    def __init__(self, plain: PlainStream, host: str, timeout_s: float) -> None:
        """Shakes hands. Raises OSError (``ssl.SSLError`` among them) where the server's certificate is not for it."""
        self._plain = plain
        self._lock = threading.Lock()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._ciphertext = reserved(_READ_BYTES)
        self.set_timeout = plain.set_timeout
        self.shut = plain.shut
        self.close = plain.close
        self._shake_hands(timeout_s)

    @property
    def rest_bytes(self) -> int:
        return self._plain.rest_bytes

    def recv_into(self, buffer: memoryview) -> int:
        while True:
            with self._lock, contextlib.suppress(ssl.SSLWantReadError):
                try:
                    return self._session.read(len(buffer), buffer)  # type: ignore[return-value]
                except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                    return 0
            if not self._receive():
                return 0

    def sendall(self, data: bytes) -> None:
        self._plain.sendall(self._encrypted(data))

    def send_now(self, data: bytes) -> None:
        self._plain.send_now(self._encrypted(data))

    def _encrypted(self, data: bytes) -> bytes:
        with self._lock:
            if data:
                self._session.write(data)
            return self._outgoing.read()

    def _receive(self) -> int:
        length = self._plain.recv_into(self._ciphertext)
        with self._lock:
            if length:
                self._incoming.write(self._ciphertext[:length])
            else:
                self._incoming.write_eof()
        return length

    def _shake_hands(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        is_done = False
        while not is_done:
            with contextlib.suppress(ssl.SSLWantReadError):
                self._session.do_handshake()
                is_done = True
            self._within(deadline, lambda: self._plain.sendall(self._outgoing.read()))
            if not is_done:
                self._within(deadline, self._received)

    def _received(self) -> None:
        if not self._receive():
            raise ConnectionAbortedError("the web server closed the connection")

    def _within(self, deadline: float, act: Callable[[], None]) -> None:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self.set_timeout(left_s)
        act()


Stream = PlainStream | SecureStream
