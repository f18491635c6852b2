# SPDX-License-Identifier: AGPL-3.0-or-later
"""The console inside a real Nextcloud: from its menu, through nginx and HAProxy, with Nextcloud's own session."""

import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest

from harp.base import config
from harp.base.errors import HarpError
from harp.bridge import model
from harp.cli.client import Client, at
from tests.e2e.browser import Browser, Reply
from tests.e2e.cloud import ADMIN, WEB_USER, Cloud
from tests.e2e.site import Site
from tests.fakes.ports import free_port
from tests.integration.office import until

ENTRY = "/index.php/apps/harpbridge/console"
INSIDE = "/exapps/harp/console"
SECRET = "the hub's own secret"
HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "hub-behind-nextcloud.md"
# As root the daemon is the web server's user, which may not be able to read this Python.
AS_WEB_USER = [
    *("setpriv", "--reuid", WEB_USER, "--regid", WEB_USER, "--clear-groups"),
    *("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"),
]


@dataclass
class Hub:
    """A daemon beside the Nextcloud, its External App ``harp``, with two folders."""

    site: Site
    client: Client
    port: int
    folders: dict[str, str]

    def enters(self, name: str) -> tuple[Browser, Reply]:
        """Somebody logs in and clicks on Harp."""
        browser = self.site.browser(name)
        return browser, browser.get(ENTRY)


def theirs(path: Path) -> Path:
    if os.geteuid() == 0:
        shutil.chown(path, WEB_USER, WEB_USER)
    return path


@pytest.fixture(scope="module")
def hub(site: Site, harpbridge: Cloud) -> Iterator[Hub]:
    place = theirs(Path(tempfile.mkdtemp(prefix="harp-hub-")))
    home = place / "home"
    home.mkdir(mode=0o700)
    port = free_port()
    for key, value in {"websocket": f"127.0.0.1:{port}", "console": "none", "discovery": "false"}.items():
        config.set_value(home, key, value)
    (home / "exapp-secret").write_text(SECRET)
    (home / "exapp-secret").chmod(0o600)
    for path in (home, *home.iterdir()):
        theirs(path)
    command = [sys.executable, "-m", "harp.cli", "--home", str(home), "up", "--listen", "127.0.0.1:0"]
    daemon = subprocess.Popen(
        [*(AS_WEB_USER if os.geteuid() == 0 else []), *command],
        env={"PATH": os.environ["PATH"], "HOME": str(place)},
        cwd=place,
    )
    try:
        client = Client(home)
        wait_for(client)
        folders = {}
        for name in ("shared-by-alice", "of-nobody-else"):
            (place / name).mkdir()
            theirs_too = theirs(place / name)
            folders[name] = client.post(at("folders"), model.FolderStatus, {"path": str(theirs_too)}).id
        _, said = harpbridge.occ_tried(
            "harpbridge:setup",
            f"--control-socket={home / 'harp.sock'}",
            "--exapp-daemon=manual",
            f"--exapp-port={port}",
        )
        assert "[enabled]" in harpbridge.occ("app_api:app:list"), said
        assert "exception" not in said, said
        yield Hub(site, client, port, folders)
    finally:
        harpbridge.occ_tried("app_api:app:unregister", "harp", "--force", "--rm-data")
        daemon.terminate()
        daemon.wait(20)
        shutil.rmtree(place)


def wait_for(client: Client) -> None:
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(HarpError, OSError):
            client.get(at("device"), model.DeviceInfo)
            return
        assert time.monotonic() < deadline, "the daemon does not answer"
        time.sleep(0.1)


def menu(browser: Browser) -> dict[str, dict[str, str]]:
    listed = browser.get("/ocs/v2.php/core/navigation/apps?format=json", {"OCS-APIRequest": "true"}).json
    return {entry["id"]: entry for entry in listed["ocs"]["data"]}


def appears_for(name: str, browser: Browser) -> None:
    # Where there is APCu, Nextcloud believes what it knows of its settings for three seconds (AppConfig).
    until(lambda: "harpbridge" in menu(browser), f"it is in the menu of {name}")
    entry = menu(browser)["harpbridge"]
    assert (entry["name"], ENTRY.endswith(entry["href"])) == ("Harp", True)


def test_harp_is_in_the_menu_where_it_is_set_up(hub: Hub) -> None:
    appears_for(ADMIN, hub.site.browser(ADMIN))
    browser = hub.site.browser("alice")
    appears_for("alice", browser)
    cloud = hub.site.cloud
    try:
        cloud.occ_tried("harpbridge:setup", "--console=")
        until(lambda: "harpbridge" not in menu(browser), "it is gone from the menu")
        assert INSIDE not in browser.get(ENTRY).url
    finally:
        cloud.occ_tried("harpbridge:setup", f"--console={INSIDE}/")
        until(lambda: "harpbridge" in menu(browser), "it is in the menu again")


