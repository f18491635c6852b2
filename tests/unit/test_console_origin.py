# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may be talking to the console: no name that a stranger can own, no page of another origin."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harp.console.origin import HEADERS, POLICY, Front, Origins, is_loopback

LOCAL = Origins(Front(), is_local=True)
BEHIND = Origins(Front.at("https://nas.example/harp/"), is_local=True)
WIDE = Origins(Front(), is_local=False, is_tls=True)


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8785", "127.0.0.1", "localhost:8785", "LOCALHOST", "[::1]:8785", "127.9.9.9"]
)
def test_this_machine_is_known_by_its_own_names(host: str) -> None:
    assert LOCAL.knows_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:8785",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "",
        "192.168.1.5:8785",
        "[::1",
        "127.1:80",
        "nas.example",
        "::1:8785x",
        "0.0.0.0:8785",
        "2130706433",
    ],
)
def test_a_name_that_a_stranger_can_own_is_not_answered(host: str) -> None:
    assert not LOCAL.knows_host(host)


@given(st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z]{2,8}){1,3}", fullmatch=True), st.integers(1, 65535))
def test_no_name_of_the_dns_is_known_but_the_proxys(name: str, port: int) -> None:
    assert not LOCAL.knows_host(f"{name}:{port}")
    assert BEHIND.knows_host(f"{name}:{port}") == (f"{name}:{port}" == "nas.example")


def test_beyond_this_machine_it_is_known_by_numbers_which_nobody_rebinds() -> None:
    assert WIDE.knows_host("192.168.1.5:8785")
    assert not WIDE.knows_host("evil.example:8785")


def test_under_tls_it_is_known_by_the_names_of_its_certificate_too() -> None:
    named = Origins(Front(), is_local=False, is_tls=True, names=frozenset({"nas.example"}))
    assert named.knows_host("NAS.example:8785")
    assert not named.knows_host("evil.example:8785")
    assert not Origins(Front(), is_local=True, names=frozenset({"nas.example"})).knows_host("nas.example")


def test_only_our_own_page_may_change_something() -> None:
    host = "127.0.0.1:8785"
    assert LOCAL.may_change(host, "http://127.0.0.1:8785", None)
    for origin in ("http://evil.example", "null", "https://127.0.0.1:8785", "http://127.0.0.1:9000", ""):
        assert not LOCAL.may_change(host, origin, "same-origin"), origin
    assert LOCAL.may_change(host, None, "same-origin")
    for site in (None, "same-site", "cross-site", "none"):
        assert not LOCAL.may_change(host, None, site)
    assert WIDE.may_change("10.0.0.1:8785", "https://10.0.0.1:8785", None)


def test_behind_a_proxy_the_origin_is_the_proxys_and_so_is_the_path() -> None:
    assert BEHIND.may_change("nas.example", "https://nas.example", None)
    assert not BEHIND.may_change("nas.example", "http://nas.example", None)
    assert (BEHIND.base("nas.example"), BEHIND.base("127.0.0.1:8785")) == ("/harp", "")
    assert BEHIND.is_secure("nas.example")
    assert not BEHIND.is_secure("127.0.0.1:8785")


def test_the_policy_lets_nothing_inline_or_foreign_in() -> None:
    assert "unsafe" not in POLICY
    assert "http" not in POLICY
    assert POLICY.startswith("default-src 'none'")
    assert HEADERS["Referrer-Policy"] == "same-origin"


def test_what_is_reached_from_this_machine_alone() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "::1", "localhost"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.5", "nas.example"))
