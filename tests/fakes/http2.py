# SPDX-License-Identifier: AGPL-3.0-or-later
"""A client that speaks just enough HTTP/2 (RFC 9113) to ask several things at once, and for WebSockets (RFC 8441)."""

import os
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
_INITIAL_WINDOW, _CONNECT_PROTOCOL = 4, 8
# RFC 7541, appendix A: the statuses that have a number of their own. HAProxy writes others out.
_STATUSES = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}
Fields = Sequence[tuple[str, str]]


@dataclass(slots=True)
class Stream:
    """What came back so far; ``reset`` is the error that it was broken off with."""

    status: int = 0
    body: bytes = b""
    is_ended: bool = False
    reset: int | None = None
    window: int = 65_535


@dataclass(slots=True)
class Http2:
    """One connection. ``tls`` offers ``h2`` alone; without, the server is expected to understand the preface."""

    address: tuple[str, int]
    tls: ssl.SSLContext | None = None
    streams: dict[int, Stream] = field(default_factory=dict)
    settings: dict[int, int] = field(default_factory=dict)
    _socket: socket.socket = field(init=False)
    _unread: bytes = b""
    _window: int = 65_535

    def __post_init__(self) -> None:
        self._socket = socket.create_connection(self.address, timeout=20)
        if self.tls is not None:
            self.tls.set_alpn_protocols(["h2"])
            wrapped = self.tls.wrap_socket(self._socket, server_hostname=self.address[0])
            assert wrapped.selected_alpn_protocol() == "h2"
            self._socket = wrapped
        self._socket.sendall(_PREFACE + _frame(_SETTINGS, 0, 0))
        while not self.settings:
            self._read()

    @property
    def has_websockets(self) -> bool:
        """Whether the server says that it takes RFC 8441's way of opening one."""
        return self.settings.get(_CONNECT_PROTOCOL) == 1

    def ask(self, path: str, fields: Fields = (), *, method: str = "GET", body: bytes | None = None) -> int:
        """Sends a request; its stream's number."""
        number = self._open(
            [(":method", method), (":scheme", "https"), (":path", path), (":authority", "cloud.test"), *fields],
            ends=body is None,
        )
        if body is not None:
            self.send(number, body, ends=True)
        return number

    def connect(self, path: str, fields: Fields = ()) -> int:
        """Asks for a WebSocket (RFC 8441, section 4); its stream's number."""
        pseudo = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", path)]
        own = [(":authority", "cloud.test"), ("sec-websocket-version", "13")]
        return self._open([*pseudo, *own, *fields], ends=False)

    def send(self, number: int, data: bytes, *, ends: bool = False) -> None:
        """Bytes of a stream, as fast as the server has room for them."""
        stream = self.streams[number]
        while True:
            room = min(len(data), 16_384, stream.window, self._window)
            if room or not data:
                is_last = ends and room == len(data)
                self._socket.sendall(_frame(_DATA, _END_STREAM if is_last else 0, number, data[:room]))
                stream.window -= room
                self._window -= room
                data = data[room:]
            if not data:
                return
            if not min(stream.window, self._window):
                self._read()

    def answer(self, number: int) -> tuple[int, bytes]:
        """Status and body of a stream, when it has ended."""
        stream = self.streams[number]
        while not stream.is_ended:
            self._read()
        return stream.status, stream.body

    def until(self, number: int, size: int) -> bytes:
        """The first bytes of a stream that goes on, as soon as so many are there; none where it ends before."""
        stream = self.streams[number]
        while not stream.is_ended and not (stream.status and len(stream.body) >= size):
            self._read()
        return stream.body[:size]

    def close(self) -> None:
        self._socket.close()

    def _open(self, fields: Fields, *, ends: bool) -> int:
        number = 2 * len(self.streams) + 1
        self.streams[number] = Stream(window=self.settings.get(_INITIAL_WINDOW, 65_535))
        block = b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields)
        self._socket.sendall(_frame(_HEADERS, _END_HEADERS | (_END_STREAM if ends else 0), number, block))
        return number

    def _read(self) -> None:
        """One frame."""
        head = self._exactly(9)
        size, kind, flags = int.from_bytes(head[:3]), head[3], head[4]
        number = int.from_bytes(head[5:]) & 0x7FFF_FFFF
        payload = self._exactly(size)
        stream = self.streams.get(number, Stream())
        if kind == _SETTINGS and not flags & _ACK:
            for at in range(0, size, 6):
                self.settings[int.from_bytes(payload[at : at + 2])] = int.from_bytes(payload[at + 2 : at + 6])
            self._socket.sendall(_frame(_SETTINGS, _ACK, 0))
        elif kind == _PING and not flags & _ACK:
            self._socket.sendall(_frame(_PING, _ACK, 0, payload))
        elif kind == _HEADERS:
            stream.status = stream.status or _status(payload)
        elif kind == _DATA:
            stream.body += payload
            for whose in (0, number) if size else ():
                self._socket.sendall(_frame(_WINDOW, 0, whose, size.to_bytes(4)))
        elif kind == _WINDOW and number:
            stream.window += int.from_bytes(payload)
        elif kind == _WINDOW:
            self._window += int.from_bytes(payload)
        elif kind == _RESET:
            stream.reset, stream.is_ended = int.from_bytes(payload), True
        elif kind == _GOAWAY:
            raise ConnectionError(f"the server ends the connection: {payload!r}")
        if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
            stream.is_ended = True

    def _exactly(self, size: int) -> bytes:
        while len(self._unread) < size:
            more = self._socket.recv(65_536)
            if not more:
                raise ConnectionError("the server closed the connection")
            self._unread += more
        found, self._unread = self._unread[:size], self._unread[size:]
        return found


def message(text: bytes) -> bytes:
    """One short text for a WebSocket, masked as a client's has to be (RFC 6455, section 5.3)."""
    mask = os.urandom(4)
    return bytes([0x81, 0x80 | len(text)]) + mask + bytes(c ^ mask[at % 4] for at, c in enumerate(text))


def _frame(kind: int, flags: int, number: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + number.to_bytes(4) + payload


def _text(text: str) -> bytes:
    """A string literal without Huffman's code (RFC 7541, 5.2)."""
    raw = text.encode("latin-1")
    if len(raw) < 127:
        return bytes([len(raw)]) + raw
    rest, size = len(raw) - 127, bytearray([127])
    while rest >= 128:
        size.append(rest % 128 + 128)
        rest //= 128
    return bytes(size) + bytes([rest]) + raw


def _status(block: bytes) -> int:
    """The status, which comes first in a block."""
    if block[0] & 0x80:
        return _STATUSES[block[0] & 0x7F]
    assert block[1] == 3, "a status in Huffman's code"
    return int(block[2:5])
