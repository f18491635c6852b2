# SPDX-License-Identifier: AGPL-3.0-or-later
"""The life of an app that is started by hand, led by AppAPI's own commands."""

import json
import time
from collections.abc import Callable, Iterator

import pytest

from tests.contract import instance
from tests.e2e.browser import Reply
from tests.e2e.cloud import ADMIN
from tests.e2e.conftest import KEY
from tests.e2e.exapp import Hello
from tests.e2e.site import Site


@pytest.fixture
def app(site: Site, request: pytest.FixtureRequest) -> Iterator[Hello]:
    """A registered app of this test's own."""
    made = Hello(f"app{abs(hash(request.node.name)) % 10**6}", site.cloud.url)
    made.start()
    site.register(made)
    yield made
    made.stop()
    site.cloud.occ_tried("app_api:app:unregister", made.app, "--force", "--rm-data")


def within(patience_s: float, is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + patience_s
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def public(site: Site, app: Hello) -> Reply:
    return site.browser().get(f"/exapps/{app.app}/public")


@pytest.mark.contract(150)
def test_from_the_first_command_to_the_last(site: Site) -> None:
    app, occ = Hello("whole", site.cloud.url), site.cloud.occ
    app.start()
    try:
        assert "successfully registered" in site.register(app)
        listed = occ("app_api:app:list")
        assert "whole" in listed
        assert "[enabled]" in listed
        assert public(site, app).status == 200

        assert "successfully disabled" in occ("app_api:app:disable", "whole")
        assert "[disabled]" in occ("app_api:app:list")
        assert "successfully enabled" in occ("app_api:app:enable", "whole")
        assert public(site, app).status == 200

        assert "successfully unregistered" in occ("app_api:app:unregister", "whole", "--rm-data")
        assert "whole" not in occ("app_api:app:list")
        assert public(site, app).status == 404
    finally:
        app.stop()


def test_an_update_brings_the_new_version_and_its_routes(site: Site, app: Hello) -> None:
    assert public(site, app).json["headers"]["ex-app-version"] == "1.0.0"
    app.stop()
    app.version = "1.1.0"
    app.start()

    assert "successfully updated" in site.update(app)

    said = public(site, app).json
    assert (said["version"], said["headers"]["ex-app-version"]) == ("1.1.0", "1.1.0")


def test_an_app_that_restarts_is_reached_again_within_two_seconds(site: Site, app: Hello) -> None:
    app.stop()
    assert public(site, app).status == 503
    app.start()

    assert within(2.0, lambda: public(site, app).status == 200)


def test_what_appapi_says_of_the_daemon(site: Site) -> None:
    assert "manual" in site.cloud.occ("app_api:daemon:list")
    info = site.harp.control("GET", "/info").json
    assert tuple(map(int, info["version"].split("."))) >= (0, 3, 0)


def test_appapis_own_check_of_the_version_is_content(site: Site) -> None:
    # Others of its checks may not be, and say so first; a Harp of other tests, which it knows too, may have ended.
    _, said = site.cloud.occ_tried("setupchecks", "--output=json")
    found = json.loads(said.splitlines()[-1])["system"].get("OCA\\AppAPI\\SetupChecks\\HarpVersionCheck")
    if found is None:
        pytest.skip("this AppAPI does not look at the version")
    assert '"manual"' not in (found["description"] or ""), found


def test_a_harp_that_starts_again_needs_nobody(site: Site, app: Hello, harp_settings: dict[str, str]) -> None:
    program = site.harp.program
    assert program is not None
    assert program.end() == 0
    assert public(site, app).status == 502, "nginx has nobody to ask"

    again = instance.started(program.log.parent, harp_settings)
    instance.ready(again, harp_settings, KEY)
    site.harp.program = again

    assert public(site, app).status == 200
    assert site.browser(ADMIN).get(f"/exapps/{app.app}/admin").status == 200
    assert "successfully disabled" in site.cloud.occ("app_api:app:disable", app.app)


def test_two_apps_do_not_disturb_each_other(site: Site, app: Hello) -> None:
    other = Hello("other", site.cloud.url)
    other.start()
    try:
        site.register(other)
        site.cloud.occ("app_api:app:unregister", "other", "--rm-data")
        assert public(site, app).status == 200
        assert public(site, app).json["headers"]["ex-app-id"] == app.app
    finally:
        other.stop()
