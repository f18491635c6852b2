# SPDX-License-Identifier: AGPL-3.0-or-later
"""HTTP/2 on the way to ``harp proxy``: over TLS, where it is offered, and by prior knowledge on the plain port.

Decisions are those of HTTP/1. What differs: requests of several people mingle on one connection, a Cookie comes in
crumbs, and a WebSocket is a stream (RFC 8441).
"""

import base64
import hashlib
import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.certificates import certificate
from tests.fakes.exapp import ExApp, route
from tests.fakes.haproxy import needs_haproxy
from tests.fakes.http2 import Http2, message
from tests.fakes.nextcloud import ORDINARY, PASSPHRASE, Nextcloud
from tests.fakes.served import Served
from tests.integration.test_proxy_command import KEY, Running, started

pytestmark = needs_haproxy
PEOPLE = ("alice", "bob", "carol")


@dataclass(slots=True)
class World:
    app: ExApp
    nextcloud: Nextcloud
    proxy: Running

    @property
    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.proxy.variables["HP_CERTIFICATE"])

    @property
    def tls(self) -> tuple[str, int]:
        host, _, port = self.proxy.variables["HP_EXAPPS_HTTPS_ADDRESS"].partition(":")
        return host, int(port)

    def opened(self, how: str = "tls") -> Http2:
        return Http2(self.tls, self.trusting) if how == "tls" else Http2(("127.0.0.1", self.proxy.port))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("http2")
    made = certificate(folder, "127.0.0.1")
    app, nextcloud = ExApp(), Nextcloud(key=KEY)
    app.start()
    nextcloud.apps["app"] = app.record(route("^/public"), route("^/sse"), route("^/user", 1))
    nextcloud.people |= {f"session-of-{name}": (name, ORDINARY) for name in PEOPLE}
    served = Served(nextcloud.answer).start()
    proxy = started(folder, served, "proxy", HP_CERTIFICATE=str(made.path), HP_BLACKLIST_COUNT="1000")
    proxy.until("/readyz", 200, proxy.metrics)
    yield World(app, nextcloud, proxy)
    proxy.process.terminate()
    proxy.process.wait(20)
    served.stop()
    app.stop()


def cookie(name: str) -> tuple[str, str]:
    return ("cookie", f"{PASSPHRASE}=session-of-{name}; theme=dark")


def named(body: bytes) -> str:
    """Whom the app was told of."""
    told = {name.lower(): value for name, value in json.loads(body)["headers"]}
    return base64.b64decode(told["authorization-app-api"]).decode().partition(":")[0]


@pytest.mark.parametrize(("offered", "taken"), [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), ([], None)])
def test_who_knows_http2_gets_it_and_who_does_not_is_served_as_well(
    world: World, offered: list[str], taken: str | None
) -> None:
    context = world.trusting
    if offered:
        context.set_alpn_protocols(offered)
    with socket.create_connection(world.tls) as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
        assert tls.selected_alpn_protocol() == taken


@pytest.mark.parametrize("how", ["tls", "prior knowledge"])
def test_the_decisions_are_the_same(world: World, how: str) -> None:
    connection = world.opened(how)
    expected = {
        "/exapps/app/public/a%20b?q=1": 200,
        "/exapps/app/user": 403,
        "/exapps/app/nowhere": 404,
        "/exapps/app/public/../user": 403,
        "/exapps/app/init": 403,
        "/elsewhere": 404,
        "/exapps/app_api/info": 401,
    }
    world.app.seen.clear()

    asked = {path: connection.ask(path) for path in expected}

    assert {path: connection.answer(number)[0] for path, number in asked.items()} == expected
    assert [seen.target for seen in world.app.seen] == ["/public/a%20b?q=1"]
    connection.close()


def test_of_people_whose_requests_mingle_on_one_connection_each_is_who_he_is(world: World) -> None:
    connection = world.opened()

    for _ in range(20):
        asked = [(name, connection.ask("/exapps/app/user", [cookie(name)])) for name in PEOPLE]
        nobody = [connection.ask("/exapps/app/user"), connection.ask("/exapps/app/public")]
        for name, number in asked:
            status, body = connection.answer(number)
            assert (status, named(body)) == (200, name)
        assert connection.answer(nobody[0])[0] == 403
        assert named(connection.answer(nobody[1])[1]) == ""

    connection.close()


def test_a_cookie_in_crumbs_is_one_cookie(world: World) -> None:
    connection = world.opened()
    crumbs = [("cookie", "theme=dark"), ("cookie", f"{PASSPHRASE}=session-of-bob"), ("cookie", "nc_token=secret")]

    status, body = connection.answer(connection.ask("/exapps/app/user", crumbs))

    assert (status, named(body)) == (200, "bob")
    assert world.app.last.values("cookie") == ["theme=dark"]
    connection.close()


@pytest.mark.parametrize("how", ["tls", "prior knowledge"])
def test_a_websocket_is_a_stream_beside_others(world: World, how: str) -> None:
    connection = world.opened(how)
    assert connection.has_websockets

    refused = connection.connect("/exapps/app/user/ws")
    opened = connection.connect("/exapps/app/user/ws", [cookie("alice")])
    assert connection.answer(refused)[0] == 403
    for text in (b"hello", b"again"):
        before = len(connection.streams[opened].body)
        connection.send(opened, message(text))
        assert connection.until(opened, before + 2 + len(text))[before:] == bytes([0x81, len(text)]) + text
        assert connection.answer(connection.ask("/exapps/app/public"))[0] == 200

    assert connection.streams[opened].status == 200
    assert world.app.open_sockets == 1
    connection.close()


def test_an_event_arrives_before_the_next_one_is_there(world: World) -> None:
    connection = world.opened()
    number = connection.ask("/exapps/app/sse")

    for event in (b"data: 1\n\n", b"data: 2\n\n"):
        before = len(connection.streams[number].body)
        world.app.next_event(event)
        assert connection.until(number, before + len(event))[before:] == event
    world.app.next_event(None)

    assert connection.answer(number) == (200, b"data: 1\n\ndata: 2\n\n")
    connection.close()


def test_an_upload_is_whole(world: World) -> None:
    connection = world.opened()
    content = Path(__file__).read_bytes() * 400

    number = connection.ask("/exapps/app/public", [cookie("carol")], method="POST", body=content)

    status, body = connection.answer(number)
    assert status == 200
    assert json.loads(body)["body_sha256"] == hashlib.sha256(content).hexdigest()
    assert named(body) == "carol"
    connection.close()
