# SPDX-License-Identifier: AGPL-3.0-or-later
"""What harp.proxy.doctor.diagnosis makes of what was seen, with the lines of harp.proxy.doctor.remedies."""

from typing import Any

import pytest

from harp.proxy.doctor import diagnosis, remedies
from harp.proxy.doctor.seen import Answered, Frp, Reach, Through, Upstream


@pytest.mark.parametrize("reach", [each for each in Reach if each is not Reach.ANSWERED])
def test_what_is_not_reached_has_a_remedy(reach: Reach) -> None:
    finding = diagnosis.reached("public address", Answered(address="https://cloud.example.org", reach=reach))
    assert not finding.ok
    assert finding.remedy


@pytest.mark.parametrize(
    ("version", "ok"), [("0.3.0", True), ("0.4.4", True), ("1.0.0", True), ("0.2.9", False), ("", False)]
)
def test_how_old_is_too_old(version: str, ok: bool) -> None:
    seen = Answered(address="http://127.0.0.1:8780", reach=Reach.ANSWERED, status=200, version=version)
    assert [each.ok for each in diagnosis.control(seen)] == [True, True, ok]


def test_nextcloud_is_not_asked_for_the_key_without_an_app() -> None:
    seen = Answered(address="https://cloud.example.org", reach=Reach.ANSWERED, status=401)
    assert [each.ok for each in diagnosis.nextcloud(seen, is_keyed=False)] == [True]
    assert [each.ok for each in diagnosis.nextcloud(seen, is_keyed=True)] == [True, False]


@pytest.mark.parametrize(
    "lines",
    [
        remedies.UPSTREAM,
        remedies.STRIPPED,
        remedies.PREFIXED,
        remedies.NOT_PASSED,
        remedies.WEBSOCKET,
        remedies.BUFFERED,
        remedies.FORWARDED,
    ],
)
def test_each_fault_has_a_line_for_each_web_server(lines: dict[str, str]) -> None:
    assert list(lines) == ["nginx", "Apache", "Caddy", "Traefik"]
    assert [line.partition(": ")[0] for line in remedies.each(lines).splitlines()] == list(lines)


def seen(**changed: Any) -> list[tuple[str, bool, str]]:
    said: dict[str, Any] = {"address": "0.0.0.0:8782", "runs": True, "listens": True, "ends": 5000.0, **changed}
    found = list(diagnosis.frp(Frp(**said)))
    assert all(bool(each.remedy) is not each.ok for each in found)
    return [(each.name, each.ok, each.text) for each in found]


def test_no_frps_is_a_fault_only_where_an_engine_needs_one() -> None:
    assert [ok for _name, ok, _text in seen(runs=False)] == [True]
    [(_name, ok, text)] = seen(runs=False, elsewhere=("tcp://192.0.2.5:2375",))
    assert (ok, text.partition(",")[0]) == (False, "frps not found: FRP daemons cannot be used")


def test_an_frps_that_does_not_listen() -> None:
    assert seen() == [("FRP", True, "frps listens on 0.0.0.0:8782")]
    assert seen(listens=False) == [("FRP", False, "frps does not listen on 0.0.0.0:8782")]


@pytest.mark.parametrize(("ends", "said"), [(29.0, "ends in 29 days"), (-0.1, "has ended"), (31.0, ""), (None, "")])
def test_an_authority_that_ends_is_said_a_month_before(ends: float | None, said: str) -> None:
    found = [text for name, ok, text in seen(ends=ends) if name == "FRP's authority" and not ok]

    assert [said in text for text in found] == ([True] if said else [])


def test_an_app_behind_frp_that_is_not_there() -> None:
    there = diagnosis.upstream(Upstream(app="a", address="127.0.0.1:23001", reach=Reach.REFUSED))
    here = diagnosis.upstream(Upstream(app="a", address="172.17.0.2:23001", reach=Reach.REFUSED))

    assert "has not come through FRP" in there.text
    assert "listens on 127.0.0.1 inside its container" in here.text


@pytest.mark.parametrize(
    ("direct", "appapi", "said"),
    [
        (401, 200, {"shared key": "restart harp proxy: it runs with an older one"}),
        (401, 401, {"shared key": "proxy.env in its home", "Nextcloud's key": "look at `shared key` first"}),
        (200, 401, {"Nextcloud's key": "`occ app_api:daemon:unregister NAME`"}),
        (200, 200, {}),
    ],
)
def test_on_which_side_the_key_is_wrong(direct: int, appapi: int, said: dict[str, str]) -> None:
    harp = Answered(address="http://h", reach=Reach.ANSWERED, status=direct, version="1.0.0")
    cloud = Answered(address="http://c", reach=Reach.ANSWERED, status=appapi)
    found = [
        *diagnosis.control(harp, appapi_takes=diagnosis.takes_key(cloud)),
        *diagnosis.nextcloud(cloud, is_keyed=True, harp_takes=diagnosis.takes_key(harp) is True),
    ]
    failed = {each.name: each.remedy for each in found if not each.ok}
    assert failed.keys() == said.keys()
    assert all(part in failed[name] for name, part in said.items())


def test_nextcloud_with_another_key_never_got_as_far_as_an_app() -> None:
    seen = Answered(address="https://cloud.example.org", reach=Reach.ANSWERED, status=200)
    found = list(diagnosis.nextcloud(seen, is_keyed=False, strangers=3))
    assert [each.ok for each in found] == [True, False]
    assert "3 times somebody came with another key" in found[1].text


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_web_server_that_does_not_reach_harp(status: int) -> None:
    front = Answered(address="https://cloud.example.org", reach=Reach.ANSWERED, status=status)
    [_reached, path] = diagnosis.through(Through(front=front))
    assert "does not reach Harp" in path.text
    assert "port 8780" in path.remedy


def test_a_web_server_that_waits_for_harp() -> None:
    front = Answered(address="https://cloud.example.org", reach=Reach.SILENT)
    [reached, path] = diagnosis.through(Through(front=front))
    assert (reached.ok, path.ok) == (True, False)
    assert "dropped" in path.text
