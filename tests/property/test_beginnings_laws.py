# SPDX-License-Identifier: AGPL-3.0-or-later
"""harp.proxy.policy: the beginnings that spare HAProxy the expressions say what the expressions say."""

import itertools
import re

from hypothesis import example, given
from hypothesis import strategies as st

from harp.proxy.model import AppId, ExApp, Level, Route
from harp.proxy.policy import compile as policy
from harp.proxy.policy import decide
from harp.proxy.policy.patterns import END, beginnings
from tests.fakes.routes import route_lists, targets, written


def longest(found: list[str], path: str) -> str | None:
    """As HAProxy looks a path up, which holds no END."""
    return max((text for text in found if f"{path}{END}".startswith(text)), key=len, default=None)


@given(written, st.lists(targets, min_size=1, max_size=9))
@example(r"^/a\?", ["/a", "/"])
@example(r"^\/?a$", ["/a", "/ab"])
@example("^/[^/]", ["/", "/a"])
@example("a{0,64}b?", ["/"])
@example(r"^$", ["/"])
def test_an_expression_matches_what_begins_so_and_nothing_else(pattern: str, paths: list[str]) -> None:
    begun = beginnings(pattern)
    if begun is not None:
        for path in paths:
            assert (longest(list(begun), path) is not None) == (re.match(pattern, path) is not None), path


@given(route_lists, st.lists(targets, max_size=9))
@example((Route("^/a/b$", Level.ADMIN), Route("^/a", Level.PUBLIC)), ["/a/b", "/a/bc", "/a"])
@example((Route("^/a", Level.PUBLIC), Route("^/a/b$", Level.ADMIN)), ["/a/b"])
@example((Route("^/[^/]+$", Level.ADMIN), Route("^/.*", Level.PUBLIC)), ["/a", "/a/"])
def test_the_longest_beginning_is_that_of_the_first_route(routes: tuple[Route, ...], paths: list[str]) -> None:
    lines = policy.beginnings_of(ExApp(AppId("app"), "token", "1", "127.0.0.1", 1, routes))
    says = dict(line.split(" ") for line in lines)
    told = tuple(itertools.takewhile(lambda route: beginnings(route.pattern) is not None, routes))

    for path in (*paths, "/init", "/initial"):
        found = longest(list(says), path)
        first = next((route for route in told if re.match(route.pattern, path)), None)
        if decide.is_internal(path):
            assert found == f"{path}{END}"
        else:
            assert (found and says[found]) == (first and policy.route_text(first)), path
