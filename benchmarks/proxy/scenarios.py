# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is done with the peers of one group: the loads, the stampede of one credential, expiring sessions, sockets."""

import socket
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Undone
from benchmarks.proxy.figures import (
    HARP,
    MANY_APPS,
    ONE_APP,
    PASSWORD,
    PLAIN,
    PUBLIC,
    REFERENCE,
    SESSION,
    UPSTREAM,
    Failure,
    Figure,
    Load,
    Row,
)
from benchmarks.proxy.goals import CALL_MS, EXPIRING, NEXTCLOUD_CALLS, SOCKET_KIB
from benchmarks.proxy.loads import script, wrk
from benchmarks.proxy.peers import HAProxy, Harp, Nextcloud, Peer, Proxy, Reference, checked, measured
from benchmarks.proxy.sockets import grown_bytes

LOADS, STAMPEDE, EXPIRIES, SOCKETS = "loads", "stampede", "expiries", "sockets"
ROWS = (LOADS, STAMPEDE, EXPIRIES, SOCKETS)
APPS, ROUTES = 50, 10
CALL_S = 0.03
"""How long the stand-in takes for an answer: a Nextcloud with a warm cache took 20 to 40 ms."""
_WARM_S, _CONNECTIONS, _EXPIRING_S, _STAMPEDE_S = 1, 32, 12, 2
_SOCKETS = 1000
_BASIC = "Basic " + b64encode(b"alice:app-password").decode()
HEADERS: Mapping[str, Mapping[str, str]] = {
    PUBLIC: {},
    SESSION: {"Cookie": "oc_sessionPassphrase=a-session-of-alice; nc_session_id=0123456789; theme=dark"},
    PASSWORD: {"Authorization": _BASIC},
}
Outcome = Load | Figure | Failure


