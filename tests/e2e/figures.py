# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a route costs through Harp and through Nextcloud's PHP proxy, and what Harp adds to nginx, in one run.

``NEXTCLOUD=/path/to/tree python -m tests.e2e.figures``, which ``make e2e`` runs after the tests. All rows of one table
are taken turn by turn, with the same app behind; it prints Markdown.
On a machine that does other work they mean little.
"""

import argparse
import asyncio
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.figures import Undone
from benchmarks.processes import family
from benchmarks.proxy.loads import script, wrk
from harp.proxy.deploy import steps
from tests.contract import instance
from tests.contract.docked import Docked, environment
from tests.e2e import cloud, image
from tests.e2e.exapp import Hello, described
from tests.e2e.site import Site, documented_location
from tests.fakes.haproxy import HAPROXY
from tests.fakes.ports import free_port
from tests.integration import engine as engines
from tests.integration.engine import DockerEngine

KEY = "the-key-of-the-figures"
CONNECTIONS = 8
UPLOAD_BYTES = 200_000_000
UPLOADS = 5
"""Of each kind by each way in each round."""
UPLOADED = {
    "upload": "upload of 200 MB, to a public route",
    "user-upload": "the same with an app password, about which Nextcloud is asked every 3 s",
}
INSTALLED: dict[str, tuple[int, ...]] = {"small": (), "large": (50_000_000,) * 4}
"""Images that are installed, and their layers beside that of the app and its Python (40 MB): an ExApp brings much."""
STAGES = (
    "the engine alone: pull, create, start",
    "AppAPI's calls, through Harp, certificates among them",
    "until the app listens",
    "`app:register --wait-finish`",
    "of that, waiting for Harp, the engine and the app",
    "of that, for pull, create and start",
    "a command of `occ` that does nothing",
)
ROUND_TRIPS = 1000
_TICKS = os.sysconf("SC_CLK_TCK")
WAYS = {"Harp": "/exapps/hello", "PHP proxy": "/index.php/apps/app_api/proxy/hello"}
# nginx alone, with the same settings as the documented way to Harp.
_PLAIN = """location /plain/ {{
    proxy_pass http://127.0.0.1:{port}/;
    proxy_http_version 1.1;
    proxy_buffering off;
    proxy_request_buffering off;
    client_body_buffer_size 256k;
    proxy_read_timeout 1h;
    proxy_set_header Host $host;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade;
}}
"""


@dataclass(slots=True)
class Rig:
    site: Site
    hello: Hello
    work: Path
    engine: DockerEngine | None

    def cpu_s(self) -> dict[str, float]:
        """Seconds so far, by program."""
        program = self.site.harp.program
        assert program is not None
        assert self.hello.process is not None
        found: dict[str, float] = {}
        for name, pid in {**self.site.cloud.pids, "agent": program.process.pid, "app": self.hello.process.pid}.items():
            for each in family(pid):
                with contextlib.suppress(OSError):
                    fields = Path(f"/proc/{each}/stat").read_bytes().rpartition(b")")[2].split()
                    is_haproxy = Path(f"/proc/{each}/comm").read_text().strip() == "haproxy"
                    key = "haproxy" if is_haproxy else name
                    found[key] = found.get(key, 0.0) + (int(fields[11]) + int(fields[12])) / _TICKS
        return found


@contextlib.contextmanager
def rig(tree: Path) -> Iterator[Rig]:
    with cloud.opened(tree) as nextcloud, contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="harp-figures-")))
        has_engine = not engines.why_not() and not image.why_not()
        engine = stack.enter_context(engines.opened(work / "engine")) if has_engine else None
        settings = {
            **instance.own_addresses(),
            **({"HP_DOCKER_ENGINES": f"24000={engine.url}"} if engine else {}),
            "HP_SHARED_KEY": KEY,
            "NC_INSTANCE_URL": nextcloud.url,
            "HP_HAPROXY": HAPROXY,
            "HP_TRUSTED_PROXY_IPS": "127.0.0.1",
        }
        program = instance.started(work / "harp", settings)
        stack.callback(program.end)
        site = Site(nextcloud, instance.ready(program, settings, KEY))
        hello = Hello("hello", nextcloud.url)
        hello.start()
        stack.callback(hello.stop)
        nextcloud.place(documented_location(site.harp.port))
        nextcloud.place(_PLAIN.format(port=hello.port), "plain")
        site.tell_nextcloud("manual")
        nextcloud.person("alice")
        site.register(hello)
        yield Rig(site, hello, work, engine)


def routes(on: Rig, rounds: int, seconds: float) -> Iterator[str]:
    """Requests a second, the slowest percent, and processor time by program, for three callers and both ways."""
    alice = on.site.cloud.people["alice"]
    callers: dict[str, tuple[str, Mapping[str, str]]] = {
        "nobody": ("/quick", {}),
        "session": ("/user-quick", on.site.browser("alice").cookie_header),
        "app password": ("/user-quick", alice.basic),
    }
    yield "| caller | way | requests/s | p50 ms | p99 ms | CPU s per 1,000 requests, by program |"
    yield "| --- | --- | ---: | ---: | ---: | --- |"
    for caller, (path, headers) in callers.items():
        taken: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way, prefix in WAYS.items():
                taken[way].append(_load(on, prefix + path, headers, seconds))
        yield from (_row(caller, way, found) for way, found in taken.items())


def _load(on: Rig, path: str, headers: Mapping[str, str], seconds: float) -> dict[str, Any]:
    reply = on.site.browser().get(path, headers)
    if reply.body != b"ok":
        raise Undone(f"{path}: {reply.status} {reply.text[:200]}")
    lua = on.work / "load.lua"
    lua.write_text(script([path], headers, fresh=False))
    before = on.cpu_s()
    found = wrk(on.site.cloud.url, lua, connections=CONNECTIONS, seconds=seconds)
    if found["errors"]:
        raise Undone(f"{path}: {found['errors']} of {found['requests']} failed")
    spent = {name: total - before.get(name, 0.0) for name, total in on.cpu_s().items()}
    return {**found, "cpu": {name: each / found["requests"] * 1000 for name, each in spent.items()}}


def _row(caller: str, way: str, found: list[dict[str, Any]]) -> str:
    def median(of: Callable[[dict[str, Any]], float]) -> float:
        return statistics.median(of(each) for each in found)

    names = ("php-fpm", "nginx", "haproxy", "agent", "app")
    cpu = {name: median(lambda each, name=name: each["cpu"].get(name, 0.0)) for name in names}  # type: ignore[misc]
    split = ", ".join(f"{name} {each:.2f}" for name, each in cpu.items() if each >= 0.005)
    rate = median(lambda each: each["requests"] / each["us"] * 1e6)
    p50, p99 = (median(lambda each, key=key: each[key] / 1000) for key in ("p50_us", "p99_us"))  # type: ignore[misc]
    return f"| {caller} | {way} | {rate:,.0f} | {p50:.1f} | {p99:.1f} | **{sum(cpu.values()):.2f}**: {split} |"


def beside_nginx(on: Rig, rounds: int) -> Iterator[str]:
    """A WebSocket's round trip and uploads, through nginx alone and through nginx and Harp.

    What else the machine does comes and goes in moments: one of each way is taken in turn, within each round as well.
    """
    paths = [on.site.cloud.url + prefix for prefix in ("/plain", WAYS["Harp"])]
    trips: list[list[float]] = [[], []]
    rates: dict[str, list[list[float]]] = {route: [[], []] for route in UPLOADED}
    for _ in range(rounds):
        asyncio.run(_trips_us([f"{path}/socket" for path in paths], trips))
        for _ in range(UPLOADS):
            for route, ways in rates.items():
                for path, taken in zip(paths, ways, strict=True):
                    taken.append(_upload_rate(f"{path}/{route}?unread", on))
    alone, both = map(statistics.median, trips)
    yield "| what | nginx | nginx and Harp | ratio | goal |"
    yield "| --- | ---: | ---: | ---: | --- |"
    yield f"| WebSocket, round trip of 100 bytes | {alone:.0f} µs | {both:.0f} µs | {both / alone:.2f} | at most 1.5 |"
    for route, what in UPLOADED.items():
        fast, slow = map(statistics.median, rates[route])
        kept = statistics.median(harp / nginx for nginx, harp in zip(*rates[route], strict=True))
        yield f"| {what} | {fast / 1e6:.0f} MB/s | {slow / 1e6:.0f} MB/s | {kept:.2f} | at least 0.8 |"


async def _trips_us(urls: Sequence[str], taken: Sequence[list[float]]) -> None:
    """Adds the times of one round trip after the other, from one WebSocket to the next, to ``taken`` by ``urls``."""
    async with aiohttp.ClientSession() as client, contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(client.ws_connect(url)) for url in urls]
        for _ in range(ROUND_TRIPS):
            for opened, times in zip(sockets, taken, strict=True):
                begun = time.perf_counter()
                await opened.send_str("x" * 100)
                await opened.receive_str(timeout=10)
                times.append((time.perf_counter() - begun) * 1e6)


def _upload_rate(url: str, on: Rig) -> float:
    """Bytes a second of one PUT with an app password."""
    big = on.work / "big"
    if not big.exists():
        big.write_bytes(b"\0" * UPLOAD_BYTES)
    alice = on.site.cloud.people["alice"]
    done = subprocess.run(
        ["curl", "-sS", "--fail", "--noproxy", "*", "-T", str(big), "-K", "-", "-w", "\n%{speed_upload}", url],
        input=f'user = "alice:{alice.app_password}"\nheader = "Expect:"\n',
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    body, _, rate = done.stdout.rpartition("\n")
    if f'"size": {UPLOAD_BYTES}' not in body:
        raise Undone(f"{url}: {done.stderr or body}")
    return float(rate)


def deploying(on: Rig, rounds: int) -> Iterator[str]:
    """Installing an app in a container: the engine alone, AppAPI's calls through Harp, the app itself, Nextcloud."""
    engine = on.engine
    if engine is None:
        yield f"no containers here: {engines.why_not() or image.why_not()}"
        return
    taken: dict[str, list[tuple[float, ...]]] = {name: [] for name in INSTALLED}
    registry = image.Registry(on.work)
    try:
        for name, layers in INSTALLED.items():
            image.pushed(engine, registry, "1", name=name, base=image.weighty(engine, *layers))
        on.site.tell_nextcloud("docker", "docker-install", "--net", "host")
        for _ in range(rounds):
            for name, found in taken.items():
                where = f"{registry.address}/{name}"
                alone = _engine_alone(engine, where)
                called, listens = _through_harp(on, engine, f"{where}:1")
                found.append((alone, called, listens, *_registered(on, engine, registry.address, name), _occ_alone(on)))
    finally:
        registry.stop()
    yield "".join(["| what |", *(f" {name}: seconds | beside the engine |" for name in INSTALLED)])
    yield "| --- |" + " ---: | ---: |" * len(INSTALLED)
    for row, what in enumerate(STAGES):
        seconds = (statistics.median(each[row] for each in found) for found in taken.values())
        ratios = (statistics.median(each[row] / each[0] for each in found) for found in taken.values())
        yield "".join([f"| {what} |", *(f" {s:.2f} | {ratio:.2f} |" for s, ratio in zip(seconds, ratios, strict=True))])


