# SPDX-License-Identifier: AGPL-3.0-or-later
"""Accounts in the console, with a real daemon and a Nextcloud that answers as one: harp.console.pages.accounts."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import visit
from tests.fakes.cloudserver import standing
from tests.fakes.webdav import PASSWORD, Account
from tests.integration.office import Office, console_address

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(180)]


def shown(page: Page, name: str) -> None:
    if folder := os.environ.get("HARP_TEST_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_an_account_is_added_on_a_page_of_the_nextcloud_shared_from_and_forgotten(
    office: Office, browser: Browser
) -> None:
    account = Account()
    account.write("Documents/letter.txt", b"dear")
    with standing(account) as url:
        desk = office.desk("ada", console=console_address()).start()
        page = visit.let_in(visit.person(browser), desk)
        page.goto(f"{visit.root(page)}/folders")
        page.get_by_role("link", name="Nextcloud accounts").click()
        expect(page.get_by_text("No account yet.")).to_be_visible()
        page.get_by_label("Name for it here").fill("work")
        page.get_by_label("Address of the Nextcloud").fill(url)
        page.get_by_role("button", name="Log in").click()
        agree = page.get_by_role("link", name="Open the page of the Nextcloud")
        expect(agree).to_have_attribute("href", f"{url}/index.php/login/v2/flow/open-me")
        assert visit.faults(page) == []
        shown(page, "accounts-login")

        # The person agrees elsewhere; the page follows.
        account.agrees_to = "made-for-harp"
        expect(page.get_by_text("No folder mirrors anything of it yet.")).to_be_visible(timeout=15_000)
        expect(agree).to_have_count(0)
        assert "made-for-harp" not in page.content()
        page.reload()
        shown(page, "accounts")
        assert visit.faults(page) == []

        page.get_by_label("Folder in the Nextcloud").fill("/Documents")
        page.get_by_role("button", name="Share this folder").click()
        expect(page.get_by_text("Documents is shared now.")).to_be_visible()
        expect(page.get_by_text("Mirrors /Documents of the account work")).to_be_visible()
        expect(page.get_by_role("link", name="letter.txt")).to_be_visible(timeout=20_000)
        shown(page, "folder-mirror")
        page.get_by_text("Leave this folder").click()
        page.get_by_role("button", name="Leave", exact=True).click()
        page.get_by_role("link", name="Nextcloud accounts").click()
        page.get_by_role("button", name="Forget work").click()
        expect(page.get_by_text("taken back")).to_be_visible()
        assert account.passwords == {PASSWORD}


def test_a_wrong_app_password_is_told_and_kept_nowhere(office: Office, browser: Browser) -> None:
    account = Account()
    with standing(account) as url:
        desk = office.desk("ada", console=console_address()).start()
        page = visit.let_in(visit.person(browser), desk)
        page.goto(f"{visit.root(page)}/accounts")
        for password, said in (("wrong-one", "refused"), (PASSWORD, "work is there now")):
            page.get_by_label("Name for it here").fill("work")
            page.get_by_label("Address of the Nextcloud").fill(url)
            page.get_by_text("With an app password").click()
            page.get_by_label("User").fill("alice")
            page.get_by_label("App password", exact=True).fill(password)
            page.get_by_role("button", name="Log in").click()
            expect(page.get_by_text(said).first).to_be_visible()
            assert password not in page.content()
            assert password not in desk.log.read_text()
