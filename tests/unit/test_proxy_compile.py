# SPDX-License-Identifier: AGPL-3.0-or-later
"""harp.proxy.policy.compile and configuration: same state, same bytes; what a change leads to."""

import base64
import re
from dataclasses import replace
from typing import Any

import pytest

from harp.proxy.model import AppId, Identity, Level, Route, Upstream
from harp.proxy.policy import backends, configuration, frontend, shape
from harp.proxy.policy import compile as policy
from harp.proxy.policy.compile import DropEntry, PutEntry, Reload, RuntimeCommands, SetServer, SwitchMap
from harp.proxy.policy.shape import Shape
from tests.fakes.haproxy import KEY_DIGEST, app

SHAPE = Shape(run="/run/harp", binds=("127.0.0.1:8780",), agent="unix@/a", control="/c", key_digest=KEY_DIGEST)
A, B = AppId("a"), AppId("b")
ROUTE = Route("^/x", Level.USER, (401, 403))
OTHER = Route("^/y", Level.PUBLIC)
INTERNAL = r"^(?:/heartbeat|/init|/enabled)\z 4"
OWN = ("/heartbeat? 4", "/init? 4", "/enabled? 4")


def state(old: policy.State | None = None, **apps: policy.Known) -> policy.State:
    named = {AppId(name): replace(known, app=replace(known.app, id=AppId(name))) for name, known in apps.items()}
    return policy.placed(old, SHAPE, named)


def test_same_state_same_bytes_in_whichever_order_it_came() -> None:
    first = state(a=app(1, ROUTE), b=app(2, OTHER))
    second = state(b=app(2, OTHER), a=app(1, ROUTE))

    assert policy.files(first) == policy.files(second)


def test_an_app_is_one_entry_that_points_to_its_routes() -> None:
    files = policy.files(state(a=app(23001, ROUTE, token="t")))

    nobody = base64.b64encode(b":t").decode()
    assert files["apps.map"] == f"/exapps/a/ t|127.0.0.1|23001|{nobody}|1|0\n"
    assert files["slot0.map"] == f"{INTERNAL}\n^\\A/x 1:401:403\n"
    assert files["begin0.map"] == "".join(f"{line}\n" for line in (*OWN, "/x 1:401:403"))
    assert files["slot1.map"] == files["begin1.map"] == ""


def test_from_a_route_that_haproxy_is_not_given_the_agent_decides() -> None:
    routes = policy.routes_of(app(1, OTHER, Route("(a+)+", Level.PUBLIC), ROUTE).app)

    assert routes == (INTERNAL, "^\\A/y 0", "^ 3")


def test_a_route_that_an_earlier_one_hides_has_no_beginning_and_none_has_behind_an_expression() -> None:
    routes = ("^/a/b/", "^/a/.*", "^/a/c$", "^/(x|y)$", "^/a", "^/[0-9]+$", "^/z")
    known = app(1, *(Route(url, Level.ADMIN, (403 + place,)) for place, url in enumerate(routes)))

    assert policy.beginnings_of(known.app) == (
        *OWN,
        "/a/b/ 2:403",
        "/a/ 2:404",
        "/x? 2:406",
        "/y? 2:406",
        "/a 2:407",
    )


def test_nothing_changed_nothing_is_said() -> None:
    old = state(a=app(1, ROUTE))

    assert policy.changes(old, state(old, a=app(1, ROUTE))) == RuntimeCommands(())


def test_an_app_comes_its_routes_first() -> None:
    old = state()
    new = state(old, a=app(1, ROUTE))

    step = policy.changes(old, new)

    assert isinstance(step, RuntimeCommands)
    assert step.commands == (
        SwitchMap("/run/harp/slot0.map", (INTERNAL, "^\\A/x 1:401:403")),
        SwitchMap("/run/harp/begin0.map", (*OWN, "/x 1:401:403")),
        SetServer(0, Upstream("127.0.0.1", 1)),
        PutEntry("/run/harp/apps.map", "/exapps/a/", policy.record_text(new.apps[A], 0)),
    )


def test_a_new_token_is_a_new_entry() -> None:
    old = state(a=app(1, ROUTE))

    step = policy.changes(old, state(old, a=app(1, ROUTE, token="another")))

    assert isinstance(step, RuntimeCommands)
    assert [type(command) for command in step.commands] == [PutEntry]


