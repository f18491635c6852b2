# SPDX-License-Identifier: AGPL-3.0-or-later
"""Takes the pictures of docs/tutorial/console.md anew: two real daemons, a real browser, the tutorial's own steps.

``make pictures``, after the pages have changed. All is as it is seen but one text: where the folder lies, which is
somewhere among temporary files, is shown as a person's folder.
"""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page

from tests.browser import visit
from tests.integration.office import NAME, Desk, Office, console_address, opened, until

SHOWN = f"/home/ada/{NAME}"
LAPTOP_S = b"bread\noat milk\napples\n"
TOWER_S = b"bread\nmilk\napples\npears\n"


def take(into: Path) -> None:
    """Writes the three pictures into a folder."""
    with tempfile.TemporaryDirectory() as place, opened(Path(place)) as office, visit.opened() as browser:
        laptop = office.founder("Laptop", console=console_address())
        context = visit.person(browser, viewport={"width": 1000, "height": 640}, reduced_motion="reduce")
        page = visit.let_in(context, laptop)
        page.goto(visit.root(page) + "/devices")
        page.get_by_role("button", name="Make a ticket").click()
        page.get_by_role("timer").wait_for()
        _shoot(page, into / "console-invitation.png", 700)
        _differ(office, laptop)
        page.goto(visit.root(page) + "/")
        page.get_by_text("1 file was changed in two places").wait_for()
        page.get_by_text("1 of 1 connected").wait_for()
        page.evaluate(
            "([from, to]) => document.querySelectorAll('.path').forEach("
            "place => { place.textContent = place.textContent.replace(from, to); })",
            [str(laptop.folder), SHOWN],
        )
        _shoot(page, into / "console-home.png", 970)
        page.get_by_role("main").get_by_role("link", name=NAME, exact=True).first.click()
        page.get_by_role("region", name="Text of Tower").wait_for()
        _shoot(page, into / "console-conflict.png", 600)
        context.close()


def _differ(office: Office, laptop: Desk) -> None:
    """Another device comes, gives some content, and both change one file while they do not see each other."""
    tower = office.desk("Tower").start()
    tower.join(laptop.invites())
    laptop.write("list.txt", b"bread\nmilk\napples\n")
    office.agreed(laptop, tower)
    for name, size in (("harbour.jpg", 412_000), ("minutes.pdf", 361_000), ("budget.ods", 127_000)):
        tower.write(name, name.encode() * (size // len(name)))
    office.agreed(laptop, tower)
    tower.stop()
    laptop.write("list.txt", LAPTOP_S)
    until(lambda: len(laptop.versions("list.txt")) == 2, "the laptop's version is seen")
    laptop.stop()
    tower.start()
    tower.write("list.txt", TOWER_S)
    until(lambda: len(tower.versions("list.txt")) == 2, "the other version is seen")
    laptop.start()
    office.linked(laptop, tower)
    until(lambda: laptop.status().conflicts == 1, "the conflict is seen")


def _shoot(page: Page, path: Path, height: int) -> None:
    page.set_viewport_size({"width": 1000, "height": height})
    page.screenshot(path=path)


if __name__ == "__main__":
    take(Path(sys.argv[1]))
