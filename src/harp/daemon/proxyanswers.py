# SPDX-License-Identifier: AGPL-3.0-or-later
"""Answers what people ask of the app plane, from HAProxy's runtime socket and what the agent wrote down."""

import asyncio
import csv
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from harp.base.errors import NotRunningError, UsageError
from harp.bridge import model, naming, proxyview
from harp.proxy.deploy.docker import knock
from harp.proxy.edge import bans, files
from harp.proxy.edge.runtime import RuntimeSocket, RuntimeSocketError
from harp.proxy.model import ExApp
from harp.proxy.policy.compile import read_record
from harp.proxy.policy.shape import TIMES
from harp.proxy.settings import ProxySettings, instance_url

if TYPE_CHECKING:
    from harp.daemon.appplane import AppPlane

MOST_ROUTES = 100
_SECRET_LINE = re.compile(r"(set-var proc\.harp_key str)\([^)]*\)")
KNOCK_S = 1.0
"""How long an app is waited for that may be on another machine."""
# Without those that were broken off, whose wait is -1.
_TIMED = re.compile(r'^\{"backend":"(?:slot|ask)(\d+)","status":\d+,"wait":(\d+)[,}]', re.MULTILINE)


class ProxyAnswers:
    """Implements :class:`harp.bridge.proxyview.Proxied`; on the daemon's event loop."""

    def __init__(self, plane: "Callable[[], AppPlane | None]") -> None:
        self._plane = plane
        self._one_doctor = asyncio.Lock()

    def _running(self) -> "AppPlane":
        plane = self._plane()
        if plane is None:
            raise UsageError("no proxy runs here", hint="`harp proxy` runs one")
        return plane

    async def proxy(self) -> proxyview.ProxyView:
        plane = self._plane()
        if plane is None:
            return proxyview.ProxyView(is_running=False, apps=[], bans=[])
        try:
            return await seen(plane.settings, now=time.time())
        except RuntimeSocketError as error:
            return proxyview.ProxyView(
                is_running=True, error=naming.printable(error.message), listen=plane.address, apps=[], bans=[]
            )

    async def container_log(self, container: str, lines: int) -> proxyview.ContainerLog:
        from harp.daemon import deployments, frpview  # aiodocker is for who has containers

        engines = frpview.engines(self._running().settings)
        return proxyview.ContainerLog(lines=await deployments.log(engines, container, lines))

    async def proxy_configuration(self) -> proxyview.ProxyConfiguration:
        return proxyview.ProxyConfiguration(text=await asyncio.to_thread(configuration, self._running().settings))

    async def proxy_doctor(self, public: str, control: str) -> model.Report:
        from harp.daemon import proxydoctor  # its probes are for who asks

        settings = self._running().settings
        try:
            async with self._one_doctor:
                if control:
                    found = await proxydoctor.control(settings, instance_url(control))
                else:
                    found = await proxydoctor.checks(settings, instance_url(public or settings.nextcloud))
        except RuntimeSocketError as error:
            raise NotRunningError(error.message, hint="does HAProxy run? `harp proxy status`") from error
        return model.Report(checks=found)

    async def lift(self, client: str) -> model.Done:
        settings = self._running().settings
        try:
            is_lifted = await bans.lift(_socket(settings), client)
        except RuntimeSocketError as error:
            raise NotRunningError(error.message, hint="does HAProxy run? `harp proxy status`") from error
        if not is_lifted:
            raise UsageError(f"{naming.printable(client)} has no failures", hint="`harp proxy bans` lists who has")
        return model.Done(message=f"the failures of {naming.printable(client)} are forgotten")


def configuration(settings: ProxySettings) -> str:
    """HAProxy's, without the digest of the shared key. Raises :class:`NotRunningError` where none was compiled yet."""
    text = files.read(settings.run / "haproxy.cfg")
    if text is None:
        raise NotRunningError(f"nothing was compiled in {settings.run} yet", hint="start it: harp proxy")
    return redacted(text)


def redacted(configuration: str) -> str:
    """The configuration without the digest of the shared key."""
    return _SECRET_LINE.sub(r"\1(REDACTED)", configuration)


async def seen(settings: ProxySettings, *, now: float) -> proxyview.ProxyView:
    """The whole of it at one moment. Raises :class:`RuntimeSocketError`."""
    from harp.daemon import (
        appagent,
        appplane,
        deployments,
        frpview,
    )  # the app plane's code: a daemon without one does not need it

    socket = _socket(settings)
    info = await socket.info()
    people = await socket.table("sessions")
    known: dict[str, ExApp] = {app.id: app for app in await asyncio.to_thread(appagent.remembered_apps, settings.run)}
    times = read_times(await socket.ask(f"show events {TIMES}"))
    figures = read_figures(await socket.ask("show stat -1 2 -1"), times)
    records = (await socket.ask("show map ./apps.map")).splitlines()
    return proxyview.ProxyView(
        is_running=True,
        listen=settings.http,
        haproxy=info.get("Version", "?"),
        uptime_s=int(info.get("Uptime_sec", 0)),
        connections=int(info.get("CurrConns", 0)),
        most_connections=int(info.get("Maxconn", 0)),
        requests=int(info.get("CumReq", 0)),
        agent_answers=await appplane.agent_answers(settings),
        people=len(people),
        apps=await knocked_at(records, known, figures),
        containers=await deployments.seen(frpview.engines(settings)),
        steps=await asyncio.to_thread(deployments.steps, settings.run),
        frp=frpview.seen(settings),
        bans=await failed_lately(settings, now=now),
    )