def test_what_the_map_of_people_says_is_one_word_and_never_empty() -> None:
    assert policy.user_text(Identity("a b:%\n#é", Level.USER)) == "a%20b%3A%25%0A%23%C3%A9:"
    assert policy.user_text(Identity("", Level.PUBLIC)) == ":"


def test_new_routes_go_into_a_slot_that_nobody_reads() -> None:
    old = state(a=app(1, ROUTE), b=app(2, ROUTE))
    new = state(old, a=app(1, OTHER), b=app(2, ROUTE))

    assert new.slots[B] == old.slots[B]
    assert new.slots[A] not in old.slots.values()
    step = policy.changes(old, new)
    assert isinstance(step, RuntimeCommands)
    assert [type(command) for command in step.commands] == [SwitchMap, SwitchMap, SetServer, PutEntry]


def test_a_slot_that_was_left_a_moment_ago_is_taken_last() -> None:
    old = state(a=app(1, ROUTE))
    newer = state(old, a=app(1, OTHER))
    newest = state(newer, a=app(1, ROUTE))

    assert newest.slots[A] != newer.slots[A]


def test_another_address_is_another_slot_too() -> None:
    old = state(a=app(1, ROUTE))
    new = state(old, a=app(2, ROUTE))
    step = policy.changes(old, new)

    assert isinstance(step, RuntimeCommands)
    assert new.slots[A] != old.slots[A]
    assert [type(command) for command in step.commands] == [SwitchMap, SwitchMap, SetServer, PutEntry]
    assert step.commands[2] == SetServer(new.slots[A], Upstream("127.0.0.1", 2))


def test_a_slot_goes_where_its_app_listens() -> None:
    text = policy.files(state(a=app(23001, ROUTE), b=policy.Known(app(1).app, Upstream("::1", 23002))))["haproxy.cfg"]

    assert re.findall("backend slot.*\n(?:    .*\n)*?    server app (.*)", text)[:3] == [
        "127.0.0.1:23001",
        "[::1]:23002",
        f"{backends.NOWHERE}:1",
    ]


def test_an_app_goes() -> None:
    old = state(a=app(1, ROUTE))

    assert policy.changes(old, state(old)) == RuntimeCommands((DropEntry("/run/harp/apps.map", "/exapps/a/"),))


def test_more_apps_than_slots_is_a_reload_that_says_why() -> None:
    old = state()
    new = state(old, **{f"a{n}": app(n + 1, ROUTE) for n in range(20)})

    assert new.shape.slots >= 40
    assert policy.changes(old, new) == Reload(f"20 apps need {new.shape.slots} slots")
    assert len(set(new.slots.values())) == 20


def test_another_shape_is_a_reload() -> None:
    old = state()

    assert isinstance(policy.changes(old, replace(old, shape=replace(SHAPE, threads=2))), Reload)


def test_seeding_says_everything_anew_while_haproxy_knows_no_app() -> None:
    commands = policy.seeding(state(a=app(1, ROUTE), b=app(2, OTHER))).commands

    order = ("apps", "slot0", "begin0", "slot1", "begin1", "apps")
    switched = [command for command in commands if isinstance(command, SwitchMap)]
    assert [command.path for command in switched] == [f"/run/harp/{n}.map" for n in order]
    assert switched[0].lines == ()
    assert [command.slot for command in commands if isinstance(command, SetServer)] == [0, 1]
    assert commands[-1] is switched[-1]


@pytest.mark.parametrize("name", ["", "a b", "ä", "a|b", "a/b", "#a", "x" * 200])
def test_an_id_that_no_map_can_hold_is_left_to_the_agent(name: str) -> None:
    known = app(1, ROUTE, name=name)

    assert not policy.is_publishable(known.app)
    assert policy.placed(None, SHAPE, {AppId(name): known}).apps == {}


def test_the_header_of_a_person() -> None:
    assert (
        base64.b64decode(policy.header_for(Identity("bjørn", Level.USER), app(1, token="t").app)) == "bjørn:t".encode()
    )


