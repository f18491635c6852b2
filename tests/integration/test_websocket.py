# SPDX-License-Identifier: AGPL-3.0-or-later
"""Links in WebSockets over real sockets: what arrives, who is let in, and what a rule-breaker gets.

The web server's own TLS around them is harp.sync.transport.webstream.
"""

import base64
import hashlib
import os
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from harp.base.errors import LinkError, TrustError
from harp.base.webaddress import WebAddress, web_address
from harp.sync.protocol.frames import MAX_PAYLOAD, frame
from harp.sync.transport import listener as listener_module
from harp.sync.transport import webdoor
from harp.sync.transport.link import Link
from harp.sync.transport.listener import Listener
from harp.sync.transport.tls import Identity
from harp.sync.transport.webdoor import WebDoor
from harp.sync.transport.websocket import MAX_MESSAGE_BYTES, WebSocketCarrier, dial
from tests.fakes.certificates import Certificate, certificate
from tests.fakes.neighbours import ALICE, BOB, DEADLINE_S, EVE, Door, Ear, House, knock, only, open_house, until

TEXT = 13


class Papers:
    """Pages that say what they were asked."""

    def page(self, method: str, target: str, headers: object) -> tuple[int, bytes] | None:
        return None if target == "/nowhere" else (200, f'"{method} {target}"'.encode())


@pytest.fixture
def house() -> Iterator[House]:
    with open_house(WebDoor("/harp", Papers()).manner()) as opened:
        yield opened


def at(house: House, path: str = "/harp/link") -> WebAddress:
    return web_address(f"ws://{house.host}:{house.port}{path}")


def linked(house: House, address: WebAddress | None = None) -> tuple[Link, Ear, Link, Ear]:
    alice = dial(address or at(house), Identity.of(ALICE), knock(), only(BOB), DEADLINE_S)
    until(lambda: len(house.links) == 1)
    bob, ears = house.links[0], (Ear(), Ear())
    alice.start(ears[0])
    bob.start(ears[1])
    return alice, ears[0], bob, ears[1]


# --- what arrives -----------------------------------------------------------------------------------------------------


def test_both_ends_know_each_other_and_the_address_is_the_url(house: House) -> None:
    alice, _, bob, _ = linked(house)
    assert (alice.peer, bob.peer, bob.admitted) == (BOB.device_id, ALICE.device_id, "photos")
    assert alice.remote == (f"ws://127.0.0.1:{house.port}/harp/link", 0)
    assert bob.remote[0].startswith("ws://127.0.0.1:")
    alice.close()


def test_large_answers_both_ways_at_once_arrive_as_they_were(house: House) -> None:
    alice, alice_ear, bob, bob_ear = linked(house)
    content = os.urandom(MAX_PAYLOAD)

    def read_into(buffer: memoryview) -> tuple[int, int]:
        buffer[:] = content
        return 0, len(content)

    for request in range(64):
        alice.serve(request, read_into)
        bob.serve(request, read_into)
        alice.send(frame(TEXT, b"between"))
    until(lambda: len(bob_ear.answers) == len(alice_ear.answers) == 64 and len(bob_ear.frames) == 64)
    expected = hashlib.sha256(content * 64).digest()
    assert (alice_ear.digest.digest(), bob_ear.digest.digest()) == (expected, expected)
    until(lambda: alice.flow().unacked == bob.flow().unacked == 0)
    assert alice.flow().acked > 64 * MAX_PAYLOAD
    assert 0 < alice.flow().round_trip_s < DEADLINE_S
    alice.close()
    until(lambda: bool(bob_ear.closed))
    assert bob_ear.closed == ["the peer closed the link"]


def test_whoever_does_not_read_is_waited_for_and_what_is_on_its_way_is_known(house: House) -> None:
    alice, _, _bob, bob_ear = linked(house)
    until(lambda: alice.flow().unacked == 0)
    bob_ear.go_on.clear()
    for request in range(100):
        alice.serve(request, lambda buffer: (0, len(buffer)))
    until(lambda: alice.flow().unacked > 1 << 20 and alice.flow().unheard_s > 0.2)
    assert alice.waiting_answers > 50
    bob_ear.go_on.set()
    until(lambda: len(bob_ear.answers) == 100 and alice.flow().unacked == 0)
    assert alice.flow().unheard_s == 0
    alice.close()


# --- who comes in -----------------------------------------------------------------------------------------------------


def test_another_device_than_expected_is_refused(house: House) -> None:
    with pytest.raises(TrustError):
        dial(at(house), Identity.of(ALICE), knock(), only(EVE), DEADLINE_S)


def test_a_stranger_gets_not_a_byte_after_the_upgrade(house: House) -> None:
    with pytest.raises(LinkError):
        dial(at(house), Identity.of(ALICE), knock(secret=b"x" * 32), only(BOB), DEADLINE_S)
    until(lambda: house.listener.strangers == 1)
    assert house.links == []