def _engine_alone(engine: DockerEngine, name: str) -> float:
    begun = time.perf_counter()
    engine.call("POST", f"/images/create?fromImage={name}&tag=1")
    made = engine.call(
        "POST", "/containers/create?name=alone", {"Image": f"{name}:1", "HostConfig": {"NetworkMode": "host"}}
    )
    started = engine.call("POST", "/containers/alone/start")
    taken = time.perf_counter() - begun
    if (made.status, started.status) != (201, 204):
        raise Undone(f"the engine: {made} {started}")
    engine.call("DELETE", "/containers/alone?force=true")
    engine.call("DELETE", f"/images/{name}:1")
    return taken


def _through_harp(on: Rig, engine: DockerEngine, name: str) -> tuple[float, float]:
    """What AppAPI asks of Harp in an install, one call after the other; and until the app listens."""
    docked, port = Docked(on.site.harp, engine, 24_000, Path()), free_port()
    bundle = (on.site.cloud.tree / "resources" / "config" / "ca-bundle.crt").read_text()
    lines = environment("asked", port)
    begun = time.perf_counter()
    statuses = [
        docked.through("POST", f"/v1.41/images/create?fromImage={name}-cpu").status,
        docked.through("POST", f"/v1.41/images/create?fromImage={name}").status,
        docked.call("exists", name="asked").status,
        docked.call("create", name="asked", image_id=name, network_mode="host", environment_variables=lines).status,
        docked.call("install_certificates", name="asked", system_certs_bundle=bundle).status,
        docked.call("start", name="asked").status,
        docked.call("wait_for_start", name="asked").status,
        docked.through("GET", "/v1.41/containers/nc_app_asked/json").status,
    ]
    called = time.perf_counter() - begun
    if statuses != [404, 200, 200, 201, 204, 204, 200, 200]:
        raise Undone(f"Harp: {statuses}")
    while not _listens(port):
        if time.perf_counter() - begun > 60:
            raise Undone("the app does not listen")
        time.sleep(0.01)
    listens = time.perf_counter() - begun
    docked.call("remove", name="asked", remove_data=True)
    engine.call("DELETE", f"/images/{name}")
    return called, listens


