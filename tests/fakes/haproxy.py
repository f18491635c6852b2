# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real HAProxy on a compiled state, without an agent; and whichever HAProxy the tests are run under."""

import asyncio
import base64
import contextlib
import hashlib
import http.client
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from harp.proxy.edge import files
from harp.proxy.edge.runtime import RuntimeSocket
from harp.proxy.model import AppId, ExApp, Identity, Route, Upstream
from harp.proxy.policy import compile as policy
from harp.proxy.policy.compile import PutEntry
from harp.proxy.policy.shape import MODULUS, Shape, map_file

HAPROXY = os.environ.get("HARP_TEST_HAPROXY") or "haproxy"
needs_haproxy = pytest.mark.skipif(shutil.which(HAPROXY) is None, reason=f"{HAPROXY} is not installed")
KEY_DIGEST = "2C70E12B7A0646F92279F427C7B38E7334D8E5389CFF167A1DC30E73F826B683"
"""SHA-256 of ``key``."""


def shape(run: Path, port: int, **changed: object) -> Shape:
    """What most tests need: one bind, no agent behind the agent's socket."""
    return replace(
        Shape(
            run=str(run),
            binds=(f"127.0.0.1:{port}",),
            agent=f"unix@{run}/agent.sock",
            control=f"{run}/control.sock",
            key_digest=KEY_DIGEST,
            maxconn=500,
            has_exporter=False,
        ),
        **changed,  # type: ignore[arg-type]
    )


def app(port: int, *routes: Route, name: str = "app", token: str = "token", version: str = "1") -> policy.Known:
    return policy.Known(ExApp(AppId(name), token, version, "127.0.0.1", port, routes), Upstream("127.0.0.1", port))


_SEEDING = """
frontend seeding
    bind unix@{run}/seeding.sock
    http-request track-sc1 req.fhdr(x-key) table sessions
    http-request sc-set-gpt(0,1) req.fhdr(x-number)
    http-request sc-set-gpt(1,1) req.fhdr(x-until)
    http-request return status 204
"""


class RealHaproxy:
    """Started with a state's files; ``become`` tells it another state over its socket, ``know`` who somebody is."""

    def __init__(self, state: policy.State) -> None:
        self.state = state
        self.port = int(state.shape.binds[0].rpartition(":")[2])
        self.run = Path(state.shape.run)
        self.socket = RuntimeSocket(self.run / "haproxy.sock")
        files.write_all(self.run, policy.files(state))
        # The agent's place: what it would write into the table of sessions, nobody can over the runtime socket.
        (self.run / "seeding.cfg").write_text(_SEEDING.format(run=self.run))
        configurations = [word for name in ("haproxy", "seeding") for word in ("-f", str(self.run / f"{name}.cfg"))]
        self._process = subprocess.Popen(
            [HAPROXY, "-db", *configurations], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 20
        # They come one by one.
        while not all((self.run / f"{name}.sock").exists() for name in ("haproxy", "inside", "seeding")):
            assert self._process.poll() is None, self._said()
            assert time.monotonic() < deadline, "it does not come up"
            time.sleep(0.02)

    def _said(self) -> str:
        assert self._process.stderr is not None
        return self._process.stderr.read().decode()

    async def become(self, apps: Mapping[AppId, policy.Known]) -> None:
        wanted = policy.placed(self.state, self.state.shape, apps)
        step = policy.changes(self.state, wanted)
        assert isinstance(step, policy.RuntimeCommands), step
        for command in step.commands:
            await self.socket.do(command)
        self.state = wanted

    async def know(self, cookie: str, number: int, identity: Identity) -> None:
        """Whoever comes with this Cookie, all of it Nextcloud's, is that person for ten seconds, under that number."""
        key = base64.b64encode(hashlib.sha256(f"{len(cookie)}:{cookie}:".encode()).digest()).decode()
        until = (int(time.time() * 1000) + 10_000) % MODULUS
        await self.socket.do(PutEntry(map_file(self.state.shape, "users"), str(number), policy.user_text(identity)))
        reader, writer = await asyncio.open_unix_connection(self.run / "seeding.sock")
        writer.write(
            f"GET / HTTP/1.1\r\nhost: x\r\nx-key: {key}\r\nx-number: {number}\r\nx-until: {until}\r\n\r\n".encode()
        )
        assert b" 204 " in await reader.readline()
        writer.close()

    def get(self, target: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        with contextlib.closing(self.connect()) as connection:
            return self.ask(connection, target, headers or {})

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def ask(self, connection: http.client.HTTPConnection, target: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """One request on a connection that is kept."""
        connection.putrequest("GET", target, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.read()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()
