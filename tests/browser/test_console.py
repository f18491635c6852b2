# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a person does in the console, in a real browser, with real daemons behind it."""

import os
import re
import subprocess
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import visit
from tests.integration.office import NAME, Desk, Office, console_address, opened, until

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(180)]

SLOW = {"wan_subnets": "127.0.0.0/8", "lan_round_trip_ms": "0"}
"""As if there were a line between the two."""


WATCHED = """() => {
  window.shares = [];
  window.said = [];
  const look = () => {
    const progress = document.querySelector("progress");
    const text = document.querySelector("main p[role=status]").textContent;
    if (progress !== null) shares.push(progress.value);
    if (text !== said.at(-1)) said.push(text);
  };
  look();
  new MutationObserver(look).observe(document.body, {childList: true, subtree: true});
}"""
"""Notes what the page shows of a folder's progress, and what a screen reader is told of it."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A desk with a folder and nobody else."""
    with opened(tmp_path_factory.mktemp("alone")) as office:
        desk = office.desk("ada", console=console_address())
        yield desk.start(desk.folder)


def opens(browser: Browser, desk: Desk) -> Page:
    return visit.let_in(visit.person(browser), desk)


def folder_page(page: Page) -> None:
    page.goto(visit.root(page) + "/folders")
    page.get_by_role("main").get_by_role("link", name=NAME, exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(NAME)


def test_a_newcomer_gets_from_the_first_start_to_two_devices_with_the_browser_alone(
    office: Office, browser: Browser
) -> None:
    ada = office.desk("ada", console=console_address(), **SLOW)
    ben = office.desk("ben", console=console_address(), receive_limit="8 Mbit/s", **SLOW)
    ada._settings.pop("device_name")
    ada.start()
    ben.start()

    first = opens(browser, ada)
    expect(first.get_by_role("heading", level=1)).to_have_text("First steps")
    first.get_by_label("Name").fill("Ada's laptop")
    first.get_by_role("button", name="Go on").click()
    first.get_by_label("Folder on this device").fill(str(ada.folder))
    first.get_by_role("button", name="Share this folder").click()
    expect(first.get_by_role("status").first).to_contain_text("desk is shared now")
    first.get_by_role("button", name="Make a ticket").click()
    ticket = first.get_by_role("textbox", name="Ticket").input_value()
    assert ticket.startswith("harp1")
    expect(first.get_by_role("img", name="QR code of the ticket")).to_be_visible()
    expect(first.get_by_role("timer")).to_have_text(re.compile(r"00:5\d:\d\d"))
    ada.write("large.bin", os.urandom(8_000_000))

    second = opens(browser, ben)
    second.goto(visit.root(second) + "/devices")
    second.get_by_role("textbox", name="Ticket").fill(ticket)
    second.get_by_label("Where its files shall lie on this device").fill(str(ben.folder))
    second.get_by_role("button", name="Join").click()
    expect(second.get_by_role("heading", level=1)).to_have_text("desk")
    # Nobody reloads anything from here on: both pages follow by themselves.
    second.evaluate(WATCHED)
    expect(first.get_by_text("ben has joined desk.")).to_be_visible()
    expect(second.get_by_role("progressbar")).to_be_visible()
    assert visit.faults(second) == []
    expect(second.locator("#state")).to_have_text("Up to date", timeout=60_000)
    shares, said = second.evaluate("[window.shares, window.said]")
    assert len({share for share in shares if 0 < share < 1}) >= 2, f"the progress moves: {shares}"
    assert said[-1] == "desk: Up to date"
    assert 1 <= len([text for text in said if text.endswith("%")]) <= 11, f"each tenth is spoken once: {said}"
    expect(second.get_by_text("has all of it")).to_be_visible()
    expect(second.locator("#members")).to_contain_text("Ada's laptop")
    assert ben.read("large.bin") == ada.read("large.bin")


def test_a_person_settles_a_conflict_and_brings_a_deleted_file_back(office: Office, browser: Browser) -> None:
    ada, ben = office.desk("ada", console=console_address()), office.desk("ben")
    ada.start(ada.folder)
    ben.start()
    ben.join(ada.invites())
    ada.write("plan.txt", b"before\n")
    ada.write("dear.txt", b"dear to me\n")
    office.agreed(ada, ben)
    ben.stop()
    ada.write("plan.txt", b"ada's\n")
    until(lambda: len(ada.versions("plan.txt")) == 2, "ada's version is seen")
    ada.stop()
    ben.start()
    ben.write("plan.txt", b"ben's, later\n")
    ben.at("dear.txt").unlink()
    until(lambda: len(ben.versions("plan.txt")) == 2, "ben's version is seen")
    until(lambda: len(ben.versions("dear.txt")) == 2, "ben's deletion is seen")
    ada.start()
    office.linked(ada, ben)

    page = opens(browser, ada)
    page.get_by_text("1 file was changed in two places").wait_for()
    page.get_by_role("link", name=NAME, exact=True).first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Changed in two places")
    expect(page.get_by_role("region", name="Text of ada")).to_contain_text("ada's")
    expect(page.get_by_role("region", name="Text of ben")).to_contain_text("ben's, later")
    page.get_by_role("button", name="Keep this one ada").click()
    expect(page.get_by_text("No file is in conflict.")).to_be_visible()
    until(lambda: ben.read("plan.txt") == b"ada's\n", "ada's version is everywhere")

    folder_page(page)
    page.get_by_label("Find a file, deleted ones too").fill("DEAR")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="dear.txt").click()
    page.get_by_role("link", name=re.compile("^Look")).click()
    expect(page.get_by_role("region", name="Content")).to_have_text("dear to me\n")
    page.get_by_role("button", name=re.compile("^Bring back")).click()
    expect(page.get_by_text("The version is back.")).to_be_visible()
    until(lambda: ben.at("dear.txt").exists() and ben.read("dear.txt") == b"dear to me\n", "it is back everywhere")


