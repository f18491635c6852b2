# SPDX-License-Identifier: AGPL-3.0-or-later
"""The app plane's agent, wired: settings → registry, callers, judge → SPOP, control API, figures, publisher."""

import asyncio
import functools
import hashlib
import logging
import random
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from harp.base.errors import HarpError
from harp.base.runtime import Backoff, Counters, SystemClock, Tasks
from harp.daemon import appfrp
from harp.daemon.appplane import load_settings
from harp.proxy.appapi import ControlApi
from harp.proxy.callers import Callers, Numbers
from harp.proxy.deploy import steps
from harp.proxy.deploy.docker.address import own_container
from harp.proxy.deploy.docker.backend import DockerBackend
from harp.proxy.deploy.docker.call import Surroundings
from harp.proxy.deploy.docker.pull import Pulls
from harp.proxy.deploy.docker.watch import Watch
from harp.proxy.deploy.kubernetes import NoKubernetes
from harp.proxy.deploy.steps import Journal, Recorded, Step
from harp.proxy.edge import bans, files
from harp.proxy.edge.agent import Agent
from harp.proxy.edge.figures import Figures
from harp.proxy.edge.instances import Instances
from harp.proxy.edge.matcher import ProcessMatcher
from harp.proxy.edge.process import find_haproxy, maxconn, version_of
from harp.proxy.edge.publisher import Publisher
from harp.proxy.edge.runtime import RuntimeSocketError
from harp.proxy.judge import Judge
from harp.proxy.model import AppId, ExApp
from harp.proxy.nextcloud import NextcloudClient, SystemResolver
from harp.proxy.policy.compile import Known
from harp.proxy.policy.shape import Shape
from harp.proxy.registry import Registry
from harp.proxy.settings import ProxySettings

_log = logging.getLogger(__name__)

REMEMBER_S = 2.0
APPS_FILE = "apps.json"
MOUNTINFO = Path("/proc/self/mountinfo")


def run(home: Path) -> int:
    """Runs the agent until TERM; the supervisor starts it."""
    settings = load_settings(home)
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s agent: %(message)s", stream=sys.stderr
    )
    # Its debug lines hold nothing that a person who looks for a fault needs.
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    asyncio.run(_run(home, settings))
    return 0


def shape_of(settings: ProxySettings) -> Shape:
    """What the settings, the certificate's place and the descriptors make of HAProxy's configuration."""
    # HAProxy runs in its folder: what it reads there has short names, however deep the folder lies.
    run = "."
    has_certificate = settings.certificate.is_file()
    _version, has_exporter = version_of(find_haproxy(settings.haproxy), with_instances=bool(settings.exapp_upstreams))
    return Shape(
        run=run,
        binds=(settings.http,),
        tls_binds=(settings.https,) if has_certificate else (),
        certificate=str(settings.certificate.absolute()) if has_certificate else "",
        agent=settings.agent or f"unix@{run}/agent.sock",
        control=f"{run}/control.sock",
        key_digest=hashlib.sha256(settings.key.encode()).hexdigest().upper(),
        trusted=tuple(str(network) for network in settings.trusted),
        timeout_connect=settings.timeout_connect,
        timeout_client=settings.timeout_client,
        timeout_server=settings.timeout_server,
        timeout_tunnel=settings.timeout_tunnel,
        ban_count=settings.ban_count,
        ban_window_s=settings.ban_window_s,
        maxconn=maxconn(),
        threads=settings.threads,
        access_log=settings.access_log,
        forward_credentials=settings.forward_credentials,
        control_via_proxy=settings.control_via_proxy,
        has_exporter=has_exporter,
        engines=settings.engines,
        pools=settings.exapp_upstreams,
    )


