# SPDX-License-Identifier: AGPL-3.0-or-later
"""``harp up`` and ``harp down``: the daemon's process."""

import os
import time
from pathlib import Path

import click

from harp.base import config
from harp.base.errors import HarpError
from harp.bridge import doorway, model
from harp.cli import loading, options, show
from harp.cli.client import Client, at

_STOP_S = 60.0
_LOOK_S = 0.02


@click.command("up")
@click.argument("path", required=False)
@click.option("--listen", metavar="HOST:PORT", help="Where other devices reach this one; port 0 is any free one.")
@click.option("--websocket", metavar="HOST:PORT", help="Where a web server here passes other devices on to this one.")
@click.option("--no-discovery", is_flag=True, help="Neither look for peers on this network nor answer them.")
@click.option("--lan-only", is_flag=True, help="Take content from devices on the LAN alone.")
@click.option("--console", metavar="HOST:PORT", help="Where a browser finds the console; port 0 is any free one.")
@click.option("--no-console", is_flag=True, help="No pages for a browser.")
@options.with_home
def up_command(
    home: Path,
    path: str | None,
    listen: str | None,
    websocket: str | None,
    no_discovery: bool,
    lan_only: bool,
    console: str | None,
    no_console: bool,
) -> int:
    """Run the daemon in the foreground.

    A PATH is made if need be, and shared; without one, the folders shared before are opened.
    """
    overrides = {"discovery": "false"} if no_discovery else {}
    if lan_only:
        overrides["lan_only"] = "true"
    if listen is not None:
        overrides["listen"] = listen
    if websocket is not None:
        overrides["websocket"] = websocket
    if console is not None or no_console:
        overrides["console"] = "none" if no_console else str(console)
    settings = config.load(home, environ=os.environ, overrides=overrides)
    with loading.uncollected():
        from harp.daemon import composition  # the whole file plane; no other command should pay for it

    return composition.run(settings, None if path is None else Path(os.path.abspath(os.path.expanduser(path))))


@click.command("down")
@options.with_daemon
def down_command(client: Client) -> None:
    """Stop the daemon cleanly, and wait until it has."""
    client.post(at("down"), model.Done, {})
    deadline = time.monotonic() + _STOP_S
    while doorway.is_claimed(client.home):
        if time.monotonic() > deadline:
            raise HarpError(f"the daemon has not stopped within {_STOP_S:.0f} s", hint="look at its log")
        time.sleep(_LOOK_S)
    show.line("stopped")
