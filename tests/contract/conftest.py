# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the tests of the contract share: one Nextcloud, one HaRP in front of it, ExApps; and the table at the end."""

import contextlib
import itertools
import os
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.contract import instance
from tests.contract.docked import Docked, relayed
from tests.contract.instance import Harp, Program
from tests.contract.talk import Caller, next_name
from tests.contract.waiting import Waits, begun
from tests.fakes.exapp import ExApp
from tests.fakes.haproxy import HAPROXY
from tests.fakes.nextcloud import Nextcloud
from tests.fakes.served import Served
from tests.integration import engine

KEY = os.environ.get("HARP_TEST_KEY") or "the-shared-key-of-this-run"
Launch = Callable[..., AbstractContextManager[Harp]]


class Cloud(Nextcloud):
    """The stand-in with its server."""

    def __init__(self) -> None:
        super().__init__(key=KEY)
        self.served = Served(self.answer, port=instance.NEXTCLOUD_PORT)

    def down(self) -> AbstractContextManager[None]:
        return self.served.down()


@pytest.fixture(scope="session")
def nextcloud() -> Iterator[Cloud]:
    cloud = Cloud()
    cloud.served.start()
    yield cloud
    cloud.served.stop()


@pytest.fixture(scope="session")
def settings(nextcloud: Cloud) -> Callable[..., dict[str, str]]:
    """The variables of one more HaRP, with ports of its own; None takes one away."""

    def chosen(**changed: str | None) -> dict[str, str]:
        asked: dict[str, str | None] = {
            **instance.own_addresses(),
            "HP_HAPROXY": HAPROXY,
            "HP_SHARED_KEY": KEY,
            "NC_INSTANCE_URL": nextcloud.served.url,
            "HP_FRP_DISABLE_TLS": "true",
            "HP_LOG_LEVEL": "debug",
            **changed,
        }
        return {name: value for name, value in asked.items() if value is not None}

    return chosen


@pytest.fixture(scope="session")
def start(
    settings: Callable[..., dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Program]]:
    """Start the command with other settings, and see what becomes of it."""
    if instance.URL:
        pytest.skip("needs a HaRP of its own: unset HARP_TEST_URL")
    if shutil.which(HAPROXY) is None:
        pytest.skip(f"{HAPROXY} is not installed")
    programs: list[Program] = []

    def begun(folder: Path | None = None, exactly: Mapping[str, str] | None = None, **changed: str | None) -> Program:
        program = instance.started(folder or tmp_path_factory.mktemp("harp"), exactly or settings(**changed))
        programs.append(program)
        return program

    yield begun
    for program in programs:
        if program.process.poll() is None:
            program.end()


@pytest.fixture(scope="session")
def launch(settings: Callable[..., dict[str, str]], start: Callable[..., Program]) -> Launch:
    """One more HaRP with other settings, that answers."""

    @contextlib.contextmanager
    def launched(folder: Path | None = None, key: str = KEY, **changed: str | None) -> Iterator[Harp]:
        asked = settings(**changed)
        program = start(folder, exactly=asked)
        try:
            yield instance.ready(program, asked, key)
        finally:
            program.end()

    return launched


@pytest.fixture(scope="session")
def harp(request: pytest.FixtureRequest) -> Iterator[Harp]:
    """The HaRP that most tests share."""
    if instance.URL:
        yield instance.running(KEY)
        return
    with request.getfixturevalue("launch")() as started:
        yield started


@pytest.fixture(scope="session")
def docked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docked]:
    """A HaRP with a Docker Engine of its own. One that we start is told of the socket; others reach it on loopback."""
    if reason := engine.why_not():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("engine")
    given = folder / "given"
    given.mkdir()
    with contextlib.ExitStack() as stack:
        dockerd = stack.enter_context(engine.opened(folder / "dockerd"))
        if instance.URL or instance.IS_REFERENCE:
            port = stack.enter_context(relayed(dockerd.socket))
            own = request.getfixturevalue("harp")
        else:
            port = 24_000
            launched = request.getfixturevalue("launch")(
                HP_DOCKER_ENGINES=f"24000={dockerd.url}", HP_BIND_MOUNTS=str(given)
            )
            own = stack.enter_context(launched)
        yield Docked(own, dockerd, port, given)


