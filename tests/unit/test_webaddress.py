# SPDX-License-Identifier: AGPL-3.0-or-later
"""Addresses of hubs behind a web server: what is one, and how it is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harp.base.webaddress import MAX_CHARACTERS, WebAddress, is_web, web_address
from harp.sync.transport.addresses import address_text


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("wss://Cloud.Example", WebAddress(True, "cloud.example", 443, "/")),
        ("wss://cloud.example:8443/exapps/harp/link", WebAddress(True, "cloud.example", 8443, "/exapps/harp/link")),
        ("wss://[2001:DB8::1]/a%20b", WebAddress(True, "2001:db8::1", 443, "/a%20b")),
        ("ws://127.0.0.1:80/", WebAddress(False, "127.0.0.1", 80, "/")),
        ("ws://localhost:8786/harp", WebAddress(False, "localhost", 8786, "/harp")),
        ("ws://[::1]:8786", WebAddress(False, "::1", 8786, "/")),
    ],
)
def test_an_address_is_read_and_written_back_alike(text: str, meant: WebAddress) -> None:
    assert web_address(text) == meant
    assert web_address(str(meant)) == meant
    assert is_web(text)
    assert address_text(str(meant), 0) == str(meant), "it is shown as it is, wherever an address is"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cloud.example:443",
        "https://cloud.example/",
        "wss://",
        "wss:///path",
        "wss://-x/",
        "wss://a b/",
        "wss://user:word@cloud.example/",
        "wss://cloud.example/?query",
        "wss://cloud.example/#fragment",
        "wss://cloud.example:0/",
        "wss://cloud.example:65536/",
        "wss://cloud.example/a/../b",
        "wss://cloud.example/a/%2E%2e/b",
        "wss://cloud.example/./",
        "wss://cloud.example/\r\nX: y",
        "wss://[::1/",
        "wss://[:::]/",
        "wss://[1.2.3.4]/",
        "wss://cl\N{LATIN SMALL LETTER O WITH STROKE}ud/",
        "wss://cloud.example/" + "a" * MAX_CHARACTERS,
        "ws://cloud.example/",
        "ws://192.0.2.1/",
        "ws://localhost.evil.example/",
        "ws://127.0.0.1.evil.example/",
    ],
)
def test_what_is_none_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError):
        web_address(text)


@given(st.text(max_size=80), st.sampled_from(["", "wss://", "wss://h/", "ws://[", "wss://h:1"]))
def test_any_text_is_an_address_or_refused_and_never_more_than_one_line(text: str, start: str) -> None:
    try:
        found = web_address(start + text)
    except ValueError:
        return
    assert web_address(str(found)) == found
    assert str(found).isprintable()
    assert " " not in str(found)
