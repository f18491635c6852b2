# SPDX-License-Identifier: AGPL-3.0-or-later
"""``harp proxy``: the app plane alone, and what an administrator asks of it."""

import asyncio
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

from harp.base.errors import HarpError, NotRunningError
from harp.bridge.model import Noun, Report
from harp.bridge.proxyview import BanView, PullView, StepView
from harp.cli import loading, options, show
from harp.daemon import appplane, frpview, proxyanswers
from harp.proxy.edge import bans
from harp.proxy.edge.runtime import RuntimeSocket, RuntimeSocketError
from harp.proxy.settings import ProxySettings, instance_url

_T = TypeVar("_T")


class BanList(Noun, frozen=True):
    """Who failed lately."""

    bans: list[BanView]


class StepList(Noun, frozen=True):
    """What was done to deploy apps."""

    steps: list[StepView]


@click.group("proxy", invoke_without_command=True)
@options.with_home
def proxy_command(home: Path) -> int | None:
    """Run the proxy for Nextcloud's External Apps in the foreground, or ask about it."""
    context = click.get_current_context()
    context.obj = str(home)
    return None if context.invoked_subcommand is not None else appplane.run(home)


@proxy_command.command("agent", hidden=True)
@options.with_home
def agent_command(home: Path) -> int:
    """What HAProxy asks; `harp proxy` starts it."""
    with loading.uncollected():
        from harp.daemon import appagent

    return appagent.run(home)


@proxy_command.command("status")
@options.as_json
@options.with_home
def status_command(home: Path, as_json: bool) -> None:
    """Show HAProxy, the agent, the apps and the bans at a glance."""
    settings = appplane.load_settings(home)
    status = _asked(proxyanswers.seen(settings, now=time.time()))
    if as_json:
        show.json(status)
        return
    show.line(f"listens on {status.listen}, HAProxy {status.haproxy}, up for {status.uptime_s} s")
    show.line(
        f"{status.connections} of {status.most_connections} connections, {show.count(status.requests, 'request')}"
    )
    show.line("the agent answers" if status.agent_answers else "the agent does not answer: known apps and people go on")
    show.line(f"{show.count(sum(1 for ban in status.bans if ban.banned_for_s), 'client')} banned")
    if status.frp is not None:
        where = "FRP on" if status.frp.is_up else "frps does not listen on"
        came = ", ".join(f"{each.name} ({each.port})" for each in status.frp.tunnels) or "nothing"
        show.line(f"{where} {status.frp.listen}, {came} came through")
    if status.apps:
        show.table(
            ("APP", "VERSION", "STATE", "WHERE", "ROUTES", "REQUESTS", "ERRORS", "P50", "P99"),
            [
                (
                    *(app.id, app.version, "listens" if app.listens else "does not listen", app.upstream),
                    *map(str, (app.route_count, app.figures.requests, app.figures.errors)),
                    *("–" if wait is None else f"{wait} ms" for wait in (app.figures.p50_ms, app.figures.p99_ms)),
                )
                for app in status.apps
            ],
        )


@proxy_command.command("deployments")
@options.as_json
@options.with_home
def deployments_command(home: Path, as_json: bool) -> None:
    """Show what was done lately to deploy apps, the newest first, and what is under way."""
    from harp.daemon import deployments  # aiodocker is for who has containers

    found = StepList(steps=deployments.steps(appplane.load_settings(home).run))
    if as_json:
        show.json(found)
    elif found.steps:
        show.table(
            ("WHEN", "APP", "STEP", "HOW"),
            [(show.moment(one.began_at), one.app, one.verb, _how(one)) for one in found.steps],
        )
    else:
        show.line("no app was deployed lately")


def _how(step: StepView) -> str:
    if step.ended_at is None:
        return "under way" if step.progress is None else f"under way: {_pulled(step.progress)}"
    return f"done in {step.ended_at - step.began_at:.1f} s" if step.ok else f"failed: {step.text}"


def _pulled(progress: PullView) -> str:
    sizes = f"{show.size(progress.done_bytes)} of {show.size(progress.size_bytes)}"
    return f"{progress.layers_done} of {show.count(progress.layers, 'layer')}, {sizes}"


@proxy_command.command("bans")
@options.as_json
@options.with_home
def bans_command(home: Path, as_json: bool) -> None:
    """List the clients that failed lately, and for how long they are refused."""
    settings = appplane.load_settings(home)
    found = BanList(bans=_asked(proxyanswers.failed_lately(settings, now=time.time())))
    if as_json:
        show.json(found)
    elif found.bans:
        rows = [
            (ban.client, str(ban.failures), f"{ban.banned_for_s:.0f} s" if ban.banned_for_s else "–")
            for ban in found.bans
        ]
        show.table(("CLIENT", "FAILURES", "BANNED FOR"), rows)
    else:
        show.line("nobody failed lately")


@proxy_command.command("unban")
@click.argument("ip")
@options.with_home
def unban_command(home: Path, ip: str) -> None:
    """Forget the failures of the client IP (of an IPv6 address: of its network)."""
    settings = appplane.load_settings(home)
    if not _asked(bans.lift(_socket(settings), ip)):
        raise HarpError(f"{ip} has no failures", hint="harp proxy bans lists who has")
    show.line(f"the failures of {ip} are forgotten")


@proxy_command.command("log")
@click.argument("container")
@click.option("--lines", default=200, show_default=True, help="The last so many.")
@options.with_home
def log_command(home: Path, container: str, lines: int) -> None:
    """Show what the CONTAINER of a deployed app has said last, without what looks like a secret."""
    from harp.daemon import deployments  # aiodocker is for who has containers

    engines = frpview.engines(appplane.load_settings(home))
    for line in asyncio.run(deployments.log(engines, container, lines)):
        show.line(line)


@proxy_command.command("config")
@options.with_home
def config_command(home: Path) -> None:
    """Print HAProxy's configuration as it was compiled, without what is secret."""
    click.echo(proxyanswers.configuration(appplane.load_settings(home)), nl=False)


@proxy_command.command("doctor")
@click.option("--public", metavar="URL", help="Nextcloud's address for browsers, where it is not NC_INSTANCE_URL.")
@click.option("--control", metavar="URL", help="Look only whether Harp is reached at this URL, as AppAPI was told it.")
@options.as_json
@options.with_home
def doctor_command(home: Path, public: str | None, control: str | None, as_json: bool) -> int:
    """Walk both ways, Nextcloud's and the browsers', while the proxy runs; each ✗ says what to change."""
    from harp.daemon import proxydoctor  # supervisor and agent start without it

    settings = appplane.load_settings(home)
    if control is None:
        looking = proxydoctor.checks(settings, instance_url(public or settings.nextcloud))
    else:
        looking = proxydoctor.control(settings, instance_url(control))
    report = Report(checks=_asked(looking))
    if as_json:
        show.json(report)
    else:
        for check in report.checks:
            show.line(f"{'✓' if check.ok else '✗'} {check.name}: {check.text}")
            for line in check.remedy.splitlines():
                show.line(f"    {line}")
    return 0 if all(check.ok for check in report.checks) else 1


def _socket(settings: ProxySettings) -> RuntimeSocket:
    return RuntimeSocket(settings.run / "haproxy.sock")


def _asked(question: Coroutine[Any, Any, _T]) -> _T:
    try:
        return asyncio.run(question)
    except RuntimeSocketError as error:
        raise NotRunningError(error.message, hint="start it: harp proxy") from None
