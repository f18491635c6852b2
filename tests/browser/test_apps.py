# SPDX-License-Identifier: AGPL-3.0-or-later
"""The page of apps, with a real HAProxy behind it: an app with its routes and figures, and a ban that is lifted."""

import os
import time
import urllib.error
import urllib.request
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Browser, Page, expect

from harp.proxy.deploy import steps
from harp.proxy.deploy.steps import Progress, Step
from tests.browser import visit
from tests.fakes.exapp import ExApp, route
from tests.fakes.haproxy import HAPROXY, needs_haproxy
from tests.fakes.nextcloud import Nextcloud
from tests.fakes.ports import free_port
from tests.fakes.served import Served
from tests.integration.office import Desk, Office, console_address, until

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(180), needs_haproxy]
KEY = "a-shared-key-of-this-test"


def answered(address: str, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


def with_proxy(desk: Desk, nextcloud: str, address: str) -> Desk:
    desk.home.mkdir(mode=0o700, exist_ok=True)
    variables = {
        "HP_HAPROXY": HAPROXY,
        "HP_SHARED_KEY": KEY,
        "NC_INSTANCE_URL": nextcloud,
        "HP_EXAPPS_ADDRESS": address,
        "HP_METRICS_ADDRESS": f"127.0.0.1:{free_port()}",
        "HP_CERTIFICATE": str(desk.home / "no-certificate.pem"),
    }
    file = desk.home / "proxy.env"
    file.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    file.chmod(0o600)
    return desk.start()


def shown(page: Page, name: str) -> None:
    if folder := os.environ.get("HARP_TEST_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def looked_at(page: Page, name: str) -> None:
    """axe-core finds nothing, and on a phone nothing is cut off."""
    assert visit.faults(page) == []
    shown(page, name)
    before = page.viewport_size
    assert before is not None
    page.set_viewport_size({"width": 390, "height": 844})
    shown(page, f"{name}-phone")
    assert visit.cut_off(page) == []
    page.set_viewport_size(before)


def test_an_app_is_shown_and_a_ban_lifted(office: Office, browser: Browser, tmp_path: Path) -> None:
    app, nextcloud = ExApp(), Nextcloud(key=KEY)
    app.start()
    nextcloud.apps["app"] = app.record(route("^/public"), route("^/admin", 2))
    served = Served(nextcloud.answer).start()
    address = f"127.0.0.1:{free_port()}"
    try:
        desk = with_proxy(office.desk("ada", console=console_address()), served.url, address)
        until(lambda: answered(address, "/exapps/app/public") == 200, "the app answers through the proxy")
        until(lambda: answered(address, "/exapps/app/admin") == 429, "we are banned")

        page = visit.let_in(visit.person(browser), desk)
        page.get_by_role("link", name="Apps").click()
        expect(page.get_by_role("heading", name="app", exact=True)).to_be_visible()
        expect(page.locator("#apps .state")).to_have_text("listens")
        page.get_by_text("2 routes").click()
        expect(page.get_by_text("administrators")).to_be_visible()
        expect(page.get_by_text("refused for")).to_be_visible()
        looked_at(page, "apps-running")
        page.get_by_role("button", name="Lift 127.0.0.1").click()
        expect(page.get_by_text("the failures of 127.0.0.1 are forgotten")).to_be_visible()
        expect(page.get_by_text("Nobody.")).to_be_visible()
        for _ in range(20):
            assert answered(address, "/exapps/app/public") == 200
        page.reload()
        expect(page.get_by_text("until the app answered, of the last 20 requests")).to_be_visible()
        expect(page.get_by_text("p99")).to_be_visible()
        looked_at(page, "apps-timed")

        with app.served.down():
            page.reload()
            expect(page.locator("#apps .state")).to_have_text("does not listen")

        # As the agent writes it down, while AppAPI has an app deployed; the page follows by itself.
        begun = Step(app="<b>mail", verb="create", began_at=time.time())
        kept = desk.home / "proxy" / steps.FILE_NAME
        come = Progress(layers=7, layers_done=2, size_bytes=300 << 20, done_bytes=75 << 20)
        pull = Step(app="ghcr.io/a/<b>mail:1", verb="pull", began_at=time.time(), progress=come)
        kept.write_text(steps.encoded([pull]))
        page.reload()
        expect(page.get_by_text("2 of 7 layers unpacked, 75.0 MiB of 300 MiB fetched")).to_be_visible()
        expect(page.get_by_role("progressbar", name="fetched")).to_be_visible()
        assert visit.faults(page) == []
        shown(page, "apps-pull")
        further = msgspec.structs.replace(come, layers_done=6, done_bytes=299 << 20)
        kept.write_text(steps.encoded([msgspec.structs.replace(pull, progress=further)]))
        expect(page.get_by_text("6 of 7 layers unpacked, 299 MiB of 300 MiB fetched")).to_be_visible(timeout=15_000)
        kept.write_text(steps.encoded([begun]))
        expect(page.get_by_text("make the container")).to_be_visible(timeout=15_000)
        expect(page.get_by_text("under way")).to_be_visible()
        assert visit.faults(page) == []
        ended = msgspec.structs.replace(begun, ended_at=time.time(), ok=False, text="no space left; token=geheim123456")
        kept.write_text(steps.encoded([ended]))
        expect(page.get_by_text("no space left")).to_be_visible(timeout=15_000)
        assert "geheim" not in page.content()
        looked_at(page, "apps-deployments")

        page.get_by_role("link", name="HAProxy's configuration").click()
        expect(page.get_by_role("region", name="HAProxy's configuration")).to_contain_text("(REDACTED)")
        looked_at(page, "proxy-config")
        page.get_by_role("main").get_by_role("link", name="Apps").click()

        page.get_by_role("link", name="Check the ways to the apps").click()
        expect(page.get_by_role("heading", name="1 thing needs care")).to_be_visible()
        # No web server leads /exapps/ to the proxy here: the lines to change are shown as they have to be written.
        expect(page.get_by_text("location /exapps/")).to_be_visible()
        looked_at(page, "proxy-doctor")
        page.get_by_label("Nextcloud's address for browsers").fill(f"http://{address}")
        page.get_by_role("button", name="Check").click()
        expect(page.get_by_text("/exapps/ does not arrive")).to_have_count(0, timeout=20_000)
        page.get_by_label("Or only whether Harp is reached").fill(f"http://{address}")
        page.get_by_role("button", name="Look there alone").click()
        expect(page.locator(".checks strong")).to_have_text(["control address", "shared key", "version"])
    finally:
        served.stop()
        app.stop()