def test_every_word_from_outside_is_quoted() -> None:
    assert shape.quoted('a "b" \\ $HOME #c') == '"a \\"b\\" \\\\ \\$HOME #c"'
    with pytest.raises(ValueError, match="line"):
        shape.quoted("a\nb")


def test_the_key_is_in_no_file() -> None:
    texts = policy.files(state(a=app(1, ROUTE)))

    assert KEY_DIGEST in texts["haproxy.cfg"]
    assert not any("harp-shared-key" in text for name, text in texts.items() if name.endswith(".map"))


def test_more_than_a_hundred_failures_are_a_rate() -> None:
    exact, rate = (configuration.haproxy_cfg(replace(SHAPE, ban_count=count, ban_window_s=60)) for count in (100, 101))

    assert "gpt(100)" in exact
    assert "gpc_rate" not in exact
    assert "table_gpc_rate(0,bans) ge 101" in rate


def test_the_question_waits_no_longer_than_promised() -> None:
    assert "timeout processing 2s" in configuration.spoe_conf()
    assert shape.WAIT_S < shape.ASK_S
    assert shape.WAIT_S * (shape.ASKED_AGAIN + 1) > 25


def test_a_slot_and_the_frontend_are_the_same_whatever_the_apps_are() -> None:
    text = configuration.haproxy_cfg(SHAPE)

    assert "\n".join(frontend.frontend(SHAPE)) in text
    for kind in (backends.slot, backends.asked):
        assert "\n".join(kind(SHAPE, 3)) in text
        assert kind(SHAPE, 3) == [re.sub("(slot|ask|begin)4", r"\g<1>3", line) for line in kind(SHAPE, 4)]


def test_what_is_published_can_be_read_back() -> None:
    for pattern, key in (("^/x", "/exapps/a/"), ("(a+)+", "?/exapps/a/")):
        published = state(a=app(23001, Route(pattern, Level.USER), version="1 |%", token="t|%"))
        line = policy.files(published)["apps.map"].strip()

        assert line.startswith(f"{key} ")
        assert policy.read_record(f"0x55 {line}") == policy.Record(A, 0, "1 |%", Upstream("127.0.0.1", 23001))


def test_an_app_whose_routes_the_agent_comes_to_match_is_withdrawn_first() -> None:
    old = state(a=app(1, ROUTE))
    step = policy.changes(old, state(old, a=app(1, Route("(a+)+", Level.USER))))

    assert isinstance(step, RuntimeCommands)
    assert [type(command) for command in step.commands] == [DropEntry, SwitchMap, SwitchMap, SetServer, PutEntry]


def test_a_condition_that_recurs_in_a_slot_is_read_once() -> None:
    odd = replace(state().shape, run="/run/{ x }/harp")
    for section in (backends.slot(odd, 0), backends.asked(odd, 0)):
        rules = "\n".join(line for line in section if not line.startswith("    acl "))
        assert "if often" in rules
        for condition in re.findall(r"\{ var\([^{}]* \}", rules):
            assert rules.count(condition) == 1, condition
        assert '"/run/{ x }/harp/slot0.map"' in rules, "a path is no condition"


def conditions_looked_at(text: str) -> int:
    """Over how many conditions HAProxy walks on its way to the maps that this names: to each, from the first one."""
    conditions = 0
    before: dict[str, int] = {}
    looks = 0
    for found in re.finditer(r'map_\w+\("([^"]+)"\)|-f "([^"]+)"|\{ |^    acl ', text, re.MULTILINE):
        file = found[1] or found[2]
        if file is None:
            conditions += 1
        else:
            looks += before.setdefault(file, conditions)
    return looks


@pytest.mark.parametrize("more", [{}, {"trusted": ("10.0.0.0/8",)}, {"pools": (("a", ("10.0.0.1:1", "b:1")),)}])
def test_more_slots_do_not_put_more_conditions_before_any_map(more: dict[str, Any]) -> None:
    few, many = (configuration.haproxy_cfg(replace(SHAPE, slots=slots, **more)) for slots in (16, 512))

    assert many.count("map_reg(") > 500 < many.count("map_beg(")
    assert many.count("{ ") > 10_000
    assert conditions_looked_at(few) == conditions_looked_at(many)
