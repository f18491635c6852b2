# SPDX-License-Identifier: AGPL-3.0-or-later
"""Laws of listening to a Nextcloud: whatever is told, nobody goes elsewhere; whatever is said is a word or none."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harp.base.errors import CloudError, StaleError
from harp.sync.cloud import capabilities, push
from harp.sync.cloud.push import ElsewhereError, Heard

texts = st.text(alphabet=st.characters(codec="utf-8"), max_size=200)
hosts = st.sampled_from(
    ["cloud.example", "CLOUD.example", "cloud.example.evil.example", "127.0.0.1", "[::1]", "localhost"]
)
ports = st.sampled_from(["", ":443", ":8443", ":99999"])
paths = st.sampled_from(
    ["", "/", "/push/ws", "/nextcloud/push/ws", "/../x", "/%2e%2e/x", "/push?x=1", "/@evil.example/"]
)
addresses = st.builds(
    lambda scheme, who, host, port, path: f"{scheme}://{who}{host}{port}{path}",
    st.sampled_from(["wss", "ws", "https", "WSS", "file"]),
    st.sampled_from(["", "evil.example@", "cloud.example:443@"]),
    hosts,
    ports,
    paths,
)
accounts = st.sampled_from(
    ["https://cloud.example", "https://cloud.example:8443/nextcloud", "https://127.0.0.1", "http://127.0.0.1:8080"]
)
jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["websocket", "type", "endpoints"]), inner)
    ),
    max_leaves=8,
)


@given(texts)
@example("notify_file_id " + "[" * 100_000)
def test_any_message_is_one_of_the_three(text: str) -> None:
    heard = push.heard(text)
    word = text.split(" ")[0]
    assert (heard is Heard.FILES) == (word in ("notify_file", "notify_file_id"))
    assert (heard is Heard.WELCOME) == (word == "authenticated")


@given(texts)
def test_what_is_said_in_place_of_a_welcome_can_be_shown(text: str) -> None:
    shown = push.refusal(text)
    assert shown
    assert shown.isprintable()
    assert len(shown) <= push.MOST_SHOWN


@given(addresses | texts, accounts)
@example("wss://cloud.example/push/ws", "https://cloud.example")
@example("ws://127.0.0.1:7867/ws", "http://127.0.0.1:8080")
def test_whatever_is_told_nobody_goes_to_another_host_or_without_tls(told: str, url: str) -> None:
    try:
        found = push.address(told, url)
    except ElsewhereError:
        return
    except StaleError:
        if told:
            raise
        return
    assert found.host == url.split("//")[1].split("/")[0].split(":")[0]
    assert found.is_secure or url.startswith("http://")
    assert found.path.startswith("/")


@pytest.mark.parametrize(
    ("told", "url", "where"),
    [
        ("wss://cloud.example/push/ws", "https://cloud.example/nextcloud", "wss://cloud.example/push/ws"),
        ("wss://Cloud.Example:7867/ws", "https://cloud.example", "wss://cloud.example:7867/ws"),
        ("ws://127.0.0.1:80/push/ws", "http://127.0.0.1", "ws://127.0.0.1/push/ws"),
        ("wss://127.0.0.1/push/ws", "http://127.0.0.1:8080", "wss://127.0.0.1/push/ws"),
    ],
)
def test_the_servers_own_place_is_a_good_one(told: str, url: str, where: str) -> None:
    assert str(push.address(told, url)) == where


@given(jsons)
def test_whatever_stands_in_the_capabilities_is_an_address_to_look_at_or_none(told: object) -> None:
    read = capabilities.read({"ocs": {"data": {"capabilities": {"notify_push": told}}}})
    try:
        push.address(read.push, "https://cloud.example")
    except CloudError:
        pass


def test_an_address_counts_where_files_are_told_of() -> None:
    def told(**push: object) -> object:
        return {"ocs": {"data": {"capabilities": {"notify_push": push}}}}

    endpoints = {
        "websocket": "wss://cloud.example/push/ws",
        "pre_auth": "https://cloud.example/apps/notify_push/pre_auth",
    }
    assert capabilities.read(told(type=["files"], endpoints=endpoints)).push == "wss://cloud.example/push/ws"
    assert capabilities.read(told(type=["activities"], endpoints=endpoints)).push == ""
