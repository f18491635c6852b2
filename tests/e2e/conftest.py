# SPDX-License-Identifier: AGPL-3.0-or-later
"""One Nextcloud for all of these tests; without one, each says what it needs."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.contract import instance
from tests.contract.instance import Harp
from tests.e2e import cloud, complaints, mirrored
from tests.e2e.cloud import Cloud
from tests.e2e.desk import Desk
from tests.e2e.exapp import Hello
from tests.e2e.site import Site, documented_location
from tests.fakes.haproxy import HAPROXY, needs_haproxy

KEY = "the-key-that-both-have"
_NEXTCLOUD = pytest.StashKey[Cloud]()
_LOGGED = pytest.StashKey[int]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    reason = cloud.why_not()
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.timeout(600))
            item.add_marker(needs_haproxy)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if nextcloud := item.config.stash.get(_NEXTCLOUD, None):
        item.stash[_LOGGED] = len(nextcloud.log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure comes with what Nextcloud had to say meanwhile: its log is gone with it."""
    report = yield
    if report.failed and (nextcloud := item.config.stash.get(_NEXTCLOUD, None)):
        said = complaints.of(nextcloud.log[item.stash.get(_LOGGED, 0) :])
        report.sections.append(("nextcloud.log", "\n".join(said) or "no warning and no error"))
    return report


@pytest.fixture(scope="session")
def nextcloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    with cloud.opened(Path(os.environ["NEXTCLOUD"])) as opened:
        request.config.stash[_NEXTCLOUD] = opened
        yield opened


@pytest.fixture(scope="session")
def harp_settings(nextcloud: Cloud) -> dict[str, str]:
    """All browsers of these tests share an address, so that it bans late."""
    return {
        **instance.own_addresses(),
        "HP_SHARED_KEY": KEY,
        "NC_INSTANCE_URL": nextcloud.url,
        "HP_HAPROXY": HAPROXY,
        "HP_TRUSTED_PROXY_IPS": "127.0.0.1",
        "HP_BLACKLIST_COUNT": "100",
    }


@pytest.fixture(scope="session")
def harp(harp_settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harp]:
    """``harp proxy`` for that Nextcloud."""
    program = instance.started(tmp_path_factory.mktemp("harp"), harp_settings)
    started = instance.ready(program, harp_settings, KEY)
    yield started
    assert started.program is not None
    started.program.end()


@pytest.fixture(scope="session")
def site(nextcloud: Cloud, harp: Harp) -> Site:
    """nginx leads to Harp, and AppAPI knows it as the daemon ``manual``."""
    nextcloud.place(documented_location(harp.port))
    made = Site(nextcloud, harp)
    made.tell_nextcloud("manual", "manual-install", "--set-default")
    for name in ("alice", cloud.ADMIN):
        nextcloud.person(name)
    return made


@pytest.fixture(scope="session")
def harpbridge(nextcloud: Cloud) -> Cloud:
    """The Nextcloud, with Harp Bridge in it."""
    nextcloud.install_app(Path(__file__).resolve().parents[2] / "harpbridge")
    return nextcloud


@pytest.fixture(scope="session")
def hello(site: Site) -> Iterator[Hello]:
    """An app that was started by hand and registered."""
    app = Hello("hello", site.cloud.url)
    app.start()
    try:
        site.register(app)
        yield app
    finally:
        app.stop()


@pytest.fixture
def desk(nextcloud: Cloud, tmp_path: Path) -> Desk:
    top = tmp_path.name
    made = Desk(nextcloud, tmp_path / "folder", top)
    mirrored.make_folder(nextcloud, made.alice, top)
    made.folder.mkdir()
    return made
