# SPDX-License-Identifier: AGPL-3.0-or-later
"""A browser of a test: Debian's Chromium, driven by Playwright; and the way in that a person takes."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from harp.bridge import browsing
from harp.cli.client import at
from tests.integration.office import Desk

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--force-color-profile=srgb"]
WAIT_MS = 20_000


@contextlib.contextmanager
def opened(*more: str) -> Iterator[Browser]:
    """A browser until the block ends; skips where there is none."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("there is no Chromium here: sudo apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*ARGUMENTS, *more])
        try:
            yield browser
        finally:
            browser.close()


def person(browser: Browser, **options: object) -> BrowserContext:
    """A person's own browser window: nobody else's cookies, English unless said otherwise."""
    context = browser.new_context(**{"locale": "en-GB", **options})  # type: ignore[arg-type]
    context.set_default_timeout(WAIT_MS)
    return context


def let_in(context: BrowserContext, desk: Desk) -> Page:
    """A page of the desk's console, by a link that works once; what its scripts complain of fails the test."""
    page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(f"a script failed: {error}"))
    page.goto(desk.client.post(at("console"), browsing.ConsoleLink, {}).link)
    page.wait_for_url(lambda url: "/in/" not in url)
    return page


def root(page: Page) -> str:
    """The console's own address, without a slash at its end."""
    return "/".join(page.url.split("/")[:3])


def faults(page: Page, *rules: str) -> list[str]:
    """What axe-core finds, in a line each; by all of its rules, or by these."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found = page.evaluate(
        "rules => axe.run({resultTypes: ['violations'], ...(rules.length && {runOnly: rules})})", list(rules)
    )
    return [
        f"{violation['id']}: {violation['help']}: {node['html'][:200]}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


_CUT_OFF = """() => {
  const root = document.documentElement, found = [];
  const wider = root.scrollWidth - root.clientWidth;
  if (wider > 0) found.push(`${wider} px wider than the screen`);
  let end = -Infinity;
  for (const text of document.querySelectorAll(".side nav span")) {
    const range = document.createRange();
    range.selectNodeContents(text);
    const { left, right, top, bottom } = range.getBoundingClientRect();
    if (left < 0 || right > root.clientWidth || top < 0 || bottom > root.clientHeight)
      found.push(`${text.textContent} is not whole on the screen`);
    if (getComputedStyle(text.closest("ul")).display === "flex" && left < end)
      found.push(`${text.textContent} runs into the one before it`);
    end = right;
  }
  return found;
}"""


def cut_off(page: Page) -> list[str]:
    """What does not fit the screen as wide as it is: the page itself, and the names in the navigation."""
    return [str(line) for line in page.evaluate(_CUT_OFF)]


def picture(path: Path, colour: tuple[int, int, int], size: int = 48) -> bytes:
    """A PNG of one colour, written as the format says (W3C, PNG, 11.2)."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(colour) * size for _ in range(size))
    head = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    body = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(body)
    return body
