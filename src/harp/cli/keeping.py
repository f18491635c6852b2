# SPDX-License-Identifier: AGPL-3.0-or-later
"""``harp backup`` and ``harp restore-backup``: key and ledger in one file, and back."""

import os
from pathlib import Path

import click

from harp.base.errors import UsageError
from harp.bridge import doorway, model
from harp.cli import options, show
from harp.cli.client import Client, at
from harp.identity import keyring


@click.command("backup")
@click.argument("file")
@options.as_json
@options.with_daemon
def backup_command(client: Client, file: str, as_json: bool) -> None:
    """Write key and ledger to FILE, which must not be there yet; whoever has it can be this device."""
    made = client.post(at("backup"), model.BackupMade, options.local_path(file), timeout_s=None)
    if as_json:
        show.json(made)
    else:
        show.line(f"{made.location}: {show.size(made.size_bytes)}; keep it as secret as a key")


@click.command("restore-backup")
@click.argument("file")
@options.with_home
def restore_backup_command(home: Path, file: str) -> None:
    """Put key and ledger from FILE into the home, which has no identity yet; the daemon must not run."""
    source = Path(os.path.abspath(os.path.expanduser(file)))
    if not source.is_file():
        raise UsageError(f"there is no file {source}", hint="harp backup FILE makes one")
    if os.path.lexists(home / keyring.KEY_NAME):
        raise UsageError(
            f"{home} has an identity already", hint="name an empty home with --home, or move this one away"
        )
    keyring.make_home(home)
    with doorway.claimed(home):
        from harp.sync.store import backup  # the ledger's code; no other command should pay for it

        backup.restore(home, source)
    show.line(f"restored to {home}; harp up goes on from there")