def test_a_person_decides_on_a_mass_deletion_and_sends_a_device_away(office: Office, browser: Browser) -> None:
    ada = office.desk("ada", console=console_address(), guard_files="3").start()
    ada.folder.mkdir(parents=True)
    ada.do("share", ada.folder, "--name", NAME)
    ben = office.newcomer(ada, "ben", guard_files="3")
    for number in range(12):
        ada.write(f"{number}.txt", str(number).encode())
    office.agreed(ada, ben)
    page = opens(browser, ada)
    folder_page(page)
    for number in range(10):
        ada.at(f"{number}.txt").unlink()
    # The page that is open tells of it by itself.
    expect(page.get_by_role("heading", name="Waits for your decision")).to_be_visible()
    page.locator("#held summary").click()
    expect(page.locator("#held .paths")).to_contain_text("3.txt")
    assert visit.faults(page) == []
    page.get_by_role("button", name="Let it happen").click()
    expect(page.get_by_text("approved 10 changes")).to_be_visible()
    until(lambda: len(ben.tree()) == 2, "the deletion happens at ben's")

    page.get_by_role("link", name="Devices").click()
    expect(page.get_by_role("heading", name="ben")).to_be_visible()
    page.get_by_text("Forget …").click()
    page.get_by_role("button", name="Forget this device").click()
    expect(page.get_by_text("The device is forgotten.")).to_be_visible()
    expect(page.get_by_role("heading", name="ben")).to_have_count(0)
    assert not ada.knows(ben)


def test_an_open_page_outlives_its_daemon(alone: Desk, browser: Browser) -> None:
    page = opens(browser, alone)
    folder_page(page)
    alone.kill()
    expect(page.get_by_text("The daemon does not answer. Trying again …")).to_be_visible()
    alone.write("meanwhile.txt", b"new")
    alone.start()
    expect(page.get_by_text("The daemon answers again.")).to_be_visible()
    expect(page.get_by_role("link", name="meanwhile.txt")).to_be_visible()
    # And the session has outlived it too.
    page.get_by_role("link", name="Health").click()
    expect(page.get_by_role("heading", name="Health")).to_be_visible()


def test_a_page_of_someone_else_reaches_nothing(alone: Desk, browser: Browser) -> None:
    context = visit.person(browser)
    page = visit.let_in(context, alone)
    console = visit.root(page)
    folder = alone.ask("folders")["folders"][0]["id"]

    foreign = context.new_page()
    form = f'<form method="post" action="{console}/folders/{folder}/pause"><input name="back" value="/"></form>'
    foreign.route("http://evil.example/", lambda route: route.fulfill(body=form, content_type="text/html"))
    foreign.goto("http://evil.example/")
    read = foreign.evaluate("url => fetch(url, {credentials: 'include'}).then(r => r.text(), () => 'refused')", console)
    assert read == "refused"
    foreign.evaluate("document.querySelector('form').submit()")
    foreign.wait_for_url(lambda url: "/pause" in url)
    expect(foreign.locator("body")).to_contain_text("another page than the console's own")
    assert alone.status().state.value != "paused"

    framing = context.new_page()
    framing.route(
        "http://evil.example/", lambda route: route.fulfill(body=f'<iframe src="{console}/">', content_type="text/html")
    )
    framing.goto("http://evil.example/")
    framing.wait_for_timeout(300)
    assert framing.frames[1].url.startswith("chrome-error:") or not framing.frames[1].locator("main").count()


def test_a_name_that_was_rebound_to_this_machine_is_not_answered(alone: Desk, browser: Browser) -> None:
    page = opens(browser, alone)
    port = visit.root(page).rpartition(":")[2]
    said = subprocess.run(
        ["curl", "-s", "--resolve", f"evil.example:{port}:127.0.0.1", f"http://evil.example:{port}/"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "The console does not answer under this name.\n"


def test_it_speaks_german_and_goes_by_keyboard(alone: Desk, browser: Browser) -> None:
    page = visit.let_in(visit.person(browser, locale="de-DE"), alone)
    expect(page.get_by_role("heading", name="Ordner")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Zum Inhalt")
    page.keyboard.press("Enter")
    expect(page.locator("main:focus")).to_have_count(1)
    page.goto(visit.root(page) + "/settings")
    page.get_by_label("Sprache dieser Seiten").select_option("en")
    page.get_by_role("button", name="Wählen").click()
    expect(page.get_by_role("heading", name="Settings")).to_be_visible()
