# SPDX-License-Identifier: AGPL-3.0-or-later
"""Those who talk to a HaRP: each from an address of its own, byte for byte as told."""

import http.client
import itertools
import json
import time
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Headers = Sequence[tuple[str, str]]
SILENCE = 0
CLOSED = -1

# All of 127.0.0.0/8 is this machine: each caller is a peer of its own, and one caller's ban is nobody else's.
_ADDRESSES = (f"127.{a}.{b}.{c}" for a in range(20, 200) for b in range(1, 255) for c in range(1, 255))
_NUMBERS = itertools.count(1)


def next_address() -> str:
    return next(_ADDRESSES)


def next_name(stem: str) -> str:
    """A name that no other test has."""
    return f"{stem}{next(_NUMBERS)}"


@dataclass(frozen=True, slots=True)
class Reply:
    """``status`` is :data:`SILENCE` where no byte came in time, :data:`CLOSED` where the connection ended before."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    took_s: float = 0.0

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


@dataclass(frozen=True, slots=True)
class Caller:
    """A client. ``address`` is its own on loopback; where HaRP runs elsewhere, what it says in X-Forwarded-For."""

    host: str
    port: int
    address: str
    is_forwarded: bool = False

    def ask(
        self,
        method: str,
        target: str,
        headers: Headers = (),
        body: bytes | Iterable[bytes] | None = None,
        *,
        patience_s: float = 15.0,
    ) -> Reply:
        """One request on a connection of its own. ``target`` goes out as it is, a ``body`` of pieces chunked."""
        began = time.monotonic()
        connection = self.connect(patience_s)
        try:
            self.send(connection, method, target, headers, body)
            answer = connection.getresponse()
            content = answer.read()
        except TimeoutError:
            return Reply(SILENCE, took_s=time.monotonic() - began)
        except (http.client.RemoteDisconnected, ConnectionError):
            return Reply(CLOSED, took_s=time.monotonic() - began)
        finally:
            connection.close()
        return Reply(answer.status, tuple(answer.getheaders()), content, time.monotonic() - began)

    def get(self, target: str, headers: Headers = (), *, patience_s: float = 15.0) -> Reply:
        return self.ask("GET", target, headers, patience_s=patience_s)

    def connect(self, patience_s: float = 15.0) -> http.client.HTTPConnection:
        source = None if self.is_forwarded else (self.address, 0)
        return http.client.HTTPConnection(self.host, self.port, timeout=patience_s, source_address=source)

    def send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        headers: Headers = (),
        body: bytes | Iterable[bytes] | None = None,
    ) -> None:
        named = {name.lower() for name, _value in headers}
        connection.putrequest(method, target, skip_host="host" in named, skip_accept_encoding=True)
        for name, value in self._all(headers):
            connection.putheader(name, value)
        if isinstance(body, bytes):
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
        elif body is not None:
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders(body, encode_chunked=True)
        else:
            if method in ("POST", "PUT", "PATCH"):
                connection.putheader("Content-Length", "0")
            connection.endheaders()

    def _all(self, headers: Headers) -> Iterator[tuple[str, str]]:
        yield from headers
        if self.is_forwarded:
            yield "X-Forwarded-For", self.address


def cookie(passphrase: str, *others: str) -> tuple[str, str]:
    """The header of a browser with a session at Nextcloud, and with other cookies."""
    return "Cookie", "; ".join([f"oc_sessionPassphrase={passphrase}", *others])


def basic(user: str, password: str) -> tuple[str, str]:
    return "Authorization", "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def caller_token(user: str, token: str = "a-token") -> str:
    """What AUTHORIZATION-APP-API has to be for this user ("": nobody)."""
    return b64encode(f"{user}:{token}".encode()).decode()
