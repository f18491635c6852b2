# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who fails too often is not served for a while (contract, sections 2.2 and 2.10; numbers 96 to 108)."""

import time
from collections.abc import Callable

import pytest

from tests.contract.conftest import Cloud, Launch
from tests.contract.instance import Harp
from tests.contract.talk import SILENCE, Caller, Headers, Reply, cookie, next_name
from tests.fakes.exapp import Answer, ExApp, route
from tests.fakes.nextcloud import ORDINARY

Known = Callable[..., str]
COUNT = 10


@pytest.fixture
def app(known: Known) -> str:
    return known(route("^/public"), route("^/guarded", protected=(401, 418)), route("^/user", ORDINARY))


def is_banned(caller: Caller, app: str, headers: Headers = ()) -> bool:
    """Whether a public route is closed to it; says so where the answer is neither yes nor no."""
    reply = caller.get(f"/exapps/{app}/public", headers, patience_s=1.5)
    assert reply.status in (200, 429, SILENCE), reply
    return reply.status != 200


@pytest.mark.contract(96)
def test_096_nine_failures_are_forgiven_ten_are_not(harp: Harp, app: str, someone: Caller) -> None:
    for _ in range(COUNT - 1):
        assert someone.get(f"/exapps/{app}/nowhere").status == 404
    assert not is_banned(someone, app)

    assert someone.get(f"/exapps/{app}/nowhere").status == 404
    assert is_banned(someone, app)
    assert not is_banned(harp.caller(), app), "and nobody else is"


@pytest.mark.contract(96)
def test_a_ban_says_when_to_come_again(harp: Harp, app: str, someone: Caller) -> None:
    for _ in range(COUNT):
        someone.get(f"/exapps/{app}/nowhere")

    reply = someone.get(f"/exapps/{app}/public", patience_s=1.5)

    if harp.is_reference:
        assert reply.status == SILENCE
    else:
        assert reply.status == 429
        assert 1 <= int(reply.values("retry-after")[0]) <= 300


@pytest.mark.contract(97)
@pytest.mark.slow
def test_097_a_ban_ends_with_its_window(launch: Launch, app: str) -> None:
    with launch(HP_BLACKLIST_WINDOW="4", HP_BLACKLIST_COUNT="3") as own:
        someone = own.caller()
        someone.get(f"/exapps/{app}/nowhere")
        time.sleep(2)
        for _ in range(2):
            someone.get(f"/exapps/{app}/nowhere")
        assert is_banned(someone, app)

        # The first failure is older than the window now, the others are not: two are too few.
        time.sleep(2.4 if not own.is_reference else 0.9)
        assert not is_banned(someone, app)
        someone.get(f"/exapps/{app}/nowhere")
        assert is_banned(someone, app)


def fails(caller: Caller, target: str, status: int, headers: Headers = (), times: int = COUNT) -> None:
    for _ in range(times):
        assert caller.get(target, headers).status == status


@pytest.mark.contract(98)
@pytest.mark.deviates("nothing counts with the right key")
def test_098_a_403_counts(harp: Harp, app: str, someone: Caller, another: Caller) -> None:
    fails(someone, f"/exapps/{app}/user", 403)
    assert is_banned(someone, app)

    key = ("harp-shared-key", harp.key)
    fails(another, f"/exapps/{app}/user", 403, [key])
    assert is_banned(another, app) is harp.is_reference


@pytest.mark.contract(99)
@pytest.mark.deviates("nothing counts with the right key")
def test_099_a_path_without_a_route_counts(harp: Harp, app: str, someone: Caller, another: Caller) -> None:
    fails(someone, f"/exapps/{app}/nowhere", 404)
    assert is_banned(someone, app)

    fails(another, f"/exapps/{app}/nowhere", 404, [("harp-shared-key", harp.key)])
    assert is_banned(another, app) is harp.is_reference


@pytest.mark.contract(100)
@pytest.mark.contract(101)
@pytest.mark.parametrize("target", ["/exapps/UNKNOWN/x", "/no/app/at/all"])
def test_100_and_101_an_unknown_app(harp: Harp, app: str, someone: Caller, another: Caller, target: str) -> None:
    target = target.replace("UNKNOWN", next_name("unknown"))

    fails(someone, target, 404)
    assert is_banned(someone, app)

    fails(another, target, 404, [("harp-shared-key", harp.key)], times=COUNT + 2)
    assert not is_banned(another, app)


@pytest.mark.contract(100)
def test_what_is_refused_without_a_word_counts_too(harp: Harp, app: str, someone: Caller, another: Caller) -> None:
    for _ in range(COUNT):
        someone.get(f"/exapps/{app}/a/../b", patience_s=0.3)
    assert is_banned(someone, app)

    for _ in range(COUNT):
        another.get(f"/exapps/{app}/heartbeat", patience_s=0.3)
    assert is_banned(another, app)


@pytest.mark.contract(102)
def test_102_a_status_that_the_route_watches_counts_and_is_delivered(exapp: ExApp, app: str, someone: Caller) -> None:
    exapp.answers["/guarded/in"] = Answer(status=401, body=b"the app's own 401")

    for _ in range(COUNT):
        reply = someone.get(f"/exapps/{app}/guarded/in")
        assert (reply.status, reply.body) == (401, b"the app's own 401")

    assert is_banned(someone, app)
    assert len(exapp.seen) == COUNT


