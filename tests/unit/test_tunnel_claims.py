# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may come through FRP, and what each may claim: harp.proxy.policy.tunnels."""

from typing import Any

import pytest

from harp.proxy.model import AppId, ExApp
from harp.proxy.policy.tunnels import (
    AppHolder,
    Claim,
    Holder,
    KeyHolder,
    holder_of,
    is_guess,
    refusal,
    token_of,
)

SECRET = b"a secret of thirty-two bytes and more"
KEY = "the-shared-key"
APP = AppId("app")
OWN = AppHolder(APP, 23_001)


def holder(token: str, *, secret: bytes = SECRET, key: str = KEY) -> Holder | None:
    return holder_of(token, secret=secret, key=key)


def refused(who: Holder, claim: Claim, **around: Any) -> str:
    said: dict[str, Any] = {"record": record(), "others": (), "named": (24_000,), **around}
    return refusal(who, claim, **said)


def record(host: str = "127.0.0.1", port: int = 23_001) -> ExApp:
    return ExApp(APP, "a-token", "1.0", host, port)


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_a_token_is_that_of_one_app_and_one_port() -> None:
    token = token_of(SECRET, APP, 23_001)

    assert holder(token) == OWN
    assert token == token_of(SECRET, APP, 23_001), "a restart changes nothing"
    assert len({token_of(SECRET, AppId(app), port) for app in ("a", "b") for port in (1, 2)}) == 4
    assert holder(token, secret=b"another secret of thirty-two bytes") is None
    assert holder(token, key="another-key") == OWN, "apps stay when the shared key is changed"


def test_a_token_that_was_altered_is_nobodys() -> None:
    mac, port, app = token_of(SECRET, APP, 23_001).split(".")

    for altered in (
        f"{mac}.23002.{app}",
        f"{mac}.{port}.other",
        f"{mac[:-1]}{'0' if mac[-1] != '0' else '1'}.{port}.{app}",
        f"{mac}.{port}.{app.upper()}",
        f"{mac}.0{port}.{app}",
        f"{mac}.{port}",
        mac,
        f"{mac}.{port}.",
        f"{mac}.{'9' * 4000}.{app}",
        f"{mac}.٢٣٠٠١.{app}",
        "",
        "\ud800",
    ):
        assert holder(altered) is None, altered


def test_names_and_ports_cannot_be_moved_between_each_other() -> None:
    """``1.23.app`` could be port 1 of ``23.app``, or 123 of ``app``, were they not apart."""
    assert holder(token_of(SECRET, AppId("23.app"), 1)) == AppHolder(AppId("23.app"), 1)
    assert (
        token_of(SECRET, AppId("3.app"), 12).partition(".")[0] != token_of(SECRET, AppId("app"), 123).partition(".")[0]
    )


def test_the_shared_key_is_a_token_too() -> None:
    assert holder(KEY) == KeyHolder()
    assert holder(KEY + "x") is None
    assert holder(KEY[:-1]) is None


def test_only_what_may_be_meant_for_the_shared_key_is_a_guess() -> None:
    assert not is_guess(f"{'0' * 64}.23001.app")
    for guess in ("", "x", "0" * 64, f"{'0' * 64}.23001", f"{'g' * 64}.23001.app"):
        assert is_guess(guess), guess


# --- claims -----------------------------------------------------------------------------------------------------------


def test_an_app_gets_its_own_port_under_its_own_name() -> None:
    assert refused(OWN, Claim("app", "tcp", 23_001)) == ""
    assert refused(OWN, Claim("App", "tcp", 23_001)) == "", "an app's id has no case"


@pytest.mark.parametrize(
    ("claim", "why"),
    [
        (Claim("other", "tcp", 23_001), "for the name app alone"),
        (Claim("", "tcp", 23_001), "for the name app alone"),
        (Claim("somebody.app", "tcp", 23_001), "for the name app alone"),
        (Claim("app", "tcp", 23_002), "for the port 23001 alone"),
        (Claim("app", "tcp", 0), "for the port 23001 alone"),
        (Claim("app", "tcp", 24_001), "for the port 23001 alone"),
        (Claim("app", "udp", 23_001), "of type tcp"),
        (Claim("app", "stcp", 0), "of type tcp"),
        (Claim("app", "http", 0), "of type tcp"),
        (Claim("app", "tcp", 23_001, "a group"), "of type tcp"),
    ],
)
def test_and_nothing_else(claim: Claim, why: str) -> None:
    assert why in refused(OWN, claim)


@pytest.mark.parametrize(
    ("around", "why"),
    [
        ({"record": None}, "Nextcloud knows no app of this name"),
        ({"record": record(port=23_002)}, "this app's port is 23002"),
        ({"record": record(host="app")}, "--harp_exapp_direct"),
        ({"record": record(host="192.0.2.1")}, "--harp_exapp_direct"),
        ({"others": ["zoo", "other"]}, "the port is that of the app other too"),
    ],
)
def test_what_nextcloud_says_of_the_app_counts(around: dict[str, Any], why: str) -> None:
    for who in (OWN, KeyHolder()):
        assert why in refused(who, Claim("app", "tcp", 23_001), **around)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.0.0.9"])
def test_all_names_of_loopback(host: str) -> None:
    assert refused(OWN, Claim("app", "tcp", 23_001), record=record(host=host)) == ""


def test_a_port_beyond_those_of_apps_stays_shut_whatever_the_record_says() -> None:
    assert "from 23000 to 23999" in refused(AppHolder(APP, 8080), Claim("app", "tcp", 8080), record=record(port=8080))


def test_the_shared_key_brings_engines_that_have_no_other_place() -> None:
    assert refused(KeyHolder(), Claim("whatever", "tcp", 24_001), record=None) == ""
    assert "HP_DOCKER_ENGINES" in refused(KeyHolder(), Claim("whatever", "tcp", 24_000), record=None)
    assert refused(KeyHolder(), Claim("whatever", "tcp", 24_100), record=None)
    assert refused(KeyHolder(), Claim("whatever", "tcp", 22), record=None)


def test_the_shared_key_brings_an_app_of_the_reference_to_its_own_port() -> None:
    assert refused(KeyHolder(), Claim("app", "tcp", 23_001)) == ""
    assert "this app's port is 23001" in refused(KeyHolder(), Claim("app", "tcp", 23_002))
