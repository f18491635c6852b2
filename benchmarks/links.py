# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a link carries on loopback: over TCP, in a WebSocket, and in one through a web server's TLS, in turn.

``python -m benchmarks.links [--gib N] [--rounds N]``; two processes, answers of 1 MiB out of memory, no disk.
"""

import argparse
import multiprocessing
import os
import resource
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from harp.base.webaddress import web_address
from harp.identity.device import DeviceId
from harp.sync.protocol.frames import MAX_PAYLOAD, frame
from harp.sync.transport import tcp, websocket
from harp.sync.transport.link import Link
from harp.sync.transport.listener import BY_TCP, Listener
from harp.sync.transport.tls import Identity
from harp.sync.transport.webdoor import WebDoor
from tests.fakes.certificates import certificate
from tests.fakes.neighbours import ALICE, BOB, Door, knock
from tests.fakes.nginx import NGINX, Nginx

DEADLINE_S = 300.0
GO, DONE = 13, 14


class End:
    """Sends so many answers when it is told to, and counts those that come."""

    def __init__(self, answers: int) -> None:
        self._wanted = answers
        self._came = 0
        self.is_done = threading.Event()

    def on_frame(self, link: Link, type: int, body: bytes) -> None:
        if type == GO:
            for request in range(self._wanted):
                link.serve(request, lambda buffer: (0, len(buffer)))
        else:
            self.is_done.set()

    def on_answer(self, link: Link, request: int, status: int, payload: memoryview) -> None:
        self._came += 1
        if self._came == self._wanted:
            link.send(frame(DONE, b""))
            self.is_done.set()

    def on_closed(self, link: Link, why: str) -> None:
        self.is_done.set()


def hub(tell: Connection, way: str, answers: int, is_sender: bool) -> None:
    """The listener's process."""
    links: list[Link] = []
    made = threading.Event()

    def on_link(link: Link) -> None:
        links.append(link)
        made.set()

    manner = BY_TCP if way == "tcp" else WebDoor("/").manner()
    listener = Listener("127.0.0.1", 0, Identity.of(BOB), Door(), on_link, manner)
    tell.send(listener.address[1])
    made.wait(DEADLINE_S)
    _run(links[0], answers, is_sender)
    tell.send(_cpu_s())


def _run(link: Link, answers: int, is_sender: bool) -> float:
    end = End(answers)
    link.start(end)
    began = time.monotonic()
    if not is_sender:
        link.send(frame(GO, b""))
    assert end.is_done.wait(DEADLINE_S), "it takes too long"
    took_s = time.monotonic() - began
    time.sleep(0.1)
    link.close()
    return took_s


def measured(way: str, gib: float, *, is_hub_sender: bool) -> tuple[float, float]:
    """MB/s, and CPU seconds of both ends (a web server's are not in it) for each GB."""
    answers = int(gib * 1024)
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=hub, args=(theirs, way, answers, is_hub_sender))
    process.start()
    port = ours.recv()
    before = _cpu_s()
    with tempfile.TemporaryDirectory() as place:
        nginx, dial = _dialling(way, port, Path(place))
        try:
            took_s = _run(dial(), answers, not is_hub_sender)
        finally:
            if nginx is not None:
                nginx.stop()
    cpu_s = _cpu_s() - before + ours.recv()
    process.join()
    size = answers * MAX_PAYLOAD
    return size / took_s / 1e6, cpu_s / size * 1e9


def _dialling(way: str, port: int, place: Path) -> tuple[Nginx | None, Callable[[], Link]]:
    alice, said = Identity.of(ALICE), knock()
    if way == "tcp":
        return None, lambda: tcp.dial("127.0.0.1", port, alice, said, _is_bob, DEADLINE_S)
    if way == "websocket":
        url = f"ws://127.0.0.1:{port}/"
        return None, lambda: websocket.dial(web_address(url), alice, said, _is_bob, DEADLINE_S)
    paper = certificate(place, "localhost")
    os.environ["SSL_CERT_FILE"] = str(paper.path)
    free = _free_port()
    nginx = Nginx(place / "nginx", f"127.0.0.1:{free}", "/", port, paper).start()
    return nginx, lambda: websocket.dial(web_address(f"wss://localhost:{free}/"), alice, said, _is_bob, DEADLINE_S)


def _is_bob(device: DeviceId) -> bool:
    return device == BOB.device_id


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    ways = ["tcp", "websocket", *(["nginx"] if NGINX else [])]
    found: dict[tuple[str, bool], list[tuple[float, float]]] = {}
    for _ in range(asked.rounds):
        for way in ways:
            for is_hub_sender in (True, False):
                figures = measured(way, asked.gib, is_hub_sender=is_hub_sender)
                found.setdefault((way, is_hub_sender), []).append(figures)
    for (way, is_hub_sender), rounds in found.items():
        speed = statistics.median(one for one, _ in rounds)
        cpu = statistics.median(one for _, one in rounds)
        direction = "from the hub" if is_hub_sender else "to the hub"
        print(f"{way:10} {direction:13} {speed:6.0f} MB/s  {cpu:5.2f} CPU s/GB")


if __name__ == "__main__":
    main()
