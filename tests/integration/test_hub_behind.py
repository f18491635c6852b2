# SPDX-License-Identifier: AGPL-3.0-or-later
"""A hub behind real proxies: nginx with a path of its own, and ``harp proxy`` with Nextcloud's External Apps."""

import base64
import os
import random
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from websockets.frames import Opcode
from websockets.protocol import Protocol, Side

from benchmarks.lab.namespace import why_not
from benchmarks.lab.site import CLOUD_ADDRESS, built
from harp.base.webaddress import web_address
from harp.bridge.exapp import ExApp
from harp.sync.transport.knock import KNOCK_BYTES
from harp.sync.transport.records import HEADER, MAX_PLAINTEXT, TAG_BYTES
from harp.sync.transport.tls import Identity
from harp.sync.transport.webdoor import WebDoor
from harp.sync.transport.websocket import dial
from tests.fakes.certificates import certificate
from tests.fakes.haproxy import HAPROXY, needs_haproxy
from tests.fakes.neighbours import ALICE, BOB, DEADLINE_S, Ear, House, knock, only, open_house
from tests.fakes.neighbours import until as links_until
from tests.fakes.nextcloud import Nextcloud
from tests.fakes.nginx import Nginx, Tap, needs_nginx
from tests.fakes.ports import free_port
from tests.fakes.served import Served
from tests.integration.office import Desk, opened, until

MIB = 1 << 20
HUB_PORT = 8786
URL = f"wss://{CLOUD_ADDRESS}/exapps/harp/link"


# --- nginx, TLS and a path; the two devices have no other way to each other -------------------------------------------


@dataclass(frozen=True)
class Away:
    """A hub whose port only its own machine reaches, a device that nobody reaches, and nginx between them."""

    hub: Desk
    laptop: Desk
    nginx: Nginx
    tap: Tap

    def is_linked_by_web(self) -> bool:
        return any(peer.is_connected and peer.address == URL for peer in self.laptop.peers())


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Away]:
    if reason := why_not():
        pytest.skip(f"no laboratory can be built here: {reason}")
    paper = certificate(tmp_path, CLOUD_ADDRESS)
    monkeypatch.setenv("SSL_CERT_FILE", str(paper.path))
    alone = {"listen": "127.0.0.1:8783", "discovery": "false"}
    hub_settings = {"websocket": f"127.0.0.1:{HUB_PORT}", "websocket_path": "/exapps/harp", "websocket_url": URL}
    with built(1) as lab, opened(tmp_path) as office:
        with lab.cloud.namespace.entered():
            tap = Tap(HUB_PORT)
        nginx = Nginx(tmp_path / "nginx", f"{CLOUD_ADDRESS}:443", "/exapps/harp/", tap.port, paper, lab.cloud)
        hub = office.desk("hub", lab.cloud, **alone, **hub_settings)
        laptop = office.desk("laptop", lab.site.hosts[0], **alone)
        with tap.running(lab.cloud):
            try:
                nginx.start()
                hub.start(hub.folder)
                laptop.start().join(hub.invites())
                yield Away(hub, laptop, nginx, tap)
            finally:
                nginx.stop()


@needs_nginx
@pytest.mark.root
@pytest.mark.real
@pytest.mark.timeout(180)
def test_two_devices_meet_through_nginx_which_may_restart_and_reads_nothing(away: Away) -> None:
    secret = b"the minutes of the board, in plain words, "
    away.hub.write("from hub", secret * 1000)
    away.laptop.write("from laptop", random.Random(1).randbytes(3 * MIB) + secret)
    assert away.is_linked_by_web()
    until(lambda: away.laptop.at("from hub").exists() and away.hub.at("from laptop").exists(), "both have both")
    away.laptop.settled()

    away.nginx.stop()
    until(lambda: not away.is_linked_by_web(), "the link is gone with nginx")
    away.hub.write("meanwhile", secret)
    away.nginx.start()
    until(away.is_linked_by_web, "they find each other again", 60)
    until(lambda: away.laptop.at("meanwhile").exists(), "what happened meanwhile has come")
    away.laptop.settled()
    assert away.laptop.tree() == away.hub.tree()
    assert away.laptop.read("from hub") == secret * 1000

    linked = [(there, back) for there, back in away.tap.kept if len(there) > 1000]
    assert len(linked) >= 2
    for there, back in linked:
        for kept, side in ((there, Side.SERVER), (back, Side.CLIENT)):
            payload = payload_of(bytes(kept), side)
            for told in (secret, b"from hub", b"from laptop", b"meanwhile", b"desk", b"board"):
                assert told not in payload
                assert told not in kept
            assert_only_sealed(payload[KNOCK_BYTES if side is Side.SERVER else 0 :])


