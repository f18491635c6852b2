# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the pages say: each text in each language, sizes and times as people there write them.

Names harp.console.words and harp.console.render.
"""

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from babel.messages import pofile
from babel.messages.extract import extract_from_dir
from hypothesis import given
from hypothesis import strategies as st

from harp.base import config
from harp.bridge import selftest
from harp.bridge.naming import path_fields
from harp.bridge.selftest import BridgeFacts, DaemonFacts, DiskFacts, PeerFacts, WatchFacts
from harp.console import daemonwords, render
from harp.console.client import Refused
from harp.console.page import own
from harp.console.pages.folder import crumbs
from harp.console.pages.home import absolute, suggested
from harp.console.pages.preview import as_text, picture_type, side_by_side
from harp.console.words import LANGUAGES, chosen, words
from tests.unit.test_selftest import WELL, cases

FOLDER = DiskFacts("Photos", "/p", 5 << 30, 10 << 30, lacks=("names that differ by case only",))
PEER, AWAY = PeerFacts("bob", True, "10.0.0.2:8783", skew_s=-0.5), PeerFacts("carol", False)
CONSOLE = Path(render.__file__).parent
BLANK = re.compile(r"%\(\w+\)[sd]")


def said() -> set[str]:
    """All that templates, pages and settings say, as it stands in them."""
    found = {setting.summary for setting in config.SETTINGS.values()} | set(daemonwords.SENTENCES)
    options = {"templates/**.html": {"trim_blocks": "true", "lstrip_blocks": "true", "newstyle_gettext": "true"}}
    keywords = {"_": None, "gettext": None, "ngettext": (1, 2)}
    ways = [("templates/**.html", "jinja2"), ("**.py", "python")]
    for _, _, message, _, _ in extract_from_dir(str(CONSOLE), ways, options, keywords=keywords):
        found.add(message if isinstance(message, str) else message[0])
    return found


@pytest.mark.parametrize("language", sorted(set(LANGUAGES) - {"en"}))
def test_every_text_has_a_translation_with_the_same_blanks(language: str) -> None:
    source = (CONSOLE / "locale" / f"{language}.po").read_bytes()
    catalogue = pofile.read_po(io.BytesIO(source), locale=language)
    entries = re.findall(rb"(?m)^msgid ", source)
    assert len(entries) == len(catalogue) + 1, "a text is there twice; the head has an empty one"
    known = {(m.id if isinstance(m.id, str) else m.id[0]): m for m in catalogue if m.id}
    assert said() - set(known) == set(), "add these to the .po file"
    for text, message in known.items():
        ids = [message.id] if isinstance(message.id, str) else message.id
        strings = [message.string] if isinstance(message.string, str) else message.string
        assert strings, text
        assert all(strings), text
        for one in strings:
            assert sorted(BLANK.findall(one)) == sorted(BLANK.findall(ids[-1])), one


def test_what_the_self_test_says_is_said_in_german_too() -> None:
    beside = DaemonFacts(folders=[FOLDER], peers=[PEER, AWAY], harpbridge=BridgeFacts("/run/x", heard=3))
    variants = (WELL, replace(WELL, multicast_fault="no route"), replace(WELL, watches=WatchFacts(9, 9, 1, 128)))
    reports = [selftest.report(local, beside) for local in variants]
    reports += [selftest.report(local, daemon) for local, daemon, *_ in cases()]
    german = words("de")
    for check in (one for report in reports for one in report.checks):
        assert german.said(check.name) != check.name or check.name == "harpbridge", check.name
        if check.ok:
            assert german.said(check.text) != check.text, check.text
    assert german.said("61 of 192,536 in use") == "61 von 192.536 belegt"
    assert german.said("57.5 of 252.0 GiB free") == "57,5 von 252 GiB frei"
    assert german.said("5 of 9 in use: changes will be seen by the hourly scan only").startswith("5 von 9 belegt: ")
    assert german.said("disk of %(name)s <b>") == "Platte von %(name)s <b>"
    assert (german.said("something else"), german.said(""), words("en").said("runs")) == ("something else", "", "runs")


def test_sizes_and_times_are_written_as_people_do() -> None:
    english, german = words("en"), words("de")
    assert [english.size(one) for one in (0, 1023, 1536, 5 << 20, 300 << 30)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "5.0 MiB",
        "300 GiB",
    ]
    assert german.size(1536) == "1,5 KiB"
    assert german.rate(2048) == "2,0 KiB/s"
    assert english.ago(1000.0, 1000.0 + 180) == "3 minutes ago"
    assert german.ago(1000.0, 1000.0 + 180) == "vor 3 Minuten"
    assert english.ago(1000.0, 1001.0) == "just now"
    assert (english.span(3600), german.span(3600)) == ("1 hour", "1 Stunde")
    assert (english.day("2026-11-25"), german.day("2026-11-25")) == ("Nov 25", "25. Nov.")


def test_a_time_that_no_calendar_has_is_a_dash() -> None:
    for at in (None, 1e300, float("nan"), -1e18):
        assert words("en").moment(at) == words("en").clock(at) == "–"
        assert render.iso(at) == ""


@pytest.mark.parametrize(
    ("wanted", "accepted", "language"),
    [
        (None, "", "en"),
        (None, "de", "de"),
        (None, "fr, de;q=0.5, en;q=0.7", "en"),
        ("de", "en", "de"),
        ("xx", "de-CH", "de"),
        (None, "de;q=x, ;;;", "en"),
        (None, "," * 5000, "en"),
    ],
)
def test_the_language_is_chosen(wanted: str | None, accepted: str, language: str) -> None:
    assert chosen(wanted, accepted) == language


@given(st.binary(max_size=300))
def test_a_path_of_any_bytes_comes_back_from_an_address(raw: bytes) -> None:
    key = render.path_key(path_fields(raw))
    assert re.fullmatch(r"[A-Za-z0-9_-]*", key)
    assert base64.b64decode(render.path_of_key(key)) == raw


@given(st.text(max_size=40))
def test_no_address_leads_to_someone_else(text: str) -> None:
    location = own(text)
    assert location.startswith("/")
    assert not location.startswith(("//", "/\\"))
    assert "\n" not in location


@given(st.text(max_size=60))
def test_names_are_text_on_a_page(name: str) -> None:
    page = render.page(
        "en",
        "refused.html",
        {
            "base": "",
            "csrf": "",
            "notes": [],
            "now": 0.0,
            "is_in": False,
            "may_all": False,
            "every": 0,
            "nextcloud": "",
            "back": "/",
            "here": "",
            "message": f"<script>{name}</script>",
            "hint": f'"><img src=x onerror={name}>',
        },
    )
    assert "<script" not in page
    assert "<img" not in page


def test_one_more_folder_is_suggested_a_place_of_its_own() -> None:
    first, second = str(Path.home() / "Harp"), str(Path.home() / "Harp 2")
    assert suggested([]) == first
    assert suggested([{"location": first}]) == second
    assert suggested([{"location": second}, {"location": first}]) == str(Path.home() / "Harp 3")
    assert (absolute(" ~/x "), absolute("x"), absolute("/x")) == (str(Path.home() / "x"), str(Path.home() / "x"), "/x")
    for nothing in ("", "  ", "~nobody-of-that-name/x"):
        with pytest.raises(Refused):
            absolute(nothing)


def test_the_crumbs_of_a_directory() -> None:
    assert [name for name, _ in crumbs(b"photos/sea\xff/\x1b[2J")] == ["photos", "sea�", "�[2J"]
    assert crumbs(b"") == []


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n....", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF1234WEBPVP8 ", "image/webp"),
        (b"<svg onload=alert(1)>", ""),
        (b"<html>", ""),
        (b"", ""),
        (b"%PDF-1", ""),
    ],
)
def test_a_picture_is_known_by_its_bytes_and_never_holds_a_script(head: bytes, kind: str) -> None:
    assert picture_type(head) == kind


def test_text_is_text_also_where_it_was_cut() -> None:
    assert as_text("größe".encode()[:3]) == "gr"
    assert as_text(b"bread\nmilk\r\n") == "bread\nmilk\r\n"
    assert as_text(b"") == ""
    assert as_text(b"\x00\x01") is None
    assert as_text(b"\xff\xfe\xfd\xfc\xfb") is None
    assert as_text(bytes(range(1, 32)) * 10) is None


def test_lines_that_differ_are_marked_on_both_sides() -> None:
    mine, theirs = side_by_side(["bread\nmilk\napples", "bread\noat milk\napples\npears"])
    assert [line for line, differs in mine if differs] == ["milk"]
    assert [line for line, differs in theirs if differs] == ["oat milk", "pears"]
    assert side_by_side(["only one"]) == [[("only one", False)]]