def test_an_administrator_is_led_in_and_sees_all(hub: Hub) -> None:
    browser, reply = hub.enters(ADMIN)
    assert (reply.status, reply.url) == (200, f"{hub.site.cloud.url}{INSIDE}/")
    assert all(name in reply.text for name in hub.folders)
    for page in ("/devices", "/apps", "/health", "/settings", "/folders"):
        assert browser.get(INSIDE + page).status == 200, page
    assert reply.headers["Content-Security-Policy"].endswith("frame-ancestors 'none'")
    assert not [cookie for cookie in browser.cookies if cookie.name.startswith("harp")]


def test_an_administrators_form_is_done(hub: Hub) -> None:
    browser, _ = hub.enters(ADMIN)
    folder = hub.folders["of-nobody-else"]
    page = browser.get(f"{INSIDE}/folders/{folder}").text
    token = re.search(r'name="csrf" value="([0-9a-f]{64})"', page)
    assert token is not None
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    form = urlencode({"csrf": token[1], "back": "/"}).encode()
    for foreign in ({}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        refused = browser.ask("POST", f"{INSIDE}/folders/{folder}/pause", {**kind, **foreign}, form)
        assert refused.status == 403
    done = browser.ask("POST", f"{INSIDE}/folders/{folder}/pause", {**kind, "Origin": hub.site.cloud.url}, form)
    assert (done.status, "Paused" in done.text) == (200, True)
    told = hub.client.get(at("folders"), model.FolderList).folders
    assert {one.name: one.state.value for one in told}["of-nobody-else"] == "paused"


def test_a_person_sees_what_is_theirs(hub: Hub) -> None:
    browser, reply = hub.enters("alice")
    assert (reply.status, reply.url) == (200, f"{hub.site.cloud.url}{INSIDE}/")
    assert "No folder here is yours yet" in reply.text
    assert not [name for name in hub.folders if name in reply.text]
    shared = json.dumps({hub.folders["shared-by-alice"]: "/Shared"})
    hub.site.cloud.occ("user:setting", "alice", "harpbridge", "folders", shared)
    reply = browser.get(ENTRY)
    assert [name for name in hub.folders if name in reply.text] == ["shared-by-alice"]
    assert browser.get(f"{INSIDE}/folders/{hub.folders['shared-by-alice']}").status == 200
    other = browser.get(f"{INSIDE}/folders/{hub.folders['of-nobody-else']}")
    assert (other.status, "of-nobody-else" in other.text) == (404, False)
    for page in ("/devices", "/apps", "/health", "/settings", "/folders"):
        assert browser.get(INSIDE + page).status == 403, page


def test_events_come_through_all_of_it(hub: Hub) -> None:
    browser, _ = hub.enters(ADMIN)
    link = http.client.HTTPConnection("127.0.0.1", hub.site.cloud.port, timeout=20)
    with contextlib.closing(link):
        link.request("GET", f"{INSIDE}/events", headers=browser.cookie_header)
        answer = link.getresponse()
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")
        assert answer.readline().startswith(b"data: {")


def test_the_how_to_registers_the_same(hub: Hub) -> None:
    text = HOW_TO.read_text(encoding="utf-8")
    command = re.search(r"occ app_api:app:register harp harp (--wait-finish) --json-info '(.*?)'", text, re.DOTALL)
    assert command is not None
    info = json.loads(command[2].replace("THE-SECRET", SECRET)) | {"port": hub.port}
    occ = hub.site.cloud.occ
    occ("app_api:app:unregister", "harp", "--force", "--rm-data")
    said = occ("app_api:app:register", "harp", "manual", command[1], "--json-info", json.dumps(info))
    assert "successfully registered" in said
    assert hub.enters(ADMIN)[1].status == 200


def test_nobody_else_gets_in(hub: Hub) -> None:
    nobody = hub.site.browser()
    assert nobody.get(f"{INSIDE}/").status in (401, 403)
    assert "/login" in nobody.get(ENTRY, {"Accept": "text/html"}).url
    direct = Browser(f"http://127.0.0.1:{hub.port}")
    assert direct.get("/console/").status == 403
    forged = {"EX-APP-ID": "harp", "EX-APP-VERSION": "0.1.0", "AUTHORIZATION-APP-API": "YWRtaW46d3Jvbmc="}
    assert direct.get("/console/", forged).status == 403
    assert nobody.get(f"{INSIDE}/", forged).status in (401, 403)
