# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every page as it looks and sounds: axe-core finds nothing on it, in light and in dark, and hostile names are text.

With HARP_TEST_SCREENSHOTS=FOLDER each page is also written there as a picture: light, dark, and as wide as a phone.
"""

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import visit
from tests.integration.office import NAME, Desk, console_address, opened, until

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(180)]

HOSTILE = (
    "<script>document.title='stolen'</script>.txt",
    '"><img src=x onerror=alert(1)>.txt',
    "\u202etxt.exe",
    "{{ 7 * 7 }} %(name)s.txt",
    "bad\x1b[2Jname.txt",
    "n" * 250,
)
DEEP = "/".join("d" * 240 for _ in range(14))
"""A path of more than three kilobytes."""
SCREENSHOTS = os.environ.get("HARP_TEST_SCREENSHOTS", "")


class World(NamedTuple):
    """Two desks with one folder: a conflict about a text and one about a picture, a deleted file, hostile names."""

    ada: Desk
    ben: Desk
    folder: str


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[World]:
    with opened(tmp_path_factory.mktemp("pages")) as office:
        address = console_address()
        ada = office.desk("ada", console=address, guard_files="3").start()
        (ada.folder).mkdir(parents=True)
        ada.do("share", ada.folder, "--name", NAME)
        name = "<b>ben</b> & <script>alert(1)</script>"
        ben = office.newcomer(ada, "ben", guard_files="3", device_name=name)
        _fill(ada, ben)
        yield World(ada, ben, ada.ask("folders")["folders"][0]["id"])


def _fill(ada: Desk, ben: Desk) -> None:
    for name in HOSTILE:
        ada.write(name, b"hostile\n")
    _write_deep(ada)
    ada.write("notes/list.txt", b"bread\nmilk\napples\n")
    ada.write("gone.txt", b"soon to be deleted\n")
    for number in range(12):
        ada.write(f"photos/{number}.bin", bytes([number]) * 4000)
    (ada.folder / "photos").mkdir(exist_ok=True)
    visit.picture(ada.folder / "photos" / "sea.png", (20, 90, 160))
    ada.settled()
    ben.stop()
    ada.write("notes/list.txt", b"bread\noat milk\napples\n")
    visit.picture(ada.folder / "photos" / "sea.png", (30, 140, 90))
    ada.at("gone.txt").unlink()
    until(lambda: ada.ask("history", NAME, "gone.txt")["versions"][0]["kind"] == "tombstone", "the deletion is seen")
    ada.stop()
    ben.start()
    ben.write("notes/list.txt", b"bread\nmilk\napples\npears\n")
    visit.picture(ben.folder / "photos" / "sea.png", (190, 90, 40))
    until(lambda: len(ben.ask("history", NAME, "photos/sea.png")["versions"]) == 2, "ben's picture is seen")
    ada.start()
    until(lambda: ada.status().conflicts == 2, "two conflicts")


def _write_deep(desk: Desk) -> None:
    """By steps: the whole path would be longer than the kernel takes at once."""
    here = os.open(desk.folder, os.O_PATH)
    for part in DEEP.split("/")[:-1]:
        os.mkdir(part, dir_fd=here)
        below = os.open(part, os.O_PATH, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open(DEEP.rpartition("/")[2], os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)


def addresses(world: World) -> dict[str, str]:
    """Each page, by a name for its picture."""
    folder = f"/folders/{world.folder}"
    return {
        "home": "/",
        "guide-name": "/guide",
        "guide-folder": "/guide?step=folder",
        "guide-pair": "/guide?step=pair",
        "folders": "/folders",
        "folder": folder,
        "files": f"{folder}/files",
        "files-inside": f"{folder}/files?in={_key(b'photos')}",
        "files-found": f"{folder}/files?find=t",
        "files-deep": f"{folder}/files?find=ddd",
        "file": f"{folder}/file?p={_key(b'notes/list.txt')}",
        "file-deleted": f"{folder}/file?p={_key(b'gone.txt')}",
        "file-picture": f"{folder}/file?p={_key(b'photos/sea.png')}",
        "ignore": f"{folder}/ignore",
        "conflicts": f"{folder}/conflicts",
        "devices": "/devices",
        "accounts": "/accounts",
        "apps": "/apps",
        "health": "/health",
        "settings": "/settings",
        "nowhere": "/nowhere",
    }


def _key(path: bytes) -> str:
    return base64.urlsafe_b64encode(path).decode().rstrip("=")


@pytest.fixture(scope="module")
def page(world: World, browser: Browser) -> Iterator[Page]:
    context = visit.person(browser, viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    yield visit.let_in(context, world.ada)
    context.close()


def shoot(page: Page, name: str) -> None:
    if SCREENSHOTS:
        Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png", full_page=True)


def test_hostile_names_are_text_on_every_page(world: World, page: Page) -> None:
    said: list[str] = []
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    seen = ""
    for path in addresses(world).values():
        page.goto(visit.root(page) + path)
        seen += page.locator("body").inner_text()
        assert page.title().endswith("Harp")
        assert page.locator("main script, main img:not([src^='/'])").count() == 0
    for name in HOSTILE:
        shown = name.replace("\u202e", "\\u202e").replace("\x1b", "\\x1b").rpartition("/")[2]
        assert shown in seen, shown
    assert DEEP in seen
    assert said == []


def test_what_is_not_accessible_is_found(page: Page) -> None:
    page.goto(visit.root(page) + "/nowhere")
    page.evaluate("document.querySelector('h1').outerHTML = '<img src=\"/x\"><input>'")
    page.evaluate("document.querySelector('main p').setAttribute('class', 'soft')")
    assert {fault.partition(":")[0] for fault in visit.faults(page)} >= {"image-alt", "label"}
    page.evaluate("document.querySelector('main p').style.width = '2000px'")
    assert any("px wider than the screen" in line for line in visit.cut_off(page))


def test_each_page_is_accessible_and_fits_a_phone(world: World, page: Page) -> None:
    start = visit.root(page)
    found: dict[str, list[str]] = {}
    for name, path in addresses(world).items():
        page.goto(start + path)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            shoot(page, f"{name}-{scheme}")
            # Of what it looks for, only colours are others in the dark.
            found[f"{name}, {scheme}"] = visit.faults(page, *(["color-contrast"] if scheme == "dark" else []))
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": 390, "height": 844})
        shoot(page, f"{name}-phone")
        found[f"{name}, phone"] = visit.cut_off(page)
        page.set_viewport_size({"width": 1280, "height": 900})
    found |= _others(world, page)
    assert {name: lines for name, lines in found.items() if lines} == {}


def _others(world: World, page: Page) -> dict[str, list[str]]:
    """The pages that have no address of their own: a ticket, an empty daemon's home, and the way in."""
    found: dict[str, list[str]] = {}
    page.goto(visit.root(page) + "/devices")
    page.get_by_role("button", name="Make a ticket").click()
    page.get_by_role("timer").wait_for()
    stranger = visit.person(page.context.browser, viewport={"width": 1280, "height": 900})  # type: ignore[arg-type]
    outside = stranger.new_page()
    outside.goto(visit.root(page))
    for name, one in (("invitation", page), ("entry", outside)):
        for scheme in ("light", "dark"):
            one.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            shoot(one, f"{name}-{scheme}")
            found[f"{name}, {scheme}"] = visit.faults(one)
        one.set_viewport_size({"width": 390, "height": 844})
        shoot(one, f"{name}-phone")
        one.set_viewport_size({"width": 1280, "height": 900})
    stranger.close()
    return found
