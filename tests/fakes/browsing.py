# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the daemon in memory answers to who looks around: two files, two changes, ten days, three lines of a log."""

import base64
from collections.abc import AsyncIterator

from harp.base.errors import UsageError
from harp.bridge import browsing, model, proxyview
from harp.bridge.naming import path_fields
from tests.fakes.noting import Noting

CONTENT = b"all that there is\n"


class FakeBrowsing(Noting):
    """Mixed into :class:`tests.fakes.daemon.FakeDaemon`."""

    def events(self) -> AsyncIterator[browsing.Event]:
        self._called("events")
        return self._events()

    async def _events(self) -> AsyncIterator[browsing.Event]:
        self.streams_open += 1
        try:
            for number in range(3):
                yield browsing.Event(number=number, at=1.0 + number, folders=sorted(self.names), peers=number == 0)
        finally:
            self.streams_open -= 1

    async def traffic(self, days: int) -> browsing.TrafficDays:
        self._called("traffic", days)
        known = [model.CarriedDay(day=f"2026-11-{day:02}", lan=day, wan=2 * day, local=3) for day in range(25, 15, -1)]
        return browsing.TrafficDays(today="2026-11-25", days=known[:days])

    async def changes(self, folder: str, limit: int) -> list[model.Version]:
        self._called("changes", folder, limit)
        return [self._version("e1" * 32, is_current=True), self._version("e2" * 32, is_current=False)][:limit]

    async def files(
        self, folder: str, under: bytes, find: str, after: bytes, limit: int, deleted: bool
    ) -> browsing.FileList:
        self._called("files", folder, under, find, after, limit, deleted)
        known = [
            browsing.FileFact(**path_fields(b"a.txt"), kind="file", size=1536, at=1.0, author_name="bob", is_here=True),
            browsing.FileFact(**path_fields(b"bad\x1b[2J\xff"), kind="tombstone"),
        ]
        return browsing.FileList(files=known[:limit], has_more=limit < len(known))

    async def content(self, folder: str, path: bytes, entry: str, offset: int, length: int) -> browsing.Content:
        self._called("content", folder, path, entry, offset, length)
        data = CONTENT[offset : offset + min(length, 7)]
        return browsing.Content(
            entry=entry or "e1" * 32, size=len(CONTENT), offset=offset, data_b64=base64.b64encode(data).decode()
        )

    async def proxy(self) -> proxyview.ProxyView:
        self._called("proxy")
        routes = [proxyview.RouteFact(pattern="^/<b>", level="user")]
        figures = proxyview.AppFigures(
            requests=1200, errors=3, p50_ms=12, p99_ms=180, most_ms=250, timed=900, sessions=2
        )
        app = proxyview.AppView(
            id="<i>app",
            version="1.0",
            upstream="10.0.0.7:9000",
            listens=True,
            routes=routes,
            route_count=1,
            figures=figures,
        )
        bans = [proxyview.BanView(client="10.0.0.9", failures=5, banned_for_s=61.0)][: 0 if self.lifted else 1]
        containers = [
            proxyview.ContainerView(name="nc_app_x", image="img", state="exited", status="Exited (1)"),
            proxyview.ContainerView(name="nc_app_y", image="<i>", state="running", status="Up 2 hours"),
        ]
        return proxyview.ProxyView(
            containers=containers,
            frp=proxyview.FrpView(
                listen="0.0.0.0:8782", is_up=True, tunnels=[proxyview.TunnelView(name="<i>far", port=23001)]
            ),
            is_running=True,
            listen="127.0.0.1:8780",
            haproxy="3.2",
            agent_answers=True,
            apps=[app],
            bans=bans,
        )

    async def container_log(self, container: str, lines: int) -> proxyview.ContainerLog:
        self._called("container_log", container, lines)
        return proxyview.ContainerLog(lines=["<b>started", "ready"])

    async def proxy_configuration(self) -> proxyview.ProxyConfiguration:
        self._called("proxy_configuration")
        return proxyview.ProxyConfiguration(text="global\n    # <b>\n")

    async def proxy_doctor(self, public: str, control: str) -> model.Report:
        self._called("proxy_doctor", public, control)
        return model.Report(
            checks=[
                model.Check(name="control", ok=True, text="answers"),
                model.Check(name="path", ok=False, text="<b>/exapps/ is cut off", remedy="nginx: proxy_pass http://x;"),
            ]
        )

    async def lift(self, client: str) -> model.Done:
        self._called("lift", client)
        self.lifted = True
        return model.Done(message=f"the failures of {client} are forgotten")

    async def left_out(self, folder: str) -> browsing.LeftOut:
        self._called("left_out", folder)
        return browsing.LeftOut(shared=self.rules, local="", problems=["line 2 is not followed"])

    async def leave_out(self, folder: str, shared: str | None, local: str | None) -> browsing.LeftOut:
        self._called("leave_out", folder, shared, local)
        self.rules = self.rules if shared is None else shared
        return browsing.LeftOut(shared=self.rules, local=local or "")

    async def log(self, lines: int) -> list[browsing.LogLine]:
        self._called("log", lines)
        return [browsing.LogLine(at=float(n), level="warning", text=f"line {n}") for n in range(3)][-lines:]

    async def console_link(self) -> browsing.ConsoleLink:
        self._called("console_link")
        if not self.has_console:
            raise UsageError("the console is turned off", hint="turn it on")
        return browsing.ConsoleLink(
            address="http://127.0.0.1:8785/", link="http://127.0.0.1:8785/in/once", expires_at=2.0
        )

    async def console_guest(self, guest: browsing.GuestAsked) -> browsing.GuestPass:
        self._called("console_guest", guest)
        return browsing.GuestPass(until=600.0)
