# SPDX-License-Identifier: AGPL-3.0-or-later
"""The console's password, on a real socket: logging in with it, guessing it, and setting it in the browser."""

import time
from pathlib import Path

import aiohttp

from harp.console import password
from tests.unit.test_console_server import Browser, browser, daemon

__all__ = ["browser", "daemon"]


async def logs_in(browser: Browser, word: str) -> tuple[int, str, aiohttp.ClientResponse]:
    return await browser.ask("POST", "/login", data={"password": word}, headers={"Origin": browser.origin})


async def test_ten_wrong_passwords_and_even_the_right_one_has_to_wait(browser: Browser, tmp_path: Path) -> None:
    password.store(tmp_path / "home", "correct horse battery")
    answers = [(await logs_in(browser, f"wrong {number}"))[0] for number in range(10)]
    assert answers[:6] == [403] * 6
    assert answers[6:] == [429] * 4
    status, text, response = await logs_in(browser, "correct horse battery")
    assert status == 429
    assert int(response.headers["Retry-After"]) >= 1
    assert "Set-Cookie" not in response.headers
    assert "battery" not in text


async def test_the_right_password_lets_in(browser: Browser, tmp_path: Path) -> None:
    assert (await logs_in(browser, ""))[0] == 403, "without a password nobody logs in by one"
    password.store(tmp_path / "home", "correct horse battery")
    assert "password" in (await browser.get("/login"))[1]
    status, _, response = await logs_in(browser, "correct horse battery")
    assert status == 200
    assert "HttpOnly" in response.headers["Set-Cookie"]


async def test_a_password_is_set_in_the_browser_and_another_one_only_by_who_knows_it(
    browser: Browser, tmp_path: Path
) -> None:
    await browser.enters()
    sessions = browser.console.sessions
    other = sessions.begin(now=time.time())
    first, second = "correct horse battery", "another few words"

    async def tells(**form: str) -> str:
        _, _, response = await browser.sends("/password", **{**form, "back": "/password"})
        browser.client.cookie_jar.update_cookies(response.cookies, browser.url)
        return (await browser.get(response.headers["Location"]))[1]

    assert "password until now" not in (await browser.get("/password"))[1]
    assert "are not the same" in await tells(password=first, again=second)
    assert "10 to 1024 characters" in await tells(password="short", again="short")
    assert not browser.console.password.is_set
    assert "The password is set." in await tells(password=first, again=first)
    assert await browser.console.password.is_right(first)
    assert not sessions.knows(other, now=time.time()), "all others are out"

    assert "password until now" in (await browser.get("/password"))[1]
    assert "That is not the password." in await tells(current=second, password=second, again=second)
    for _ in range(5):
        await tells(current="wrong", password=second, again=second)
    assert "Too many wrong passwords" in await tells(current=first, password=second, again=second)
    assert await browser.console.password.is_right(first), "guessing is as slow as at the door"


async def test_a_new_password_ends_every_session(browser: Browser, tmp_path: Path) -> None:
    await browser.enters()
    assert (await browser.get("/settings"))[0] == 200
    password.store(tmp_path / "home", "correct horse battery")
    assert (await browser.get("/settings"))[0] == 401