def _occ_alone(on: Rig) -> float:
    begun = time.perf_counter()
    on.site.cloud.occ("status")
    return time.perf_counter() - begun


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def _registered(on: Rig, engine: DockerEngine, registry: str, name: str) -> tuple[float, float, float]:
    """How long the command took, how long of that AppAPI waited for Harp, and how long for pull, create and start."""
    where = {"registry": registry, "image": name, "image-tag": "1"}
    info = json.dumps(described("dock", "1.0.0", **{"docker-install": where}))
    begun, began_at = time.perf_counter(), time.time()
    on.site.cloud.occ("app_api:app:register", "dock", "docker", "--wait-finish", "--json-info", info)
    taken = time.perf_counter() - begun
    [written] = (on.work / "harp").rglob(steps.FILE_NAME)
    done = [step for step in steps.decoded(written.read_text()) if step.began_at >= began_at]
    if {"pull", "create", "install_certificates", "start", "wait_for_start"} - {step.verb for step in done}:
        raise Undone(f"steps of the install are not written down: {done}")
    on.site.cloud.occ("app_api:app:unregister", "dock", "--rm-data")
    engine.call("DELETE", f"/images/{registry}/{name}:1")
    spent = [(step.verb, step.ended_at - step.began_at) for step in done if step.ended_at is not None]
    of_engine = sum(seconds for verb, seconds in spent if verb in ("pull", "create", "start"))
    return taken, sum(seconds for _verb, seconds in spent), of_engine