def stems(apps: str, caller: str) -> list[str]:
    """Where the paths of a load begin; to the many apps each request adds something that was never asked for."""
    kind = "public" if caller == PUBLIC else "user"
    if apps == ONE_APP:
        return [f"/exapps/one/{kind}/page"]
    return [f"/exapps/app{app}/{kind}{route}/" for app in range(APPS) for route in range(ROUTES // 2)]


def records(upstream: int, sockets: int) -> dict[str, Any]:
    """What Nextcloud says of the apps: ``one`` with three routes, many with ten, ``sockets`` for WebSockets."""

    def record(port: int, routes: Sequence[tuple[str, int]]) -> dict[str, Any]:
        listed = [{"url": url, "access_level": level, "bruteforce_protection": []} for url, level in routes]
        return {
            "exapp_token": "a-token",
            "exapp_version": "1.0.0",
            "host": "127.0.0.1",
            "port": port,
            "routes": listed,
        }

    three = [("^/public/.*", 0), ("^/user/.*", 1), ("^/admin/.*", 2)]
    ten = [
        (f"^/{kind}{number}/.*", level) for number in range(ROUTES // 2) for kind, level in (("public", 0), ("user", 1))
    ]
    apps = {f"app{number}": record(upstream, ten) for number in range(APPS)}
    return {**apps, "one": record(upstream, three), "sockets": record(sockets, [("^/.*", 0)])}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run is to do; ``checkout`` is the reference's."""

    work: Path
    rounds: int
    seconds: int
    with_harp: bool
    checkout: Path | None
    rows: Sequence[str]


class Group:
    """All peers in front of one upstream, up at the same time, with so many threads each."""

    def __init__(self, asked: Asked, threads: int, stack: ExitStack) -> None:
        self.asked, self.threads = asked, threads
        self.round = 0
        self.listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1024))
        self.upstream = HAProxy(asked.work / "upstream", threads)
        self.nextcloud = Nextcloud(
            asked.work,
            apps=records(self.upstream.port, self.listener.getsockname()[1]),
            people={"a-session-of-alice": ["alice", 1], _BASIC: ["alice", 1]}
            | {f"session-{each}": ["alice", 1] for each in (HARP, REFERENCE)},
            delay_s=CALL_S,
        )
        for part in (self.nextcloud, self.upstream):
            stack.callback(part.stop)
            part.start()

    def peers(self, folder: str) -> list[Peer]:
        """Fresh ones, not started."""
        work = self.asked.work / folder
        behind = self.listener.getsockname()[1] if folder == SOCKETS else self.upstream.port
        found: list[Peer] = [HAProxy(work / "haproxy", self.threads, behind)]
        if self.asked.with_harp:
            found.append(Harp(work / "harp", self.threads, self.nextcloud.url))
        if self.asked.checkout is not None:
            found.append(Reference(work / "reference", self.threads, self.nextcloud.url, self.asked.checkout))
        return found

    def each(self, row: str, act: Callable[[Peer], Iterator[Outcome]], *, but: str = "") -> Iterator[Outcome]:
        """``act`` on each peer by itself, fresh in each round; what a peer could not do is an outcome."""
        for number in range(1, self.asked.rounds + 1):
            self.round = number
            for peer in self.in_turn(self.peers(row)):
                if peer.name != but:
                    try:
                        peer.start()
                        yield from act(peer)
                    except Undone as error:
                        yield self.failure(row, peer, error)
                    finally:
                        peer.stop()

    def in_turn(self, peers: list[Peer]) -> list[Peer]:
        """Each round begins with another peer, so that a slow trend of the machine meets all alike."""
        first = self.round % len(peers)
        return peers[first:] + peers[:first]

    def failure(self, where: str, peer: Peer, error: Undone) -> Failure:
        return Failure(where=where, peer=peer.name, round=self.round, why=str(error))

    def load(self, peer: Peer, row: Row, caller: str, seconds: int) -> Load:
        """Warm up, then measure one peer."""
        lua = self.asked.work / "load.lua"
        paths = stems(row.apps, caller)
        lua.write_text(script(paths, HEADERS[caller], fresh=row.apps == MANY_APPS))
        for path in paths[:: ROUTES // 2]:
            checked(peer, path, HEADERS[caller])
        wrk(peer.url, lua, connections=_CONNECTIONS, seconds=_WARM_S)
        watched = {UPSTREAM: self.upstream} | ({} if peer is self.upstream else {"": peer})
        found, spent = measured(watched, lambda: wrk(peer.url, lua, connections=_CONNECTIONS, seconds=seconds))
        return Load(
            row=row,
            peer=peer.name,
            round=self.round,
            requests=found["requests"],
            seconds=found["us"] / 1e6,
            p50_ms=found["p50_us"] / 1e3,
            p99_ms=found["p99_us"] / 1e3,
            cpu_s={program: 1000 * each / found["requests"] for program, each in spent.items()},
            errors=found["errors"],
        )

    # --- the rows -----------------------------------------------------------------------------------------------------

    def loads(self) -> Iterator[Outcome]:
        """All peers are up together, and are asked in turn, for a short time each: what else the machine does meanwhile
        meets all of them."""
        for apps in (ONE_APP, MANY_APPS):
            with ExitStack() as stack:
                peers: list[Peer] = []
                for peer in self.peers(LOADS):
                    stack.callback(peer.stop)
                    try:
                        peer.start()
                        peers.append(peer)
                    except Undone as error:
                        yield self.failure(LOADS, peer, error)
                for caller in (PUBLIC, SESSION, PASSWORD):
                    row = Row(apps=apps, caller=caller, threads=self.threads)
                    yield from self.rounds_of(row, caller, [self.upstream, *peers] if caller == PUBLIC else peers)

    def rounds_of(self, row: Row, caller: str, peers: list[Peer]) -> Iterator[Outcome]:
        for number in range(1, self.asked.rounds + 1):
            self.round = number
            for peer in self.in_turn(peers):
                try:
                    yield self.load(peer, row, caller, self.asked.seconds)
                except Undone as error:
                    yield self.failure(f"{row.apps}, {caller}", peer, error)

    def expiries(self) -> Iterator[Outcome]:
        row = Row(apps=ONE_APP, caller=EXPIRING, threads=self.threads)

        def one(peer: Peer) -> Iterator[Outcome]:
            yield self.load(peer, row, SESSION, _EXPIRING_S)
            if isinstance(peer, Proxy):
                yield Figure(what=CALL_MS, peer=peer.name, round=self.round, value=CALL_S * 1000)

        yield from self.each(EXPIRIES, one)

    def stampede(self) -> Iterator[Outcome]:
        def one(peer: Peer) -> Iterator[Outcome]:
            lua = self.asked.work / "stampede.lua"
            path = stems(ONE_APP, SESSION)[0]
            checked(peer, stems(ONE_APP, PUBLIC)[0], {})
            lua.write_text(script([path], {"Cookie": f"oc_sessionPassphrase=session-{peer.name}"}, fresh=False))
            self.nextcloud.forget()
            # Less than a session's lifetime of 3 s.
            wrk(peer.url, lua, connections=128, seconds=_STAMPEDE_S)
            calls = self.nextcloud.calls().get("user-info", 0)
            yield Figure(what=NEXTCLOUD_CALLS, peer=peer.name, round=self.round, value=calls)

        yield from self.each(STAMPEDE, one, but=PLAIN)

    def sockets(self) -> Iterator[Outcome]:
        def one(peer: Peer) -> Iterator[Outcome]:
            grown = grown_bytes(self.listener.dup(), peer.port, "/exapps/sockets/ws", _SOCKETS, peer.rss_bytes)
            yield Figure(what=SOCKET_KIB, peer=peer.name, round=self.round, value=grown / 1024)

        yield from self.each(SOCKETS, one)

    def outcomes(self) -> Iterator[Outcome]:
        """All rows that were asked for; what does not concern the number of threads only with one."""
        if LOADS in self.asked.rows:
            yield from self.loads()
        if self.threads == 1:
            for row, act in ((STAMPEDE, self.stampede), (EXPIRIES, self.expiries), (SOCKETS, self.sockets)):
                if row in self.asked.rows:
                    yield from act()