@pytest.fixture
def exapp() -> Iterator[ExApp]:
    app = ExApp()
    app.start()
    yield app
    app.stop()


@pytest.fixture
def someone(harp: Harp) -> Caller:
    """A browser at an address of its own."""
    return harp.caller()


@pytest.fixture
def another(harp: Harp) -> Caller:
    return harp.caller()


@pytest.fixture
def known(nextcloud: Cloud, exapp: ExApp) -> Callable[..., str]:
    """Make Nextcloud know an app with these routes, or this record; its id."""

    def made(*routes: Mapping[str, Any], **fields: Any) -> str:
        app = next_name("app")
        nextcloud.apps[app] = exapp.record(*routes, **fields)
        return app

    return made


@pytest.fixture
def person(nextcloud: Cloud) -> Callable[..., str]:
    """Make Nextcloud know a credential; the credential, with which only this test comes."""

    def made(
        user: str = "alice", level: int = 1, *, credential: str | None = None, said: int | str | None = None
    ) -> str:
        chosen = credential or next_name("passphrase-of-")
        nextcloud.people[chosen] = (user, level) if said is None else said
        return chosen

    return made


# --- what takes long --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def waits(request: pytest.FixtureRequest) -> Iterator[Waits]:
    with contextlib.ExitStack() as stack:
        if instance.URL:
            cloud, own = request.getfixturevalue("nextcloud"), request.getfixturevalue("harp")
        else:
            cloud = Cloud()
            cloud.served.start()
            stack.callback(cloud.served.stop)
            own = stack.enter_context(request.getfixturevalue("launch")(NC_INSTANCE_URL=cloud.served.url))
        app = ExApp()
        app.start()
        stack.callback(app.stop)
        yield begun(stack.enter_context(ThreadPoolExecutor(8)), own, cloud, app)


@pytest.fixture(scope="session", autouse=True)
def _waits_begin_first(request: pytest.FixtureRequest) -> None:
    """A HaRP that runs already has one Nextcloud, which other tests take down: there it all happens at the end."""
    if not instance.URL and any("waits" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("waits")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: "waits" in getattr(item, "fixturenames", ()))


# --- the table --------------------------------------------------------------------------------------------------------

_OUTCOMES = pytest.StashKey[dict[int, list[str]]]()
_DEVIATES = pytest.StashKey[dict[int, str]]()


def numbers_of(item: pytest.Item) -> list[int]:
    return list(itertools.chain.from_iterable(mark.args for mark in item.iter_markers("contract")))


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_OUTCOMES] = {}
    config.stash[_DEVIATES] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" or report.outcome != "passed":
        for number in numbers_of(item):
            item.config.stash[_OUTCOMES].setdefault(number, []).append(report.outcome)
            for mark in item.iter_markers("deviates"):
                item.config.stash[_DEVIATES][number] = mark.args[0]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    outcomes = config.stash[_OUTCOMES]
    if not outcomes:
        return
    lines = table(outcomes, config.stash[_DEVIATES])
    failed = [str(number) for number, found in sorted(outcomes.items()) if "failed" in found]
    skipped = [str(number) for number, found in sorted(outcomes.items()) if set(found) == {"skipped"}]
    terminalreporter.section("the contract")
    terminalreporter.line(f"{len(outcomes)} numbers, {len(outcomes) - len(failed) - len(skipped)} hold")
    if failed:
        terminalreporter.line(f"do not hold: {', '.join(failed)}")
    if skipped:
        terminalreporter.line(f"not tried: {', '.join(skipped)}")
    if target := os.environ.get("HARP_TEST_TABLE"):
        Path(target).write_text("\n".join(lines) + "\n")


def table(outcomes: dict[int, list[str]], deviates: dict[int, str]) -> list[str]:
    """A Markdown table, one line a number; the word for a number is the worst of its tests."""
    lines = ["| number | outcome | deviation |", "| --- | --- | --- |"]
    for number, found in sorted(outcomes.items()):
        worst = next((word for word in ("failed", "passed", "skipped") if word in found), "skipped")
        said = "" if instance.IS_REFERENCE else deviates.get(number, "")
        lines.append(f"| {number} | {worst} | {said} |")
    return lines
