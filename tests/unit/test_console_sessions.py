# SPDX-License-Identifier: AGPL-3.0-or-later
"""Links that work once, sessions that outlive the daemon, forms that belong to one session."""

import json
import stat
from pathlib import Path

import pytest

from harp.console import sessions
from harp.console.sessions import FILE_NAME, LINK_S, MOST_LINKS, MOST_SESSIONS, SESSION_S, Sessions

NOW = 1_790_000_000.0


def test_a_link_lets_in_once(tmp_path: Path) -> None:
    kept = Sessions(tmp_path)
    link = kept.link(now=NOW)
    assert kept.redeem(link.token, now=NOW + 1)
    assert not kept.redeem(link.token, now=NOW + 2)
    assert link.token not in repr(link)


def test_a_link_that_is_too_old_or_made_up_does_not(tmp_path: Path) -> None:
    kept = Sessions(tmp_path)
    assert not kept.redeem(kept.link(now=NOW).token, now=NOW + LINK_S)
    assert not kept.redeem("x" * 32, now=NOW)
    assert not kept.redeem("", now=NOW)


def test_links_that_nobody_uses_do_not_pile_up(tmp_path: Path) -> None:
    kept = Sessions(tmp_path)
    links = [kept.link(now=NOW) for _ in range(MOST_LINKS + 1)]
    assert not kept.redeem(links[0].token, now=NOW)
    assert kept.redeem(links[1].token, now=NOW)


def test_a_session_outlives_the_daemon_and_its_cookie_is_not_on_the_disk(tmp_path: Path) -> None:
    kept = Sessions(tmp_path)
    token = kept.begin(now=NOW)
    again = Sessions(tmp_path)
    assert again.knows(token, now=NOW + 1)
    assert again.cookie == kept.cookie
    assert token not in (tmp_path / FILE_NAME).read_text()
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


def test_a_session_that_is_used_goes_on_and_one_that_is_not_ends(tmp_path: Path) -> None:
    kept = Sessions(tmp_path)
    token = kept.begin(now=NOW)
    assert kept.knows(token, now=NOW + SESSION_S - 1)
    assert kept.knows(token, now=NOW + SESSION_S + 1)
    assert not kept.knows(token, now=NOW + 3 * SESSION_S)


def test_who_logs_out_is_out_also_after_a_restart(tmp_path: Path) -> None:
    kept = Sessions(tmp_path)
    gone, stays = kept.begin(now=NOW), kept.begin(now=NOW)
    kept.end(gone)
    for one in (kept, Sessions(tmp_path)):
        assert not one.knows(gone, now=NOW + 1)
        assert one.knows(stays, now=NOW + 1)
    kept.end_all()
    assert not Sessions(tmp_path).knows(stays, now=NOW + 1)


def test_there_are_at_most_so_many_sessions(tmp_path: Path) -> None:
    kept = Sessions(tmp_path)
    tokens = [kept.begin(now=NOW + number) for number in range(MOST_SESSIONS + 1)]
    assert not kept.knows(tokens[0], now=NOW + 200)
    assert kept.knows(tokens[-1], now=NOW + 200)


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"instance": "../..", "sessions": {}}', '{"instance": "0011aabb"}'])
def test_a_damaged_file_costs_a_login_and_no_more(tmp_path: Path, damage: str) -> None:
    (tmp_path / FILE_NAME).write_text(damage)
    kept = Sessions(tmp_path)
    token = kept.begin(now=NOW)
    assert kept.knows(token, now=NOW)
    assert json.loads((tmp_path / FILE_NAME).read_text())["instance"] == kept.instance


def test_a_form_belongs_to_one_session(tmp_path: Path) -> None:
    kept = Sessions(tmp_path)
    mine, theirs = kept.begin(now=NOW), kept.begin(now=NOW)
    assert sessions.is_csrf(mine, sessions.csrf(mine))
    assert not sessions.is_csrf(mine, sessions.csrf(theirs))
    assert not sessions.is_csrf(mine, "")
    assert not sessions.is_csrf(mine, "\ud800")
