# SPDX-License-Identifier: AGPL-3.0-or-later
"""``harp doctor``: ✓ or ✗ a line, each ✗ with its remedy; also where no daemon runs."""

import os
from pathlib import Path

import click

from harp.base import config
from harp.base.errors import NotRunningError
from harp.base.runtime import SystemClock
from harp.bridge import facts, model, selftest
from harp.cli import options, show
from harp.cli.client import Client, at


@click.command("doctor")
@options.as_json
@options.with_home
def doctor_command(home: Path, as_json: bool) -> int:
    """Check this machine and the daemon, from port to peers; each ✗ says what to do."""
    report = _report(home)
    if as_json:
        show.json(report)
    else:
        for check in report.checks:
            show.line(f"{'✓' if check.ok else '✗'} {check.name}: {check.text}")
            if not check.ok:
                show.line(f"    {check.remedy}")
    return 0 if all(check.ok for check in report.checks) else 1


def _report(home: Path) -> model.Report:
    try:
        return Client(home).get(at("doctor"), model.Report)
    except NotRunningError:
        settings = config.load(home, environ=os.environ, overrides={})
        return selftest.report(facts.gathered(settings, clock=SystemClock(), listening=None), None)