@pytest.mark.contract(103)
def test_103_other_statuses_do_not_count(exapp: ExApp, app: str, someone: Caller) -> None:
    exapp.answers["/guarded/in"] = Answer(status=403)
    exapp.answers["/public/in"] = Answer(status=401)

    fails(someone, f"/exapps/{app}/guarded/in", 403, times=COUNT + 2)
    fails(someone, f"/exapps/{app}/public/in", 401, times=COUNT + 2)

    assert not is_banned(someone, app)


@pytest.mark.contract(104)
def test_104_trouble_at_nextcloud_does_not_count(
    nextcloud: Cloud, app: str, person: Callable[..., str], someone: Caller
) -> None:
    fails(someone, f"/exapps/{app}/user", 401, [cookie(person(said=503))], times=COUNT + 2)

    assert not is_banned(someone, app)


@pytest.mark.contract(105)
def test_105_without_trusted_proxies_x_forwarded_for_is_talk(harp: Harp, app: str, someone: Caller) -> None:
    if someone.is_forwarded:
        pytest.skip("this HaRP trusts this machine")
    for number in range(COUNT):
        claims = [("X-Forwarded-For", f"198.51.100.{number}"), ("X-Real-IP", f"198.51.100.{number}")]
        assert someone.get(f"/exapps/{app}/nowhere", claims).status == 404

    assert is_banned(someone, app, [("X-Forwarded-For", "203.0.113.9")])
    assert not is_banned(harp.caller(), app, [("X-Forwarded-For", "198.51.100.0")])


PROXY, SECOND, STRANGER = "127.0.9.77", "127.0.8.1", "127.0.8.2"


def through(own: Harp, app: str, path: str, *headers: tuple[str, str], proxy: str = PROXY) -> Reply:
    return own.caller(proxy).get(f"/exapps/{app}{path}", headers, patience_s=1.5)


def is_served(own: Harp, app: str, *headers: tuple[str, str], proxy: str = PROXY) -> bool:
    reply = through(own, app, "/public", *headers, proxy=proxy)
    assert reply.status in (200, 429, SILENCE), reply
    return reply.status == 200


@pytest.mark.contract(106)
@pytest.mark.deviates("the right-most address that is no trusted proxy: the left-most is what the client says itself")
def test_106_whom_a_trusted_proxy_speaks_for(launch: Launch, app: str) -> None:
    with launch(HP_TRUSTED_PROXY_IPS=f"{PROXY}, {SECOND}") as own:
        for _ in range(COUNT):
            through(own, app, "/nowhere", ("X-Forwarded-For", f"198.51.100.7, 203.0.113.5, {SECOND}"))

        left, right = ("X-Forwarded-For", "198.51.100.7"), ("X-Forwarded-For", "203.0.113.5")
        assert is_served(own, app, left) is not own.is_reference
        assert is_served(own, app, right) is own.is_reference
        assert is_served(own, app), "the proxy itself has done nothing"


@pytest.mark.contract(106)
def test_a_lone_address_is_the_client(launch: Launch, app: str) -> None:
    with launch(HP_TRUSTED_PROXY_IPS=PROXY) as own:
        for client in ("198.51.100.8", "2001:db8::8"):
            for _ in range(COUNT):
                assert through(own, app, "/nowhere", ("X-Forwarded-For", client)).status == 404
            assert not is_served(own, app, ("X-Forwarded-For", client))
        assert is_served(own, app, ("X-Forwarded-For", "198.51.100.9"))
        assert is_served(own, app, ("X-Forwarded-For", "2001:db9::8"))


@pytest.mark.contract(107)
def test_107_what_is_no_address(launch: Launch, app: str) -> None:
    with launch(HP_TRUSTED_PROXY_IPS=PROXY) as own:
        unknown, real = ("X-Forwarded-For", "unknown"), ("X-Real-IP", "198.51.100.10")
        for _ in range(COUNT):
            assert through(own, app, "/nowhere", unknown, real).status == 404
        assert not is_served(own, app, ("X-Forwarded-For", "198.51.100.10"))
        assert is_served(own, app, unknown)

        for _ in range(COUNT):
            assert through(own, app, "/nowhere", unknown, ("X-Real-IP", "none")).status == 404
        assert not is_served(own, app), "then it is the peer"


@pytest.mark.contract(108)
@pytest.mark.parametrize(
    "trusted",
    [f"\"127.0.9.20/24\",'{SECOND}',garbage", f"\u201c127.0.9.20/24\u201d, \u2018{SECOND}\u2019,, 300.1.2.3/8 ,x/y"],
)
def test_108_a_list_of_proxies_with_quotes_and_garbage(launch: Launch, app: str, trusted: str) -> None:
    client = ("X-Forwarded-For", "198.51.100.11")
    with launch(HP_TRUSTED_PROXY_IPS=trusted) as own:
        for _ in range(COUNT):
            through(own, app, "/nowhere", client)

        assert not is_served(own, app, client)
        assert not is_served(own, app, client, proxy=SECOND)
        assert is_served(own, app, client, proxy=STRANGER)
        assert is_served(own, app, ("X-Forwarded-For", "198.51.100.12"), proxy=SECOND)
