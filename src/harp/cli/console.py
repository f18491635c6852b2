# SPDX-License-Identifier: AGPL-3.0-or-later
"""``harp console``: opens the pages for a browser by a link that works once; and sets their password."""

import os
import webbrowser
from collections.abc import Mapping
from pathlib import Path

import click

from harp.bridge import browsing
from harp.cli import options, show
from harp.cli.client import Client, at
from harp.identity import keyring


@click.command("console")
@click.option("--print", "only_print", is_flag=True, help="Print the link and open nothing.")
@click.option("--set-password", is_flag=True, help="Ask for a password with which to log in, and keep its hash.")
@options.as_json
@options.with_home
def console_command(home: Path, only_print: bool, set_password: bool, as_json: bool) -> None:
    """Open the console in a browser, by a link that works once, within an hour."""
    if set_password:
        _set_password(home)
        return
    made = Client(home).post(at("console"), browsing.ConsoleLink, {})
    if as_json:
        show.json(made)
        return
    show.line(made.link)
    if not only_print and _has_screen(os.environ):
        webbrowser.open(made.link)


def _has_screen(environ: Mapping[str, str]) -> bool:
    """Whether there is a screen for a browser: on a server, one in the terminal would get in the way."""
    return any(environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def _set_password(home: Path) -> None:
    given = click.prompt("password of the console", hide_input=True, confirmation_prompt="once more")
    from harp.console import password  # Argon2 is for who sets one

    keyring.make_home(home)
    password.store(home, given)
    show.line("the password is set; everyone logs in once more")
