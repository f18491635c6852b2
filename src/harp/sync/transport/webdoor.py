# SPDX-License-Identifier: AGPL-3.0-or-later
"""The door behind a web server: a WebSocket is a way to knock, anything else is a page or nothing."""

import http
import socket
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from harp.sync.transport.addresses import plain_address
from harp.sync.transport.listener import KNOCK_TIMEOUT_S, MAX_AT_THE_DOOR, Manner
from harp.sync.transport.websocket import MAX_MESSAGE_BYTES, QUIET, WebSocketCarrier
from harp.sync.transport.webstream import PlainStream

OPTION = "--websocket"
_HEAD_BYTES = 16 * 1024
"""Read at once; the machine has its own limits for the length and the number of lines."""
_END_OF_HEAD = b"\r\n\r\n"
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Pages(Protocol):
    """Who answers plain HTTP on the same port. Called on the listener's threads, several at a time."""

    def page(self, method: str, target: str, headers: Mapping[str, str]) -> tuple[int, bytes] | None:
        """Status and JSON; None for what is not there. ``headers`` by their names in lower case."""


Visitors = Callable[[socket.socket, bytes], None]
"""Who takes a connection over, with what has been read of it. Called on the listener's threads; must not block."""


class WebDoor:
    """Opens WebSockets at ``path`` and below it (``/``: everywhere). What ``pages`` do not know is for ``visitors``."""

    def __init__(self, path: str, pages: Pages | None = None, visitors: Visitors | None = None) -> None:
        self._path = path.rstrip("/")
        self._pages = pages
        self._visitors = visitors

    def manner(self) -> Manner:
        """All callers may come from one source: the web server."""
        return Manner(self.opened, OPTION, MAX_AT_THE_DOOR)

    def opened(self, connection: socket.socket) -> WebSocketCarrier | None:
        """Answer one HTTP request; the carrier, where that made a WebSocket. Raises OSError."""
        stream = PlainStream(connection)
        protocol = ServerProtocol(max_size=(None, MAX_MESSAGE_BYTES), logger=QUIET)
        head = bytearray()
        request = _request(stream, protocol, head)
        if request is None or not self._answer(protocol, request):
            if self._visitors is not None and _END_OF_HEAD in head:
                # One with a body is for them too; whether it is well formed they see for themselves.
                self._visitors(connection.dup(), bytes(head))
                return None
            if request is None:
                stream.sendall(_BAD_REQUEST)
                return None
            self._tell(protocol, http.HTTPStatus.NOT_FOUND, b"{}")
        stream.sendall(b"".join(protocol.data_to_send()))
        if protocol.state is not State.OPEN:
            return None
        host, port = plain_address(connection.getpeername())
        remote = f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"
        return WebSocketCarrier(stream, protocol, remote, plain_address(connection.getsockname()))

    def _answer(self, protocol: ServerProtocol, request: Request) -> bool:
        """Accepts a WebSocket, or shows a page; False where it is neither."""
        path = request.path.partition("?")[0]
        is_upgrade = any("websocket" in value.lower() for value in request.headers.get_all("Upgrade"))
        if is_upgrade and (path == self._path or path.startswith(f"{self._path}/")):
            protocol.send_response(protocol.accept(request))
            return True
        if self._pages is None or is_upgrade:
            return False
        headers = {name.lower(): value for name, value in request.headers.raw_items()}
        found = self._pages.page(request.method, request.path, headers)
        if found is not None:
            self._tell(protocol, *found)
        return found is not None

    @staticmethod
    def _tell(protocol: ServerProtocol, status: int, body: bytes) -> None:
        response = protocol.reject(status, body.decode())
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "application/json"
        protocol.send_response(response)


def _request(stream: PlainStream, protocol: ServerProtocol, head: bytearray) -> Request | None:
    """The request, None where it does not come whole and in time; ``head`` grows by all bytes that were read."""
    deadline = time.monotonic() + KNOCK_TIMEOUT_S
    buffer = memoryview(bytearray(_HEAD_BYTES))
    while (left_s := deadline - time.monotonic()) > 0:
        stream.set_timeout(left_s)
        length = stream.recv_into(buffer)
        if not length:
            return None
        head += buffer[:length]
        protocol.receive_data(buffer[:length])  # type: ignore[arg-type]
        events = protocol.events_received()
        if events:
            # Whoever sends more before there is an answer is no WebSocket client (RFC 6455, 4.1).
            is_alone = len(events) == 1 and protocol.parser_exc is None
            return events[0] if is_alone and isinstance(events[0], Request) else None
        if protocol.handshake_exc is not None:
            return None
    return None
