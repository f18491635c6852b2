# SPDX-License-Identifier: AGPL-3.0-or-later
"""``harp share | folders | pause | resume | leave``: which folders are kept, and whether."""

import click

from harp.bridge import model
from harp.cli import options, show
from harp.cli.client import Client, at


@click.command("share")
@click.argument("path")
@click.option("--name", help="What the folder is called, here and for those invited; else the last part of PATH.")
@click.option("--make", is_flag=True, help="Make the folder where it is not there yet.")
@options.as_json
@options.with_daemon
def share_command(client: Client, path: str, name: str | None, make: bool, as_json: bool) -> None:
    """Share an existing folder; prints its id."""
    asked = {**options.local_path(path), "name": name, "make": make}
    folder = client.post(at("folders"), model.FolderStatus, asked)
    if as_json:
        show.json(folder)
    else:
        show.line(folder.id)


@click.command("folders")
@options.as_json
@options.with_daemon
def folders_command(client: Client, as_json: bool) -> None:
    """List the folders shared here."""
    answer = client.get(at("folders"), model.FolderList)
    if as_json:
        show.json(answer)
    elif answer.folders:
        rows = [(f.name, f.id[:12], f.role, f.state.value, f"{f.files:,}", f.location) for f in answer.folders]
        show.table(("NAME", "ID", "ROLE", "STATE", "FILES", "WHERE"), rows)
    else:
        show.line("nothing is shared yet: harp share PATH, or harp join TICKET PATH")


@click.command("pause")
@options.folder_name
@options.with_daemon
def pause_command(client: Client, name: str) -> None:
    """Stop syncing the folder NAME until it is resumed."""
    show.line(client.post(at("folders", name, "pause"), model.Done, {}).message)


@click.command("resume")
@options.folder_name
@options.with_daemon
def resume_command(client: Client, name: str) -> None:
    """Go on syncing the paused folder NAME."""
    show.line(client.post(at("folders", name, "resume"), model.Done, {}).message)


@click.command("leave")
@options.folder_name
@options.with_daemon
def leave_command(client: Client, name: str) -> None:
    """End this device's membership of the folder NAME; the files stay where they are."""
    show.line(client.post(at("folders", name, "leave"), model.Done, {}).message)