async def _run(home: Path, settings: ProxySettings) -> None:
    clock, counters = SystemClock(), Counters()
    ending, seeded = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    matcher = ProcessMatcher()
    run = settings.run
    async with (
        Tasks("agent") as tasks,
        NextcloudClient(settings.nextcloud, settings.key, settings.ca_file, counters) as nextcloud,
    ):
        resolver = SystemResolver()
        registry = Registry(nextcloud, resolver, clock, tasks, counters)
        registry.place_instances(settings.exapp_upstreams)
        callers = Callers(nextcloud, settings.session_lifetime_s, clock, tasks, counters)
        numbers = Numbers()
        publisher = Publisher(run, shape_of(settings), lambda: known_to(registry), clock, counters)
        registry.published = publisher.published
        instances = Instances(publisher.pools, resolver, publisher.socket, tasks)

        def changed() -> None:
            remember_apps(run, registry)
            publisher.wake()

        registry.changed = changed
        agent = Agent(Judge(registry, callers, numbers, matcher).rule, tasks, counters)
        frp = appfrp.wired(settings, registry, clock, counters)
        around = Surroundings(settings.bind_mounts, frp.tunnels, own_container(files.read(MOUNTINFO) or "") or "")
        watch = Watch(settings.engines, around)
        registry.whereabouts, registry.listening, watch.moved = watch.upstream, watch.listening, registry.moved
        show_engines(settings, watch, counters)
        before = steps.decoded(files.read(run / steps.FILE_NAME))
        journal = Journal(clock.now, lambda done: remember_steps(run, done), before)
        docker = DockerBackend(settings.engines, around)
        pulls = Pulls(docker.engine, journal)
        control = ControlApi(settings.key, registry, Recorded(docker, journal), NoKubernetes(), pulls)
        figures = Figures(run, counters, clock, settings.ban_window_s, seeded.is_set, frp.remark)

        def haproxy_is_new() -> None:
            publisher.seed()
            tasks.start("bans", _give_back(run, seeded))

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ending.set)
        loop.add_signal_handler(signal.SIGUSR1, haproxy_is_new)

        def read_again() -> None:
            """Key, certificate and HAProxy's part of the settings; what only a start can change waits for one."""
            try:
                found = replace(load_settings(home), engines=settings.engines)
                publisher.reshape(shape_of(found))
            except HarpError as error:
                _log.error("the settings cannot be read again, the old ones go on: %s", error)
                return
            control.rekey(found.key)
            nextcloud.rekey(found.key)
            frp.rekey(found.key)
            registry.place_instances(found.exapp_upstreams)

        loop.add_signal_handler(signal.SIGHUP, read_again)
        try:
            registry.preload(remembered_apps(run))
            publisher.write_files()
            (run / "agent.sock").unlink(missing_ok=True)
            await agent.start(settings.agent or f"unix@{run}/agent.sock")
            await control.start(run / "control.sock")
            await frp.start()
            await figures.start(settings.metrics)
            duties = {
                "publisher": publisher.follow,
                "freshness": registry.keep_fresh,
                "engines": watch.follow,
                "addresses": registry.keep_found,
                "instances": instances.follow,
                "memory": lambda: _remember(run, numbers, publisher, clock, seeded),
            }
            for name, duty in duties.items():
                tasks.supervise(name, duty, backoff=Backoff(), jitter=random.random, clock=clock)
            if (run / "haproxy.sock").exists():
                haproxy_is_new()
            files.write(run / "ready", "ready\n")
            await ending.wait()
        finally:
            agent.close()
            await control.close()
            await frp.close()
            await figures.close()
            await matcher.close()


def show_engines(settings: ProxySettings, watch: Watch, counters: Counters) -> None:
    """Two figures for each engine."""
    for port in (engine.port for engine in settings.engines):
        up, apps = functools.partial(watch.hears, port), functools.partial(watch.count, port)
        counters.gauge("harp_proxy_engine_up", "Whether a Docker Engine answers.", up, engine=str(port))
        counters.gauge("harp_proxy_engine_apps", "Apps that run on a Docker Engine.", apps, engine=str(port))


def known_to(registry: Registry) -> Mapping[AppId, Known]:
    """The apps that HAProxy can be told of: those whose host has an address."""
    return {name: Known(app, upstream) for name, (app, upstream) in registry.known().items() if upstream is not None}


def remember_apps(run: Path, registry: Registry) -> None:
    """Writes the records down for the next start."""
    apps = [app for app, _upstream in registry.known().values()]
    with files.for_the_next_start(run / APPS_FILE):
        files.write(run / APPS_FILE, msgspec.json.encode(apps).decode())


def remember_steps(run: Path, done: list[Step]) -> None:
    """Writes down how deployments stand, for whoever asks, and for the next start."""
    with files.for_the_next_start(run / steps.FILE_NAME):
        files.write(run / steps.FILE_NAME, steps.encoded(done))


def remembered_apps(run: Path) -> list[ExApp]:
    """The records of the last run; none where the file is not good."""
    text = files.read(run / APPS_FILE)
    try:
        return [] if text is None else msgspec.json.decode(text, type=list[ExApp])
    except msgspec.DecodeError:
        return []


async def _give_back(run: Path, seeded: asyncio.Event) -> None:
    """As soon as HAProxy listens."""
    for _ in range(100):
        try:
            await bans.give_back(run, bans.saved(run))
            break
        except OSError:
            await asyncio.sleep(0.1)
    else:
        _log.warning("bans of the last run could not be given back: HAProxy does not listen")
    seeded.set()


async def _remember(
    run: Path,
    numbers: Numbers,
    publisher: Publisher,
    clock: SystemClock,
    seeded: asyncio.Event,
) -> None:
    """Writes down what the next start wants to know, and forgets numbers that nobody has any more."""
    await seeded.wait()
    while True:
        try:
            bans.save(run, await bans.read(publisher.socket))
            left = numbers.sweep(clock.now())
            if left is not None:
                await publisher.drop_numbers(left)
        except RuntimeSocketError as error:
            _log.debug("HAProxy cannot be asked just now: %s", error)
        await asyncio.sleep(REMEMBER_S)