async def failed_lately(settings: ProxySettings, *, now: float) -> list[proxyview.BanView]:
    """Who failed within the window. Raises :class:`RuntimeSocketError`."""
    return [
        proxyview.BanView(
            client=bans.shown(one.client),
            failures=one.recent(now, settings.ban_window_s),
            banned_for_s=round(one.remaining_s(now, settings.ban_window_s), 1),
        )
        for one in await bans.read(_socket(settings))
        if one.recent(now, settings.ban_window_s)
    ]


async def wrong_keys(settings: ProxySettings) -> int:
    """How many calls came with another key than the shared one until now. Raises :class:`RuntimeSocketError`."""
    reasons = dict(await _socket(settings).table("reasons"))
    return reasons.get("wrong-key", {}).get("gpc0", 0)


async def upstreams(settings: ProxySettings) -> list[tuple[str, str, int]]:
    """The apps that HAProxy knows, with their addresses. Raises :class:`RuntimeSocketError`."""
    lines = (await _socket(settings).ask("show map ./apps.map")).splitlines()
    records = [record for line in lines if (record := read_record(line)) is not None]
    return [(record.id, record.upstream.address, record.upstream.port) for record in records]


async def knocked_at(
    lines: Sequence[str], known: Mapping[str, ExApp], figures: Mapping[str, proxyview.AppFigures]
) -> list[proxyview.AppView]:
    """The apps of HAProxy's map, each with whether it listens; all are tried at the same time."""
    found = [
        (app, record.upstream)
        for line in lines
        if (record := read_record(line)) is not None and (app := read_app(line, known, figures)) is not None
    ]
    listening = await asyncio.gather(*(knock.listens(place, KNOCK_S) for _app, place in found))
    return [msgspec.structs.replace(app, listens=each) for (app, _place), each in zip(found, listening, strict=True)]


def read_app(
    line: str, known: Mapping[str, ExApp], figures: Mapping[str, proxyview.AppFigures]
) -> proxyview.AppView | None:
    """One line of HAProxy's map of apps; None for one that is not understood."""
    record = read_record(line)
    if record is None:
        return None
    app = known.get(record.id)
    routes = () if app is None else app.routes
    return proxyview.AppView(
        id=naming.printable(record.id),
        version=naming.printable(record.version),
        upstream=naming.printable(f"{record.upstream.address}:{record.upstream.port}"),
        routes=[
            proxyview.RouteFact(pattern=naming.printable(route.pattern), level=route.level.name.lower())
            for route in routes[:MOST_ROUTES]
        ],
        route_count=len(routes),
        figures=figures.get(f"slot{record.slot}", proxyview.AppFigures()),
    )


def read_times(text: str) -> dict[str, list[int]]:
    """The waits for an answer by slot, in milliseconds and sorted, of the lines in HAProxy's ring."""
    found: dict[str, list[int]] = {}
    for number, wait in _TIMED.findall(text):
        found.setdefault(f"slot{number}", []).append(int(wait))
    return {slot: sorted(waits) for slot, waits in found.items()}


def quantile(waits: Sequence[int], share: float) -> int | None:
    """The least wait that ``share`` of them do not exceed (nearest rank); None of none."""
    return waits[max(0, math.ceil(share * len(waits)) - 1)] if waits else None


def read_figures(text: str, times: Mapping[str, Sequence[int]]) -> dict[str, proxyview.AppFigures]:
    """Figures by slot, those of both its backends: of ``show stat`` (Management Guide, 9.1), and :func:`read_times`."""
    rows = [row for row in csv.DictReader(text.removeprefix("# ").splitlines()) if row.get("svname") == "BACKEND"]
    by_slot: dict[str, list[Mapping[str, str | None]]] = {}
    for row in rows:
        name = str(row.get("pxname"))
        by_slot.setdefault(name.replace("ask", "slot") if name.startswith("ask") else name, []).append(row)
    return {name: _together(rows, times.get(name, ())) for name, rows in by_slot.items()}


def _together(rows: Sequence[Mapping[str, str | None]], waits: Sequence[int]) -> proxyview.AppFigures:
    def total(name: str) -> int:
        return sum(_number(row, name) for row in rows)

    return proxyview.AppFigures(
        requests=total("stot"),
        errors=sum(total(name) for name in ("hrsp_5xx", "econ", "eresp")),
        most_ms=max(_number(row, "rtime_max") for row in rows),
        p50_ms=quantile(waits, 0.5),
        p99_ms=quantile(waits, 0.99),
        timed=len(waits),
        sessions=total("scur"),
    )


def _number(row: Mapping[str, str | None], name: str) -> int:
    text = row.get(name) or "0"
    return int(text) if text.isdecimal() else 0


def _socket(settings: ProxySettings) -> RuntimeSocket:
    return RuntimeSocket(settings.run / "haproxy.sock")
