# SPDX-License-Identifier: AGPL-3.0-or-later
"""benchmarks.proxy: what a run says of Harp, of plain HAProxy and of the reference next to each other."""

import json

from benchmarks.proxy import report
from benchmarks.proxy.figures import HARP, MANY_APPS, PLAIN, REFERENCE, SESSION, UPSTREAM, Load, Row, summaries
from benchmarks.proxy.goals import verdicts

ROW = Row(apps=MANY_APPS, caller=SESSION, threads=1)
GOAL = f"{SESSION}, {MANY_APPS}, 1 thread: the reference's requests/s"


def load(peer: str, requests: int) -> Load:
    """One second of it."""
    return Load(
        row=ROW, peer=peer, round=1, requests=requests, seconds=1, p50_ms=1, p99_ms=2, cpu_s={PLAIN: 0.02}, errors=0
    )


def test_every_line_has_what_it_is_of_the_reference_and_plain_haproxys_is_the_ceiling() -> None:
    found = summaries([load(UPSTREAM, 90_000), load(PLAIN, 48_000), load(HARP, 36_000), load(REFERENCE, 10_000)])

    lines = [line.split() for line in report.table(found).splitlines()]

    assert [line[-2:] for line in lines] == [
        ["x", "reference"],
        ["1.88", "9.0"],
        ["0.020", "4.8"],
        ["0.75", "3.6"],
        ["0.020", "0.21"],
    ]


def test_a_goal_that_plain_haproxy_itself_does_not_reach_says_so() -> None:
    found = summaries([load(PLAIN, 48_000), load(HARP, 36_000), load(REFERENCE, 10_000)])

    said = verdicts(found, {})

    assert f"  ✗ {GOAL}: 3.6 (at least 6; plain HAProxy: 4.8)" in list(report.goal_lines(said))
    written = json.loads(json.dumps(report.document({}, [], [], [], found, said)))
    (goal,) = (each for each in written["goals"] if each["asks"] == GOAL)
    assert (goal["value"], goal["ceiling"], goal["is_met"]) == (3.6, 4.8, False)


def test_without_the_reference_nothing_is_said_of_it() -> None:
    found = summaries([load(PLAIN, 48_000), load(HARP, 36_000)])

    said = verdicts(found, {})

    assert not any("reference" in line for line in report.goal_lines(said))
    assert [line.split()[-1] for line in report.table(found).splitlines()[1:]] == ["0.020", "0.75"]