def versions(on: Rig) -> str:
    """What the figures are of."""
    haproxy = subprocess.run([HAPROXY, "-v"], capture_output=True, text=True, check=False).stdout.split()
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False).stderr.split("/")[-1].strip()
    php = subprocess.run(["php", "-r", "echo PHP_VERSION;"], capture_output=True, text=True, check=False).stdout
    apps = on.site.cloud.occ("app:list", "--enabled")
    appapi = next(line.split(": ")[1] for line in apps.splitlines() if "app_api:" in line)
    return (
        f"Nextcloud {on.site.cloud.version}, AppAPI {appapi}, PHP {php}, nginx {nginx}, HAProxy {haproxy[2]}, "
        f"{os.cpu_count()} cores; {CONNECTIONS} connections, {cloud.WORKERS} PHP processes"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.figures", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    asked = parser.parse_args()
    if reason := cloud.why_not():
        print(reason, file=sys.stderr)
        return 2
    with rig(Path(os.environ["NEXTCLOUD"])) as on:
        print(versions(on), "", sep="\n")
        for table in (
            routes(on, asked.rounds, asked.seconds),
            beside_nginx(on, asked.rounds),
            deploying(on, asked.rounds),
        ):
            for line in table:
                print(line, flush=True)
            print()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Undone as why:
        sys.exit(str(why))
