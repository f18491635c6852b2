# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every loop needs: a clock that tests can set, tasks that someone owns, back-off, and counters to look at."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Clock(Protocol):
    """The two times there are, in seconds."""

    def now(self) -> float:
        """Wall-clock time since 1970; it may jump."""
        ...

    def monotonic(self) -> float:
        """Time since some moment; it never goes back."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before the next attempt: doubling from ``first_s`` up to ``most_s``."""

    first_s: float = 1.0
    most_s: float = 60.0
    factor: float = 2.0

    def delay_s(self, failures: int, *, jitter: float) -> float:
        """The wait after so many failures in a row (1, 2, …); ``jitter`` in [0, 1) spreads it over its upper half.

        Devices that lost the same peer at the same moment must not all come back at the same moment.
        """
        if failures <= 0:
            return 0.0
        # The exponent is bounded, for a peer may stay away for years.
        whole = min(self.most_s, self.first_s * self.factor ** min(failures - 1, 64))
        return whole * (0.5 + 0.5 * jitter)


class Tasks:
    """The owner of a set of named asyncio tasks: none outlives it, and no failure goes unheard.

    ``on_crash(name, error)`` is told of each task that ended by an exception other than a cancellation; the others go
    on. Without it, a crash is logged with its traceback. Use it as ``async with Tasks("daemon") as tasks:``; leaving
    the block cancels what still runs, and waits for it.
    """

    def __init__(self, name: str, *, on_crash: Callable[[str, Exception], None] | None = None) -> None:
        self._name = name
        self._on_crash = on_crash
        self._running: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._running)

    def start(self, name: str, work: Coroutine[Any, Any, object]) -> None:
        """Run ``work`` under this name until it ends or the owner closes."""
        _ = self.task(name, work)

    def task(self, name: str, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """As :meth:`start`, for someone who awaits what it answers."""
        if self._is_closed:
            work.close()
            raise RuntimeError(f"{self._name} is closed, {name} cannot start")
        task = asyncio.get_running_loop().create_task(work, name=f"{self._name}: {name}")
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def supervise(
        self,
        name: str,
        work: Callable[[], Awaitable[None]],
        *,
        backoff: Backoff,
        jitter: Callable[[], float],
        clock: Clock,
        gives_up: Callable[[Exception], bool] = lambda _: False,
    ) -> None:
        """Run ``work()`` again, after a back-off, each time that it raises; it is over when it returns.

        ``on_crash`` hears of every crash; an error for which ``gives_up`` ends it. A run that lasted longer than the
        longest back-off counts as healthy: the next wait is the first one again.
        """

        async def loop() -> None:
            failures = 0
            while True:
                started = clock.monotonic()
                try:
                    return await work()
                except Exception as error:
                    if gives_up(error):
                        raise
                    self._tell(name, error)
                failures = 1 if clock.monotonic() - started > backoff.most_s else failures + 1
                await asyncio.sleep(backoff.delay_s(failures, jitter=jitter()))

        self.start(name, loop())

    async def join(self) -> None:
        """Wait until nothing runs any more; what those tasks start meanwhile is waited for too."""
        while self._running:
            await asyncio.wait(self._running)

    async def close(self) -> None:
        """Cancel what still runs and wait until it has ended; nothing can be started afterwards."""
        self._is_closed = True
        current = asyncio.current_task()
        while waiting := [task for task in self._running if task is not current]:
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, Exception):
            self._tell(task.get_name().removeprefix(f"{self._name}: "), error)

    def _tell(self, name: str, error: Exception) -> None:
        if self._on_crash is not None:
            self._on_crash(name, error)
        else:
            _log.error("%s: %s crashed", self._name, name, exc_info=error)


class Counter:
    """A number that only grows, from any thread."""

    __slots__ = ("_lock", "_value")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value = 0

    def add(self, amount: int = 1) -> None:
        """Add ``amount``, which is not negative."""
        # `+=` on an attribute is three steps, and nothing promises that no other thread comes in between.
        with self._lock:
            self._value += amount

    @property
    def value(self) -> int:
        return self._value


@dataclass(frozen=True, slots=True)
class _Family:
    kind: str
    help: str
    read: dict[str, Callable[[], float]]


class Counters:
    """What the daemon counts, by name and labels, written in Prometheus' text exposition format 0.0.4."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._families: dict[str, _Family] = {}
        self._counters: dict[tuple[str, str], Counter] = {}

    def counter(self, name: str, help_text: str, **labels: str) -> Counter:
        """The counter of this name and these labels, made at the first call. The name ends in ``_total``."""
        written = _labels(labels)
        with self._lock:
            found = self._counters.get((name, written))
            if found is None:
                found = self._counters[name, written] = Counter()
                self._family(name, "counter", help_text).read[written] = _reader(found)
            return found

    def gauge(self, name: str, help_text: str, read: Callable[[], float], **labels: str) -> None:
        """A number that goes up and down, read when it is asked for; a second call takes the place of the first."""
        with self._lock:
            self._family(name, "gauge", help_text).read[_labels(labels)] = read

    def text(self) -> str:
        """All of it, sorted by name; a gauge that cannot be read just now is left out."""
        with self._lock:
            families = [(name, family, dict(family.read)) for name, family in sorted(self._families.items())]
        return "".join(_written(name, family, read) for name, family, read in families)

    def _family(self, name: str, kind: str, help_text: str) -> _Family:
        return self._families.setdefault(name, _Family(kind, help_text, {}))


def _reader(counter: Counter) -> Callable[[], float]:
    return lambda: counter.value


def _written(name: str, family: _Family, read: Mapping[str, Callable[[], float]]) -> str:
    lines = [f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}"]
    for labels, value_of in sorted(read.items()):
        try:
            value = +value_of()  # a bool is a number here: the format knows no True
        except Exception as error:  # noqa: BLE001 - one number that cannot be read must not hide the others
            _log.warning("%s%s cannot be read: %s", name, labels, error)
            continue
        lines.append(f"{name}{labels} {value!r}")
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{key}="{_label_value(value)}"' for key, value in sorted(labels.items()))
    return "{" + ",".join(pairs) + "}"


def _label_value(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return escaped.encode("utf-8", "replace").decode()
