# SPDX-License-Identifier: AGPL-3.0-or-later
"""What HAProxy says of its apps, read: harp.daemon.proxyanswers."""

import asyncio
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harp.base.errors import UsageError
from harp.bridge.proxyview import AppFigures
from harp.daemon.proxyanswers import MOST_ROUTES, ProxyAnswers, knocked_at, quantile, read_app, read_figures, read_times
from harp.proxy.model import AppId, ExApp, Level, Route

STATS = (
    "# pxname,svname,scur,stot,hrsp_5xx,econ,eresp,rtime,rtime_max,\n"
    "slot3,app,1,90,,,,,,\n"
    "slot3,BACKEND,2,120,3,1,,12,250,\n"
    "slot4,BACKEND,0,0,,,,,,\n"
    "ask3,BACKEND,1,10,1,,,90,900,\n"
    "exapps,FRONTEND,9,9,9,9,9,9,9,\n"
)


def an_app(routes: int = 1) -> ExApp:
    known = tuple(Route(f"^/{number}", Level.USER) for number in range(routes))
    return ExApp(AppId("app"), "a-secret-token", "1.0", "10.0.0.7", 9000, known)


async def test_an_app_that_takes_connections_listens_and_another_does_not() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    there = server.sockets[0].getsockname()[1]
    # Bound, and nobody listens: no other process can take the port meanwhile.
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        lines = [
            f"0x55 /exapps/{name}/ token|127.0.0.1|{port}|nobody|1.0|{slot}"
            for name, slot, port in (("there", 2, there), ("gone", 3, bound.getsockname()[1]))
        ]
        async with server:
            found = await knocked_at([*lines, "nonsense"], {}, {})
    assert [(app.id, app.listens) for app in found] == [("there", True), ("gone", False)]


def test_figures_are_those_of_the_backend() -> None:
    figures = read_figures(STATS, {"slot3": [2, 3, 200]})
    assert figures["slot3"] == AppFigures(
        requests=130, errors=5, most_ms=900, sessions=3, p50_ms=3, p99_ms=200, timed=3
    )
    assert figures["slot4"] == AppFigures()
    assert set(figures) == {"slot3", "slot4"}
    assert read_figures("", {}) == {}


def test_waits_are_those_of_the_ring() -> None:
    lines = [
        *(f'{{"backend":"slot{n % 2}","status":200,"wait":{n}}}' for n in range(10)),
        '{"backend":"slot1","status":503,"wait":-1}',
        '{"backend":"slot1","status":200,"wait":7,"time":"2026-11-28T13:00:00Z","client":"10.0.0.9","path":"/cut',
        '{"backend":"refuse","status":403,"wait":5}',
        '"backend":"slot1","status":200,"wait":9}',
        '{"backend":"ask1","status":200,"wait":11}',
        '{"backend":"slot1","status":200,"wait":12',
    ]
    times = read_times("\n".join(lines))
    assert times == {"slot0": [0, 2, 4, 6, 8], "slot1": [1, 3, 5, 7, 7, 9, 11]}
    assert read_times("") == {}


@given(st.lists(st.integers(0, 10**6), min_size=1), st.sampled_from([0.5, 0.99]))
def test_a_quantile_is_a_wait_that_so_many_do_not_exceed(waits: list[int], share: float) -> None:
    waits.sort()
    found = quantile(waits, share)
    assert found in waits
    assert sum(wait <= found for wait in waits) >= share * len(waits)
    assert sum(wait < found for wait in waits) < share * len(waits)


def test_of_no_waits_there_is_no_quantile() -> None:
    assert quantile([], 0.5) is None


def test_an_app_is_shown_with_its_routes_and_without_its_token() -> None:
    found = read_app("0x55 /exapps/app/ token|10.0.0.7|9000|nobody|1.0|3", {"app": an_app()}, read_figures(STATS, {}))
    assert found is not None
    assert (found.id, found.upstream, found.version) == ("app", "10.0.0.7:9000", "1.0")
    assert [(route.pattern, route.level) for route in found.routes] == [("^/0", "user")]
    assert found.figures.requests == 130
    assert "secret" not in repr(found)


def test_an_app_with_very_many_routes_shows_some_of_them() -> None:
    found = read_app("0x55 /exapps/app/ token|10.0.0.7|9000|nobody|1.0|3", {"app": an_app(MOST_ROUTES + 5)}, {})
    assert found is not None
    assert (len(found.routes), found.route_count) == (MOST_ROUTES, MOST_ROUTES + 5)


@pytest.mark.parametrize(
    "line",
    ["", "0x55", "0x55 /exapps/a/", "0x55 /exapps/a/ t|1|2|3|4|x", "0x55 /exapps/a/ 1|2", "0x55 a t|::1|2|x|1|1"],
)
def test_a_line_that_is_not_understood_is_no_app(line: str) -> None:
    assert read_app(line, {}, {}) is None


def test_an_app_that_the_agent_has_not_written_down_yet_has_no_routes() -> None:
    found = read_app("0x55 /exapps/\x1b[2Japp/ token|10.0.0.7|9000|nobody|1.0|3", {}, {})
    assert found is not None
    assert (found.id, found.routes) == ("\\x1b[2Japp", [])


async def test_without_a_proxy_there_is_nothing_to_show_or_lift() -> None:
    answers = ProxyAnswers(lambda: None)
    assert not (await answers.proxy()).is_running
    with pytest.raises(UsageError, match="no proxy runs here"):
        await answers.lift("10.0.0.9")
