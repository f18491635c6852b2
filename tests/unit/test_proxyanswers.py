# SPDX-License-Identifier: AGPL-3.0-or-later
"""What HAProxy says of its apps, read: harp.daemon.proxyanswers."""

import pytest

from harp.base.errors import UsageError
from harp.bridge.proxyview import AppFigures
from harp.daemon.proxyanswers import MOST_ROUTES, ProxyAnswers, read_app, read_figures
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


def test_figures_are_those_of_the_backend() -> None:
    figures = read_figures(STATS)
    assert figures["slot3"] == AppFigures(requests=130, errors=5, mean_ms=12, most_ms=900, sessions=3)
    assert figures["slot4"] == AppFigures()
    assert set(figures) == {"slot3", "slot4"}
    assert read_figures("") == {}


def test_an_app_is_shown_with_its_routes_and_without_its_token() -> None:
    found = read_app("0x55 /exapps/app/ 3|1.0|nobody|10.0.0.7|9000", {"app": an_app()}, read_figures(STATS))
    assert found is not None
    assert (found.id, found.upstream, found.version) == ("app", "10.0.0.7:9000", "1.0")
    assert [(route.pattern, route.level) for route in found.routes] == [("^/0", "user")]
    assert found.figures.requests == 130
    assert "secret" not in repr(found)


def test_an_app_with_very_many_routes_shows_some_of_them() -> None:
    found = read_app("0x55 /exapps/app/ 3|1.0|nobody|10.0.0.7|9000", {"app": an_app(MOST_ROUTES + 5)}, {})
    assert found is not None
    assert (len(found.routes), found.route_count) == (MOST_ROUTES, MOST_ROUTES + 5)


@pytest.mark.parametrize(
    "line", ["", "0x55", "0x55 /exapps/a/", "0x55 /exapps/a/ x|1|2|3|4", "0x55 /exapps/a/ 1|2", "0x55 a 1|1|x|::1|2"]
)
def test_a_line_that_is_not_understood_is_no_app(line: str) -> None:
    assert read_app(line, {}, {}) is None


def test_an_app_that_the_agent_has_not_written_down_yet_has_no_routes() -> None:
    found = read_app("0x55 /exapps/\x1b[2Japp/ 3|1.0|nobody|10.0.0.7|9000", {}, {})
    assert found is not None
    assert (found.id, found.routes) == ("\\x1b[2Japp", [])


async def test_without_a_proxy_there_is_nothing_to_show_or_lift() -> None:
    answers = ProxyAnswers(lambda: None)
    assert not (await answers.proxy()).is_running
    with pytest.raises(UsageError, match="no proxy runs here"):
        await answers.lift("10.0.0.9")