@pytest.mark.parametrize("path", ["/", "/harpsichord", "/nowhere"])
def test_another_path_is_no_hub(house: House, path: str) -> None:
    with pytest.raises(LinkError, match="the web server answers 404 Not Found") as caught:
        dial(at(house, path), Identity.of(ALICE), knock(), only(BOB), DEADLINE_S)
    assert "does the web server pass this path on" in caught.value.hint


def test_many_come_from_the_one_web_server(house: House) -> None:
    waiting = [socket.create_connection((house.host, house.port)) for _ in range(listener_module.MAX_FROM_ONE_SOURCE)]
    alice, *_ = linked(house)
    for connection in waiting:
        connection.close()
    alice.close()


def test_a_port_in_use_names_the_option(house: House) -> None:
    with pytest.raises(LinkError, match=f"port {house.port} is in use") as caught:
        Listener("127.0.0.1", house.port, Identity.of(BOB), Door(), house.links.append, WebDoor("/").manner())
    assert webdoor.OPTION in caught.value.hint


# --- plain HTTP on the same port --------------------------------------------------------------------------------------


def spoken(house: House, request: bytes) -> bytes:
    """What the door answers to these bytes, until it closes."""
    with socket.create_connection((house.host, house.port), timeout=DEADLINE_S) as connection:
        connection.sendall(request)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer


def test_what_is_no_websocket_is_a_page() -> None:
    with open_house(WebDoor("/", Papers()).manner()) as house:
        answer = spoken(house, b"PUT /enabled?enabled=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"application/json" in answer
        assert answer.endswith(b'\r\n\r\n"PUT /enabled?enabled=1"')
        assert spoken(house, b"GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n").startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS client\r\n\r\n",
        b"GET /harp HTTP/9.9\r\n\r\n",
        b"GET /harp HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /harp HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /harp HTTP/1.1\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n\r\n",
        b"GET /harp HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: x\r\n\r\n",
        b"GET /harp HTTP/1.1\r\nHost: h\r\n\r\n" + b"\xff" * 64,
        knock(),
    ],
)
def test_bad_requests_are_refused_and_the_door_stays_open(house: House, request_: bytes) -> None:
    answer = b""
    try:
        answer = spoken(house, request_ + b"\r\n\r\n")
    except ConnectionResetError:
        pass
    assert b" 101 " not in answer
    assert b" 200 " not in answer
    alice, *_ = linked(house)
    alice.close()


# --- hostile ends -----------------------------------------------------------------------------------------------------


class Rascal:
    """A client that has its WebSocket, and then does what it likes."""

    def __init__(self, house: House) -> None:
        self.socket = socket.create_connection((house.host, house.port), timeout=DEADLINE_S)
        self.machine = ClientProtocol(parse_uri(f"ws://{house.host}:{house.port}/harp"))
        self.machine.send_request(self.machine.connect())
        self.socket.sendall(b"".join(self.machine.data_to_send()))
        while b"\r\n\r\n" not in (head := self.socket.recv(4096)):
            pass
        self.machine.receive_data(head)

    def says(self, opcode: Opcode, data: bytes, *, fin: bool = True) -> None:
        self.socket.sendall(Frame(opcode, data, fin).serialize(mask=True))

    def is_gone(self) -> bool:
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        self.socket.close()
        return True


def test_a_knock_may_come_in_any_pieces(house: House) -> None:
    rascal = Rascal(house)
    said = knock()
    rascal.says(Opcode.BINARY, said[:1], fin=False)
    rascal.says(Opcode.PING, b"in between")
    for byte in said[1:-1]:
        rascal.says(Opcode.CONT, bytes([byte]), fin=False)
    rascal.says(Opcode.CONT, said[-1:])
    rascal.says(Opcode.BINARY, b"this is no TLS")
    assert rascal.is_gone()
    until(lambda: house.listener.failed == 1)
    assert house.listener.strangers == 0


@pytest.mark.parametrize(
    "bytes_",
    [
        Frame(Opcode.TEXT, b"hello").serialize(mask=True),
        Frame(Opcode.BINARY, knock()).serialize(mask=False),
        struct.pack(">BBQ", 0x82, 0xFF, MAX_MESSAGE_BYTES + 1) + bytes(4),
        struct.pack(">BBQ", 0x82, 0xFF, 1 << 63) + bytes(4),
        b"\xc2\x80" + bytes(4),
        b"\x83\x80" + bytes(4),
        Frame(Opcode.CONT, b"of nothing").serialize(mask=True),
        Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=True),
        b"\x89\xfe\xff\xff" + bytes(4),
    ],
    ids=["text", "unmasked", "too large", "absurd", "rsv1", "reserved", "continuation", "close", "long ping"],
)
def test_what_breaks_the_rules_ends_the_connection(house: House, bytes_: bytes) -> None:
    rascal = Rascal(house)
    rascal.socket.sendall(bytes_)
    assert rascal.is_gone()
    until(lambda: house.listener.strangers + house.listener.failed == 1)


