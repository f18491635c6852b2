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
from playwright.sync_api import Browser, Dialog, Page, expect

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
    until(lambda: ada.versions("gone.txt")[0].kind == "tombstone", "the deletion is seen")
    ada.stop()
    ben.start()
    ben.write("notes/list.txt", b"bread\nmilk\napples\npears\n")
    visit.picture(ben.folder / "photos" / "sea.png", (190, 90, 40))
    until(lambda: len(ben.versions("photos/sea.png")) == 2, "ben's picture is seen")
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


def _key(path: bytes) -> str:
    return base64.urlsafe_b64encode(path).decode().rstrip("=")


FOLDER = "/folders/{folder}"
PAGES = {
    "home": "/",
    "guide-name": "/guide",
    "guide-folder": "/guide?step=folder",
    "guide-pair": "/guide?step=pair",
    "folders": "/folders",
    "folder": FOLDER,
    "files": FOLDER + "/files",
    "files-inside": FOLDER + "/files?in=" + _key(b"photos"),
    "files-found": FOLDER + "/files?find=t",
    "files-deep": FOLDER + "/files?find=ddd",
    "file": FOLDER + "/file?p=" + _key(b"notes/list.txt"),
    "file-deleted": FOLDER + "/file?p=" + _key(b"gone.txt"),
    "file-picture": FOLDER + "/file?p=" + _key(b"photos/sea.png"),
    "ignore": FOLDER + "/ignore",
    "conflicts": FOLDER + "/conflicts",
    "devices": "/devices",
    "accounts": "/accounts",
    "apps": "/apps",
    "health": "/health",
    "settings": "/settings",
    "traffic": "/traffic",
    "password": "/password",
    "refused": "/apps/doctor",
    "nowhere": "/nowhere",
}
"""Each page, by a name for its picture."""


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

    def dismissed(dialog: Dialog) -> None:
        said.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismissed)
    seen = ""
    for path in PAGES.values():
        page.goto(visit.root(page) + path.format(folder=world.folder))
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


def looked_at(page: Page, name: str) -> dict[str, list[str]]:
    """What is wrong with the page: as it is, with all opened that can be, in the dark, and on a phone."""
    found = {name: visit.faults(page)}
    shoot(page, f"{name}-light")
    if page.locator("details").count():
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        found[f"{name}, opened"] = visit.faults(page)
        shoot(page, f"{name}-opened")
    page.emulate_media(color_scheme="dark")
    # Of what axe-core looks for, only colours are others in the dark.
    found[f"{name}, dark"] = visit.faults(page, "color-contrast")
    shoot(page, f"{name}-dark")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 390, "height": 844})
    shoot(page, f"{name}-phone")
    found[f"{name}, phone"] = visit.cut_off(page)
    page.set_viewport_size({"width": 1280, "height": 900})
    return {where: lines for where, lines in found.items() if lines}


@pytest.mark.parametrize("name", PAGES)
def test_each_page_is_accessible_and_fits_a_phone(world: World, page: Page, name: str) -> None:
    page.goto(visit.root(page) + PAGES[name].format(folder=world.folder))
    assert looked_at(page, name) == {}


def test_so_are_a_ticket_and_the_way_in(page: Page) -> None:
    page.goto(visit.root(page) + "/devices")
    page.get_by_role("button", name="Make a ticket").click()
    page.get_by_role("timer").wait_for()
    found = looked_at(page, "invitation")
    stranger = visit.person(page.context.browser, viewport={"width": 1280, "height": 900})  # type: ignore[arg-type]
    outside = stranger.new_page()
    outside.goto(visit.root(page))
    found |= looked_at(outside, "entry")
    stranger.close()
    assert found == {}


def test_in_german_too_each_page_fits_a_phone(world: World, browser: Browser) -> None:
    context = visit.person(browser, viewport={"width": 390, "height": 844}, locale="de-DE", reduced_motion="reduce")
    page = visit.let_in(context, world.ada)
    found: dict[str, list[str]] = {}
    for name, path in PAGES.items():
        page.goto(visit.root(page) + path.format(folder=world.folder))
        assert page.locator("html").get_attribute("lang") == "de"
        shoot(page, f"{name}-german")
        found[name] = visit.cut_off(page)
    context.close()
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_where_there_is_nothing_yet_each_page_is_accessible_and_says_what_to_do(
    tmp_path_factory: pytest.TempPathFactory, browser: Browser
) -> None:
    with opened(tmp_path_factory.mktemp("empty")) as office:
        desk = office.desk("nobody", console=console_address()).start()
        page = visit.let_in(visit.person(browser, viewport={"width": 1280, "height": 900}), desk)
        found: dict[str, list[str]] = {}

        def look(name: str, path: str, says: str) -> None:
            page.goto(visit.root(page) + path)
            expect(page.get_by_role("main")).to_contain_text(says)
            found.update(looked_at(page, f"empty-{name}"))

        look("home", "/?skip=1", "Nothing is shared yet.Begin here")
        look("folders", "/folders", "Share a folder of this device, or join one")
        look("devices", "/devices", "Make a ticket here and use it there")
        look("accounts", "/accounts", "No account yet.")
        look("apps", "/apps", "Replace HaRP by Harp")
        look("traffic", "/traffic", "Nothing has come from other devices yet.")
        desk.folder.mkdir(parents=True)
        desk.do("share", desk.folder, "--name", NAME)
        folder = f"/folders/{desk.ask('folders')['folders'][0]['id']}"
        look("alone", "/", "Next: a second device")
        look("folder", folder, "Nothing yet: put a file into the folder.")
        look("files", f"{folder}/files", "This folder is empty.")
        look("found", f"{folder}/files?find=nothing", "Nothing has this in its name.")
        look("conflicts", f"{folder}/conflicts", "No file is in conflict.")
        page.goto(f"{visit.root(page)}{folder}")
        page.get_by_role("button", name="Look through it now").click()
        # What was done has the focus, so that a screen reader begins there.
        expect(page.locator(":focus")).to_have_text("The whole folder has been looked through.")
        found.update(looked_at(page, "empty-note"))
        page.goto(f"{visit.root(page)}/health")
        page.get_by_text("Stop Harp …").click()
        page.get_by_role("button", name="Stop", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text("The daemon is ending")
        found.update(looked_at(page, "stopped"))
        assert found == {}


def test_nothing_moves_for_who_wants_that(page: Page) -> None:
    page.goto(visit.root(page) + "/devices")
    page.evaluate("document.querySelector('h1').classList.add('moves', 'state-syncing')")
    for wanted, moves in (("no-preference", 1), ("reduce", 0)):
        page.emulate_media(reduced_motion=wanted)  # type: ignore[arg-type]
        assert page.evaluate("document.querySelector('h1').getAnimations().length") == moves, wanted


def test_the_first_page_is_small(world: World, browser: Browser) -> None:
    context = visit.person(browser)
    page = visit.let_in(context, world.ada)
    sizes = page.evaluate(
        "['navigation', 'resource'].flatMap(kind => performance.getEntriesByType(kind))"
        ".map(one => [new URL(one.name).host, one.decodedBodySize])"
    )
    assert {host for host, _ in sizes} == {visit.root(page).rpartition("/")[2]}, "nothing comes from elsewhere"
    assert len(sizes) >= 4
    assert sum(size for _, size in sizes) < 100_000
    context.close()
