# SPDX-License-Identifier: AGPL-3.0-or-later
"""How things look on a terminal: sizes, times, tables, progress. Whatever comes from elsewhere is made printable."""

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import click
import msgspec

from harp.bridge import model
from harp.bridge.naming import printable

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_BAR = 30
_REDRAW_S = 0.1


def json(noun: model.Noun) -> None:
    """One noun, as JSON for people and programs alike."""
    click.echo(msgspec.json.format(msgspec.json.encode(noun), indent=2))


def line(text: str = "") -> None:
    """One line on stdout; control characters in it are shown, not obeyed."""
    click.echo(printable(text))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they have to be; the last one is not filled up."""
    cells = [[printable(cell) for cell in row] for row in [heads, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def size(size_bytes: float) -> str:
    """``0 B``, ``1.5 MiB``."""
    amount, unit = float(size_bytes), 0
    while amount >= 1024 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.0f} {_UNITS[0]}" if unit == 0 else f"{amount:.1f} {_UNITS[unit]}"


def moment(at: float | None) -> str:
    """A time in this machine's zone; ``–`` where there is none, the number itself where a calendar has no such day."""
    if not at:
        return "–"
    try:
        return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, OSError, ValueError):
        return str(at)


def count(number: int, noun: str) -> str:
    """``1 file``, ``1,200 files``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


class ProgressBar:
    """A bar on stderr while it is a terminal, else nothing at all."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()
        self._drawn_at = 0.0

    def show(self, progress: model.Progress) -> None:
        """Draw this state, unless the last one was drawn a moment ago."""
        now = time.monotonic()
        if not self._is_shown or now - self._drawn_at < _REDRAW_S:
            return
        self._drawn_at = now
        click.echo(f"\r\x1b[K{bar(progress)}", nl=False, err=True)

    def clear(self) -> None:
        """Leave the line empty."""
        if self._is_shown and self._drawn_at:
            click.echo("\r\x1b[K", nl=False, err=True)


def bar(progress: model.Progress) -> str:
    """``syncing [######----]  60 %  3 of 5 files  1.0 MiB of 2.0 MiB``."""
    share = _share(progress)
    filled = "#" * int(share * _BAR)
    parts = [f"{progress.phase.value} [{filled.ljust(_BAR, '-')}] {share:4.0%}"]
    if progress.total_files:
        parts.append(f"{progress.done_files:,} of {progress.total_files:,} files")
    if progress.total_bytes:
        parts.append(f"{size(progress.done_bytes)} of {size(progress.total_bytes)}")
    return "  ".join(parts)


def _share(progress: model.Progress) -> float:
    if progress.total_bytes:
        return min(1.0, progress.done_bytes / progress.total_bytes)
    if progress.total_files:
        return min(1.0, progress.done_files / progress.total_files)
    return 0.0