def payload_of(kept: bytes, side: Side) -> bytes:
    """All that the messages of a connection carried, behind the HTTP head."""
    machine = Protocol(side, max_size=None)
    machine.receive_data(kept.partition(b"\r\n\r\n")[2])
    frames = [event for event in machine.events_received() if getattr(event, "opcode", None) is Opcode.BINARY]
    return b"".join(frame.data for frame in frames)  # type: ignore[union-attr]


def assert_only_sealed(stream: bytes) -> None:
    """Records of TLS 1.3 (RFC 8446, 5.1) and then records of docs/protocol.md, 12.1; the last one may be cut off."""
    assert stream[:1] == b"\x16", "it begins with a handshake"
    while len(stream) >= 5 and stream[0] in (20, 21, 22, 23):
        assert stream[1:3] in (b"\x03\x01", b"\x03\x03")
        length = int.from_bytes(stream[3:5], "big")
        assert length <= (1 << 14) + 256
        stream = stream[5 + length :]
    while len(stream) >= HEADER.size:
        (length,) = HEADER.unpack_from(stream)
        assert TAG_BYTES <= length <= MAX_PLAINTEXT + TAG_BYTES
        stream = stream[HEADER.size + length :]


# --- harp proxy -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Registered:
    """The hub's door as the External App ``harp`` behind a ``harp proxy`` on ``port``."""

    house: House
    port: int

    @property
    def signed(self) -> dict[str, str]:
        """What Nextcloud says of itself."""
        return {
            "EX-APP-ID": "harp",
            "EX-APP-VERSION": "1.0.0",
            "EX-APP-HOST": "127.0.0.1",
            "EX-APP-PORT": str(self.house.port),
            "AUTHORIZATION-APP-API": base64.b64encode(b":a secret").decode(),
            "HARP-SHARED-KEY": "k",
        }

    def asked(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/exapps/harp{path}", method=method, headers=headers
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture
def registered(tmp_path: Path) -> Iterator[Registered]:
    with open_house(WebDoor("/link", ExApp("a secret")).manner()) as house:
        nextcloud = Nextcloud(key="k")
        nextcloud.apps["harp"] = {
            "exapp_token": "a secret",
            "exapp_version": "1.0.0",
            "host": "127.0.0.1",
            "port": house.port,
            "routes": [{"url": "^/link$", "access_level": 0}],
        }
        served, port = Served(nextcloud.answer).start(), free_port()
        proxy = subprocess.Popen(
            [sys.executable, "-m", "harp.cli", "--home", str(tmp_path / "home"), "proxy"],
            env={
                "PATH": os.environ["PATH"],
                "HP_HAPROXY": HAPROXY,
                "HP_SHARED_KEY": "k",
                "NC_INSTANCE_URL": served.url,
                "HP_EXAPPS_ADDRESS": f"127.0.0.1:{port}",
                "HP_METRICS_ADDRESS": f"127.0.0.1:{free_port()}",
            },
        )
        found = Registered(house, port)
        try:
            deadline = time.monotonic() + 40
            while time.monotonic() < deadline:
                try:
                    if found.asked("GET", "/heartbeat", found.signed)[0] == 200:
                        break
                except OSError:
                    pass
                time.sleep(0.2)
            yield found
        finally:
            proxy.terminate()
            proxy.wait(20)
            served.stop()


@needs_haproxy
@pytest.mark.real
def test_a_hub_is_an_external_app_and_devices_link_to_it_through_harp_proxy(registered: Registered) -> None:
    assert registered.asked("GET", "/heartbeat", registered.signed) == (200, '{"status": "ok"}')
    assert registered.asked("POST", "/init", registered.signed)[0] == 501
    assert registered.asked("PUT", "/enabled?enabled=1", registered.signed) == (200, '{"error": ""}')

    address = web_address(f"ws://127.0.0.1:{registered.port}/exapps/harp/link")
    alice = dial(address, Identity.of(ALICE), knock(), only(BOB), DEADLINE_S)
    links_until(lambda: len(registered.house.links) == 1)
    bob, ears = registered.house.links[0], (Ear(), Ear())
    alice.start(ears[0])
    bob.start(ears[1])
    for request in range(16):
        alice.serve(request, lambda buffer: (0, len(buffer)))
        bob.serve(request, lambda buffer: (0, len(buffer)))
    links_until(lambda: len(ears[0].answers) == len(ears[1].answers) == 16)
    alice.close()
    links_until(lambda: ears[1].closed == ["the peer closed the link"])
