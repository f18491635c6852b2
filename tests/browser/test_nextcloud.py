# SPDX-License-Identifier: AGPL-3.0-or-later
"""The console inside Nextcloud: a real nginx, HAProxy and daemon, and a browser that has Nextcloud's session.

Nextcloud itself and harpbridge in it are stand-ins here; the real ones are in ``e2e/test_console.py``.
"""

import base64
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import web
from playwright.sync_api import Browser, Page, expect

from harp.bridge import browsing
from harp.cli.client import at
from tests.browser import visit
from tests.browser.test_apps import with_proxy
from tests.fakes.exapp import route
from tests.fakes.haproxy import needs_haproxy
from tests.fakes.nextcloud import ADMIN, ORDINARY, PASSPHRASE, Nextcloud
from tests.fakes.nginx import NGINX, needs_nginx
from tests.fakes.ports import free_port
from tests.fakes.served import Served
from tests.integration.office import NAME, Desk, Office, until

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(240), needs_haproxy, needs_nginx]

KEY = "a-shared-key-of-this-test"
SECRET = "what-appapi-made-up"
ENTRY = "/index.php/apps/harpbridge/console"
INSIDE = "/exapps/harp/console"


@dataclass
class Bridge:
    """Nextcloud with harpbridge: it knows who is an administrator, and which folders are whose."""

    nextcloud: Nextcloud
    desk: Desk | None = None
    shared: dict[str, list[str]] = field(default_factory=dict)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path != ENTRY:
            return await self.nextcloud.answer(request)
        known = self.nextcloud.people.get(request.cookies.get(PASSPHRASE, ""))
        if not isinstance(known, tuple) or self.desk is None:
            return web.Response(status=401, text="log in")
        user, level = known
        guest = {"user": user, "is_admin": level == ADMIN, "folders": self.shared.get(user, []), "entry": ENTRY}
        self.desk.client.post(at("console", "guests"), browsing.GuestPass, guest)
        location = f"{INSIDE}/in?to={quote(request.query.get('to', '/'), safe='')}"
        return web.Response(status=303, headers={"Location": location})


