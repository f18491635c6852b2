# SPDX-License-Identifier: AGPL-3.0-or-later
"""``harp wait`` and ``harp verify``: long work, with a bar on a terminal and an exit code for scripts."""

from collections.abc import Iterator

import click

from harp.base.errors import HarpError
from harp.bridge import model
from harp.cli import options, show
from harp.cli.client import Client, at


@click.command("wait")
@options.folder_name
@click.option(
    "--timeout", "timeout_s", callback=options.duration, metavar="S", help="Give up after so long, e.g. 90 or 5m."
)
@options.as_json
@options.with_daemon
def wait_command(client: Client, name: str, timeout_s: float | None, as_json: bool) -> int:
    """Wait until the folder NAME is the same everywhere; scans it first.

    Ends with 0 once this device durably has all that its connected peers have, and they all that it has; with 1 and
    the reason on time-out, with no peer connected, or with anything held. An account that the folder mirrors is a peer.
    """
    last, _ = _followed(client.lines(at("folders", name, "wait"), {"timeout_s": timeout_s}))
    return _ended(last, as_json)


@click.command("verify")
@options.folder_name
@options.as_json
@options.with_daemon
def verify_command(client: Client, name: str, as_json: bool) -> int:
    """Check every hash chain, every signature and every file's content of the folder NAME again.

    Names what is wrong, and ends with 1 if anything is.
    """
    last, found = _followed(client.lines(at("folders", name, "verify"), {}), print_findings=not as_json)
    code = _ended(last, as_json)
    if code == 0 and not as_json:
        show.line(f"all is well: {show.count(last.done_files, 'file')}, {show.size(last.done_bytes)}")
    return code or int(found > 0)


def _followed(lines: Iterator[model.Progress], *, print_findings: bool = False) -> tuple[model.Progress, int]:
    """The last line, and how many things were found wrong on the way."""
    bar, found = show.ProgressBar(), 0
    last: model.Progress | None = None
    try:
        for last in lines:
            if last.finding is None:
                bar.show(last)
                continue
            found += 1
            if print_findings:
                bar.clear()
                show.line("✗ " + ": ".join(filter(None, (last.finding.path, last.finding.why))))
    finally:
        bar.clear()
    if last is None:
        raise HarpError("the daemon said nothing", hint="look at its log")
    return last, found


def _ended(last: model.Progress, as_json: bool) -> int:
    """Say how it ended; the exit code."""
    if as_json:
        show.json(last)
    if last.phase is model.Phase.DONE:
        return 0
    raise HarpError(last.reason or "it failed", hint=last.hint)