def test_a_flood_of_pings_whose_answers_nobody_reads_ends_the_connection() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    theirs = socket.create_connection(listening.getsockname())
    ours, _ = listening.accept()
    door: list[WebSocketCarrier | None] = []
    opening = threading.Thread(target=lambda: door.append(WebDoor("/").opened(ours)))
    opening.start()
    key = base64.b64encode(bytes(16))
    theirs.sendall(
        b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n"
    )
    opening.join(DEADLINE_S)
    (carrier,) = door
    assert carrier is not None
    carrier.set_timeout(None)

    def flood() -> None:
        ping = Frame(Opcode.PING, bytes(125)).serialize(mask=True)
        try:
            while True:
                theirs.sendall(ping * 500)
        except OSError:
            pass

    flooding = threading.Thread(target=flood, daemon=True)
    flooding.start()
    with pytest.raises(OSError, match="pings and does not listen"):
        carrier.recv_into(memoryview(bytearray(4096)))
    carrier.shut()
    carrier.close()
    flooding.join(DEADLINE_S)
    theirs.close()
    listening.close()


def test_a_web_server_that_is_none_is_one_clear_line() -> None:
    def answering(said: bytes) -> str:
        with socket.create_server(("127.0.0.1", 0)) as server:

            def serve() -> None:
                connection, _ = server.accept()
                connection.recv(65536)
                connection.sendall(said)
                connection.close()

            threading.Thread(target=serve, daemon=True).start()
            address = web_address(f"ws://127.0.0.1:{server.getsockname()[1]}/")
            with pytest.raises(LinkError) as caught:
                dial(address, Identity.of(ALICE), knock(), only(BOB), DEADLINE_S)
            return caught.value.message

    assert "answers 502 Bad Gateway" in answering(b"HTTP/1.1 502 x\r\nContent-Length: 0\r\n\r\n")
    assert "answers 301 Moved Permanently" in answering(b"HTTP/1.1 301 x\r\nLocation: ws://evil/\r\n\r\n")
    assert "is no WebSocket" in answering(b"SSH-2.0-OpenSSH_9.2\r\n")
    assert "is no WebSocket" in answering(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    assert "is no WebSocket" in answering(b"")


def test_nobody_at_the_address_is_a_link_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(LinkError, match=f"nobody answers at wss://localhost:{port}/"):
        dial(web_address(f"wss://localhost:{port}"), Identity.of(ALICE), knock(), only(BOB), DEADLINE_S)


# --- the web server's own TLS -----------------------------------------------------------------------------------------


@pytest.fixture
def paper(tmp_path: Path) -> Certificate:
    return certificate(tmp_path, "localhost")


class TlsFront:
    """A web server's TLS in front of the door: what is inside goes both ways as it is."""

    def __init__(self, house: House, paper: Certificate) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(paper.path)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._house = house
        self._context = context
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                raw, _ = self._server.accept()
                outside = self._context.wrap_socket(raw, server_side=True)
            except OSError:
                return
            inside = socket.create_connection((self._house.host, self._house.port))
            threading.Thread(target=self._both_ways, args=(outside, inside), daemon=True).start()

    def _both_ways(self, outside: ssl.SSLSocket, inside: socket.socket) -> None:
        """On one thread, as one must with a blocking TLS socket."""
        import select

        with outside, inside:
            while True:
                ready = [outside] if outside.pending() else select.select([outside, inside], [], [])[0]
                for one, other in ((outside, inside), (inside, outside)):
                    if one in ready:
                        try:
                            piece = one.recv(65536)
                            if not piece:
                                return
                            other.sendall(piece)
                        except OSError:
                            return

    def close(self) -> None:
        self._server.close()


def test_a_link_goes_through_a_web_servers_tls(
    house: House, paper: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    front = TlsFront(house, paper)
    monkeypatch.setenv("SSL_CERT_FILE", str(paper.path))
    alice, alice_ear, bob, bob_ear = linked(house, web_address(f"wss://localhost:{front.port}/harp"))
    for request in range(8):
        bob.serve(request, lambda buffer: (0, len(buffer)))
    for number in range(100):
        alice.send(frame(TEXT, b"%d" % number))
    until(lambda: len(alice_ear.answers) == 8 and len(bob_ear.frames) == 100)
    alice.close()
    until(lambda: bool(bob_ear.closed))
    front.close()


def test_a_certificate_that_nobody_vouches_for_is_refused(house: House, paper: Certificate) -> None:
    front = TlsFront(house, paper)
    with pytest.raises(LinkError, match="the web server's certificate is not good: self-signed certificate"):
        dial(web_address(f"wss://localhost:{front.port}/"), Identity.of(ALICE), knock(), only(BOB), DEADLINE_S)
    front.close()


def test_a_web_server_without_tls_is_one_clear_line(house: House) -> None:
    address = web_address(f"wss://localhost:{house.port}/harp")
    with pytest.raises(LinkError, match="does not speak TLS as a web server does"):
        dial(address, Identity.of(ALICE), knock(), only(BOB), DEADLINE_S)