@dataclass
class Site:
    """The address that people open, and what is behind it."""

    url: str
    desk: Desk
    bridge: Bridge

    def asked(self, path: str, **headers: str) -> tuple[int, str]:
        request = urllib.request.Request(self.url + path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def opened(self, browser: Browser, session: str, **options: object) -> Page:
        """A window of someone who is logged in to the Nextcloud."""
        context = visit.person(browser, **options)
        context.add_cookies([{"name": PASSPHRASE, "value": session, "url": self.url}])
        page = context.new_page()
        page.on("pageerror", lambda error: pytest.fail(f"a script failed: {error}"))
        page.goto(self.url + ENTRY)
        return page


@pytest.fixture
def site(office: Office, tmp_path: Path) -> Iterator[Site]:
    hub, front, inner = free_port(), free_port(), free_port()
    nextcloud = Nextcloud(key=KEY, people={"ada-s": ("ada", ADMIN), "carol-s": ("carol", ORDINARY)})
    nextcloud.apps["harp"] = {
        "exapp_token": SECRET,
        "exapp_version": "1.0.0",
        "host": "127.0.0.1",
        "port": hub,
        "routes": [route("^/link$"), route("^/console(?:/.*)?$", 1)],
    }
    harp = nextcloud.apps["harp"]
    assert isinstance(harp, dict)
    nextcloud.apps["other"] = {**harp, "exapp_token": "another", "routes": [route("^/", 1)]}
    bridge = Bridge(nextcloud)
    served = Served(bridge.answer).start()
    desk = office.desk("hub", websocket=f"127.0.0.1:{hub}")
    configuration = tmp_path / "nginx.conf"
    folders = "".join(
        f"{kind}_temp_path {tmp_path}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # As docs/how-to/replace-harp.md has it.
    configuration.write_text(
        f"daemon off; pid {tmp_path}/pid; error_log stderr warn; events {{}}\n"
        f"http {{ access_log off; {folders} server {{ listen 127.0.0.1:{front};"
        f" location / {{ proxy_pass {served.url}; proxy_set_header Host $http_host; }}"
        f" location /exapps/ {{ proxy_pass http://127.0.0.1:{inner}; proxy_http_version 1.1;"
        " proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
        " proxy_buffering off; } } }\n"
    )
    with subprocess.Popen([str(NGINX), "-e", "stderr", "-c", str(configuration)], stderr=subprocess.DEVNULL) as nginx:
        try:
            secret = desk.home / "exapp-secret"
            desk.home.mkdir(mode=0o700)
            secret.write_text(SECRET)
            secret.chmod(0o600)
            bridge.desk = with_proxy(desk, served.url, f"127.0.0.1:{inner}")
            made = Site(f"http://127.0.0.1:{front}", desk, bridge)
            until(lambda: made.asked(f"{INSIDE}/")[0] == 403, "the proxy lets nobody in")
            yield made
        finally:
            nginx.terminate()
            served.stop()


def shown(page: Page, name: str) -> None:
    if folder := os.environ.get("HARP_TEST_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"inside-{name}.png", full_page=True)


def fits_a_phone(page: Page, name: str) -> None:
    """390 px wide nothing is cut off or runs over something else, in light and in dark; then it is wide again."""
    before = page.viewport_size
    assert before is not None
    page.set_viewport_size({"width": 390, "height": 844})
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert visit.cut_off(page) == [], f"{name}, {scheme}"
        assert visit.faults(page, "color-contrast", "target-size") == [], f"{name}, {scheme}"
        shown(page, f"{name}-phone-{scheme}")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(before)


def by_keyboard(page: Page) -> list[str]:
    """What the Tab key comes to, one after another, until it leaves the page; each is to be seen where it is."""
    names: list[str] = []
    page.locator("body").focus()
    for _ in range(60):
        page.keyboard.press("Tab")
        name, is_seen = page.evaluate(
            """() => {
              const at = document.activeElement, box = at.getBoundingClientRect();
              const style = getComputedStyle(at);
              const isSeen = box.width > 1 && box.bottom > 0 && box.top < innerHeight && style.outlineStyle !== "none";
              return [at === document.body ? "" : (at.ariaLabel || at.textContent || at.name || "").trim(), isSeen];
            }"""
        )
        if not name:
            break
        assert is_seen, f"{name} has the focus, and nobody sees it"
        names.append(name)
    return names


def test_an_administrator_uses_the_whole_console_inside_nextcloud(site: Site, browser: Browser) -> None:
    desk = site.desk
    desk.folder.mkdir(parents=True)
    desk.do("share", desk.folder)
    page = site.opened(browser, "ada-s")
    page.wait_for_url(f"{site.url}{INSIDE}/")
    expect(page.get_by_role("heading", name="hub")).to_be_visible()
    assert by_keyboard(page)[:3] == ["To the content", "Harp", "Home"]
    expect(page.get_by_role("link", name="Nextcloud")).to_have_attribute("href", "/index.php/")
    assert page.get_by_role("button", name="Log out").count() == 0
    shown(page, "home")
    page.get_by_role("main").get_by_role("link", name=NAME, exact=True).click()
    expect(page.get_by_text("Nothing yet: put a file into the folder.")).to_be_visible()
    # By the event stream, through HAProxy and nginx.
    desk.write("new.txt", b"new")
    expect(page.get_by_role("link", name="new.txt")).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Paused: nothing is looked at")).to_be_visible()
    assert desk.status().state.value == "paused"
    for name in ("Home", "Folders", "Devices", "Apps", "Health", "Settings"):
        page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
        page.wait_for_url(f"{site.url}{INSIDE}/**")
        assert visit.faults(page) == [], name
        fits_a_phone(page, name.lower())
    assert page.context.cookies() == [one for one in page.context.cookies() if one["name"] == PASSPHRASE]


def test_the_longer_names_in_german_fit_a_phone(site: Site, browser: Browser) -> None:
    page = site.opened(browser, "ada-s", locale="de-DE")
    page.get_by_role("navigation").get_by_role("link", name="Einstellungen").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Einstellungen")
    fits_a_phone(page, "german")
    page.set_viewport_size({"width": 360, "height": 740})
    assert visit.cut_off(page) == []
    # As narrow as that, there is no room: what looks for it would find it.
    page.set_viewport_size({"width": 200, "height": 740})
    assert any("Einstellungen" in line for line in visit.cut_off(page))


def test_a_person_has_the_folders_that_they_share(site: Site, browser: Browser, tmp_path: Path) -> None:
    desk = site.desk
    for name in ("hers", "elsewhere"):
        (tmp_path / name).mkdir()
        desk.do("share", tmp_path / name)
    (tmp_path / "hers" / "letter.txt").write_text("dear")
    page = site.opened(browser, "carol-s")
    page.wait_for_url(f"{site.url}{INSIDE}/")
    expect(page.get_by_text("No folder here is yours yet.")).to_be_visible()
    assert "elsewhere" not in page.content()
    assert visit.faults(page) == []
    shown(page, "nothing")
    fits_a_phone(page, "nothing")

    hers, others = (
        next(one for one in desk.ask("folders")["folders"] if one["name"] == name)["id"]
        for name in ("hers", "elsewhere")
    )
    site.bridge.shared["carol"] = [hers]
    page.goto(site.url + ENTRY)
    expect(page.get_by_role("link", name="hers")).to_be_visible()
    assert str(tmp_path) not in page.content()
    assert "elsewhere" not in page.content()
    shown(page, "own")
    page.get_by_role("link", name="hers").click()
    expect(page.get_by_role("link", name="letter.txt")).to_be_visible()
    assert visit.faults(page) == []
    shown(page, "own-folder")
    fits_a_phone(page, "own-folder")
    reached = by_keyboard(page)
    assert {"Harp", "Home", "Nextcloud", "Find", "letter.txt", "Look through it now"} <= set(reached)
    page.get_by_role("button", name="Look through it now").click()
    expect(page.get_by_text("The whole folder has been looked through.")).to_be_visible()
    for path in ("/settings", "/health", "/devices", "/apps", "/folders", f"/folders/{hers}/ignore"):
        answer = page.goto(site.url + INSIDE + path)
        assert answer is not None
        assert answer.status == 403, path
    answer = page.goto(f"{site.url}{INSIDE}/folders/{others}")
    assert answer is not None
    assert (answer.status, "elsewhere" in page.content()) == (404, False)


def test_a_pass_is_renewed_and_found_again_after_a_restart_without_a_word(site: Site, browser: Browser) -> None:
    desk = site.desk
    desk.folder.mkdir(parents=True)
    desk.do("share", desk.folder)
    page = site.opened(browser, "ada-s")
    page.get_by_role("main").get_by_role("link", name=NAME, exact=True).click()
    expect(page.get_by_text("Nothing yet: put a file into the folder.")).to_be_visible()
    # All passes are gone with the daemon; the page that is open finds its way over Nextcloud.
    desk.kill()
    desk.start()
    desk.write("after.txt", b"x")
    expect(page.get_by_role("link", name="after.txt")).to_be_visible(timeout=60_000)
    # The form that was shown before still counts.
    page.get_by_role("button", name="Look through it now").click()
    expect(page.get_by_text("The whole folder has been looked through.")).to_be_visible()


def test_nobody_and_no_other_app_gets_in(site: Site) -> None:
    said = base64.b64encode(f"ada:{SECRET}".encode()).decode()
    hub = site.desk._settings["websocket"]
    # Through the proxy, which writes the headers itself.
    forged = {"EX_APP_ID": "harp", "EX_APP_VERSION": "1.0.0", "AUTHORIZATION_APP_API": said}
    assert site.asked(f"{INSIDE}/settings", **forged)[0] == 403
    # The other app's token, on the hub's own port as it is.
    assert site.asked("/exapps/other/console/", Cookie=f"{PASSPHRASE}=ada-s") == (
        403,
        "This is reached through Nextcloud alone.\n",
    )
    direct = Site(f"http://{hub}", site.desk, site.bridge)
    assert direct.asked("/console/")[0] == 403
    assert (
        direct.asked("/console/", EX_APP_ID="harp", EX_APP_VERSION="1.0.0", AUTHORIZATION_APP_API="YWRhOng=")[0] == 403
    )
    # On the port behind the proxy, whoever knows the secret is the proxy.
    assert direct.asked("/console/", **forged)[0] in (200, 401)
