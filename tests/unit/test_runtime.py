# SPDX-License-Identifier: AGPL-3.0-or-later
"""Owned tasks, back-off, counters, the clock."""

import asyncio
import logging
import sys
import threading
import time

import pytest

from harp.base.runtime import Backoff, Counters, SystemClock, Tasks


class SetClock:
    """A clock that stands still until a test sets it."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


AT_ONCE = Backoff(first_s=0.0, most_s=0.0)


async def test_leaving_the_block_cancels_what_still_runs_and_waits_for_it() -> None:
    ended: list[str] = []

    async def forever(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(name)

    async with Tasks("house") as tasks:
        started = [tasks.task(name, forever(name)) for name in ("a", "b")]
        await asyncio.sleep(0)
        assert len(tasks) == 2
        assert started[0].get_name() == "house: a"
    assert sorted(ended) == ["a", "b"]
    assert len(tasks) == 0


async def test_a_task_answers_and_is_forgotten() -> None:
    async def three() -> int:
        return 3

    async with Tasks("house") as tasks:
        assert await tasks.task("three", three()) == 3
        await asyncio.sleep(0)
        assert len(tasks) == 0


async def test_a_crash_is_told_by_name_and_the_others_go_on() -> None:
    crashes: list[tuple[str, Exception]] = []
    go_on = asyncio.Event()

    async def crash() -> None:
        raise ValueError("no")

    async def other() -> str:
        await go_on.wait()
        return "fine"

    async with Tasks("house", on_crash=lambda name, error: crashes.append((name, error))) as tasks:
        survivor = tasks.task("other", other())
        broken = tasks.task("broken", crash())
        await asyncio.wait([broken])
        go_on.set()
        assert await survivor == "fine"
    assert [(name, str(error)) for name, error in crashes] == [("broken", "no")]


async def test_a_crash_that_nobody_asked_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def crash() -> None:
        raise ValueError("unheard")

    with caplog.at_level(logging.ERROR):
        async with Tasks("house") as tasks:
            await asyncio.wait([tasks.task("broken", crash())])
    assert "house: broken crashed" in caplog.text
    assert "unheard" in caplog.text


async def test_a_task_may_start_another_while_the_owner_closes() -> None:
    late: list[str] = []

    async def starts_another() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            with pytest.raises(RuntimeError, match="closed"):
                tasks.start("late", asyncio.sleep(0))
            late.append("refused")

    async with Tasks("house") as tasks:
        tasks.start("first", starts_another())
        await asyncio.sleep(0)
    assert late == ["refused"]


async def test_the_owner_may_be_closed_from_within() -> None:
    async def closes() -> str:
        await tasks.close()
        return "closed"

    tasks = Tasks("house")
    assert await tasks.task("closer", closes()) == "closed"


async def test_supervised_work_runs_again_after_each_crash_until_it_returns() -> None:
    crashes: list[str] = []
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs < 4:
            raise OSError(f"crash {runs}")

    async with Tasks("house", on_crash=lambda name, error: crashes.append(f"{name}: {error}")) as tasks:
        tasks.supervise("loop", work, backoff=AT_ONCE, jitter=lambda: 0.0, clock=SetClock())
        await tasks.join()
    assert crashes == ["loop: crash 1", "loop: crash 2", "loop: crash 3"]
    assert runs == 4


async def test_supervised_work_ends_by_the_error_that_gives_up() -> None:
    crashes: list[str] = []

    async def work() -> None:
        raise KeyError("corrupt")

    def gives_up(error: Exception) -> bool:
        return isinstance(error, KeyError)

    async with Tasks("house", on_crash=lambda name, _: crashes.append(name)) as tasks:
        tasks.supervise("loop", work, backoff=AT_ONCE, jitter=lambda: 0.0, clock=SetClock(), gives_up=gives_up)
        await tasks.join()
        await asyncio.sleep(0)
    assert crashes == ["loop"]


async def test_a_healthy_run_begins_the_back_off_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, waits = SetClock(), list[float]()
    lasts = iter([0.0, 0.0, 100.0, 0.0])
    real_sleep = asyncio.sleep

    async def sleep(delay_s: float) -> None:
        waits.append(delay_s)
        await real_sleep(0)

    async def work() -> None:
        try:
            clock.time += next(lasts)
        except StopIteration:
            return
        raise OSError("again")

    monkeypatch.setattr(asyncio, "sleep", sleep)
    async with Tasks("house", on_crash=lambda _, __: None) as tasks:
        backoff = Backoff(first_s=2.0, most_s=60.0)
        tasks.supervise("loop", work, backoff=backoff, jitter=lambda: 0.0, clock=clock)
        await tasks.join()
    assert waits == [1.0, 2.0, 1.0, 2.0]


def test_the_back_off_doubles_up_to_its_most() -> None:
    backoff = Backoff(first_s=1.0, most_s=60.0)
    assert [backoff.delay_s(n, jitter=1.0) for n in range(8)] == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0]
    assert backoff.delay_s(3, jitter=0.0) == 2.0
    assert backoff.delay_s(100_000, jitter=0.0) == 30.0


def test_counters_are_written_as_prometheus_reads_them() -> None:
    counters = Counters()
    counters.counter("harp_bytes_total", "Bytes on the wire.", direction="in").add(5)
    counters.counter("harp_bytes_total", "Bytes on the wire.", direction="out").add()
    counters.counter("harp_bytes_total", "Bytes on the wire.", direction="in").add(2)
    counters.gauge("harp_files", "Files.", lambda: 3, folder='a "b"\\\nc\ud800')
    assert counters.text() == (
        "# HELP harp_bytes_total Bytes on the wire.\n"
        "# TYPE harp_bytes_total counter\n"
        'harp_bytes_total{direction="in"} 7\n'
        'harp_bytes_total{direction="out"} 1\n'
        "# HELP harp_files Files.\n"
        "# TYPE harp_files gauge\n"
        'harp_files{folder="a \\"b\\"\\\\\\nc?"} 3\n'
    )


def test_whether_something_is_so_is_a_number() -> None:
    counters = Counters()
    counters.gauge("a", "A.", lambda: True)
    assert counters.text() == "# HELP a A.\n# TYPE a gauge\na 1\n", "a scraper would give up the whole page"


def test_a_gauge_that_cannot_be_read_hides_no_other(caplog: pytest.LogCaptureFixture) -> None:
    counters = Counters()

    def broken() -> float:
        raise OSError("gone")

    counters.gauge("a", "A.", broken)
    counters.gauge("b", "B.", lambda: 1.5)
    assert counters.text() == "# HELP a A.\n# TYPE a gauge\n# HELP b B.\n# TYPE b gauge\nb 1.5\n"
    assert "gone" in caplog.text


def test_no_addition_is_lost_between_threads() -> None:
    counter = Counters().counter("c_total", "C.")

    def add_often() -> None:
        for _ in range(5000):
            counter.add()

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=add_often) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(usual)
    assert counter.value == 20_000


def test_the_system_clock_tells_both_times() -> None:
    clock = SystemClock()
    assert abs(clock.now() - time.time()) < 60
    assert clock.monotonic() <= clock.monotonic()
