# SPDX-License-Identifier: AGPL-3.0-or-later
"""``harp completion``: what a shell needs to complete verbs and options."""

from pathlib import Path

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from harp.cli import options

_SHELLS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
_VARIABLE = "_HARP_COMPLETE"
"""By which the shell asks: click makes this name of the program's."""


@click.command("completion")
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@options.with_home
def completion_command(_home: Path, shell: str) -> None:
    """Print the completion of SHELL: bash, zsh or fish."""
    made = _SHELLS[shell](click.get_current_context().find_root().command, {}, "harp", _VARIABLE)
    click.echo(made.source_template % made.source_vars())
