# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a run of the benches says of its figures: medians, ratios, goals met, missed and not measured."""

from benchmarks import report
from benchmarks.figures import MIB, Failure, Figure, summaries
from benchmarks.goals import GOALS, verdicts
from benchmarks.scenarios import EDIT, LATENCY, NEW, RESTART


def figure(row: str, peer: str, wall_s: float, *, number: int = 1, wire: int | None = None, lo: int = 0) -> Figure:
    return Figure(
        row=row,
        peer=peer,
        round=number,
        wall_s=wall_s,
        cpu_s=wall_s,
        peak_rss=(10_000_000 * number, 5_000_000),
        wire_bytes=wire,
        loopback_bytes=lo,
    )


def met(figures: list[Figure]) -> dict[tuple[str, str], bool | None]:
    return {(each.goal.row, each.goal.asks): each.is_met for each in verdicts(summaries(figures), GOALS)}


def test_the_median_of_the_rounds_counts_and_the_highest_peak() -> None:
    one = summaries([figure(NEW, "Harp", wall, number=index) for index, wall in enumerate((1.0, 9.0, 2.0), start=1)])

    assert one[(NEW, "Harp")].wall_s == 2.0
    assert one[(NEW, "Harp")].walls_s == (1.0, 9.0, 2.0)
    assert one[(NEW, "Harp")].peak_rss == (30_000_000, 5_000_000)


def test_a_goal_is_met_missed_or_not_measured() -> None:
    told = met([figure(NEW, "Harp", 2.0), figure(NEW, "Syncthing", 8.0), figure(NEW, "rsync", 1.5)])

    assert told[(NEW, "of Syncthing's time")] is True
    assert told[(NEW, "of rsync's time")] is False
    assert told[(EDIT, "of Syncthing's time")] is None


def test_what_is_exactly_the_bound_is_met() -> None:
    assert met([figure(EDIT, "Harp", 1.0, wire=3 * MIB)])[(EDIT, "on the wire")] is True
    assert met([figure(EDIT, "Harp", 1.0, wire=3 * MIB + 1)])[(EDIT, "on the wire")] is False
    assert met([figure(LATENCY, "Harp", 0.025)])[(LATENCY, "from close to seen")] is True


def test_an_idle_core_has_to_be_under_its_bound() -> None:
    def idle(share: float) -> bool | None:
        quiet = Figure(row=RESTART, peer="Harp", round=1, wall_s=1, peak_rss=(1,), extra={"idle_cpu_share": share})
        return met([quiet])[(RESTART, "of a core when idle")]

    assert idle(0.0049) is True
    assert idle(0.005) is False


def test_every_goal_can_do_without_its_figures() -> None:
    lines = list(report.goal_lines(verdicts({}, GOALS)))
    assert len(lines) == len(GOALS)
    assert all("not measured" in line for line in lines)


def test_the_table_names_each_row_once_and_holds_harp_against_the_others() -> None:
    text = report.table(
        summaries([figure(NEW, "rsync", 2.0), figure(NEW, "Syncthing", 8.0), figure(NEW, "Harp", 1.0, wire=MIB)])
    )

    head, harp, syncthing, rsync = text.splitlines()
    assert head.split()[:2] == ["work", "peer"]
    assert text.count(NEW) == 1
    assert harp.split()[-2:] == ["0.12", "0.50"]
    assert syncthing.split()[-1] == "4.00"
    assert rsync.split()[-1] == "0.25"


def test_a_wire_count_that_the_kernel_does_not_confirm_is_said() -> None:
    honest = figure(EDIT, "Harp", 1.0, wire=2 * MIB, lo=2 * MIB + 100_000)
    wrong = figure(EDIT, "Harp", 1.0, wire=2 * MIB, lo=40 * MIB)

    assert list(report.loopback_lines([honest])) == []
    [line] = report.loopback_lines([wrong])
    assert "40.00 MiB" in line


def test_wrong_content_is_told_from_what_was_not_done() -> None:
    late = Failure(row=NEW, peer="rsync", round=2, why="not within 300 s")
    wrong = Failure(row=NEW, peer="Harp", round=2, why="1 missing", is_wrong=True)

    assert ["WRONG" in line for line in report.failure_lines([late, wrong])] == [False, True]


def test_the_json_has_everything() -> None:
    figures = [figure(NEW, "Harp", 1.0), figure(NEW, "Syncthing", 8.0)]
    medians = summaries(figures)
    found = report.document({"cpu": "any"}, figures, [], medians, verdicts(medians, GOALS))

    assert found.keys() == {"machine", "figures", "failures", "medians", "goals"}
