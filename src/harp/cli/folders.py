# SPDX-License-Identifier: AGPL-3.0-or-later
"""``harp share | folders | pause | resume | leave``: which folders are kept, and whether."""

import os
import re

import click

from harp.base.errors import UsageError
from harp.bridge import model
from harp.cli import options, show
from harp.cli.client import Client, at

# An account's name has no slash; a folder on the disk that looks like this is named ./NAME:/… or by its whole path.
_ACCOUNT_PATH = re.compile(r"(?P<name>[^/:]+):(?P<path>/.*)")


@click.command("share")
@click.argument("path")
@click.option("--name", help="What the folder is called, here and for those invited; else the last part of PATH.")
@click.option("--make", is_flag=True, help="Make the folder where it is not there yet.")
@click.option("--at", "place", metavar="DIR", help="Where a folder of an account comes to lie; else in Harp's home.")
@click.option("--merge", is_flag=True, help="Although DIR is not empty: put both contents together.")
@options.as_json
@options.with_daemon
def share_command(
    client: Client, path: str, name: str | None, make: bool, place: str | None, merge: bool, as_json: bool
) -> None:
    """Share an existing folder; prints its id.

    PATH is a folder on this device, or one of a Nextcloud account: NAME:/Documents, NAME:/ for all of it.
    """
    account = _ACCOUNT_PATH.fullmatch(path)
    if account is None and (place is not None or merge):
        raise UsageError("--at and --merge are for folders of an account", hint="harp share NAME:/Documents --at DIR")
    if account is None:
        asked: dict[str, object] = {**options.local_path(path), "name": name, "make": make}
    else:
        asked = {"account": account["name"], "path": account["path"], "name": name, "merge": merge}
        asked["place"] = None if place is None else os.path.abspath(os.path.expanduser(place))
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
@click.option(
    "--for-all", is_flag=True, help="End the sharing: first take every other device away. Each keeps its files."
)
@options.with_daemon
def leave_command(client: Client, name: str, for_all: bool) -> None:
    """End this device's membership of the folder NAME; the files stay where they are."""
    show.line(client.post(at("folders", name, "leave"), model.Done, {"for_all": for_all}).message)
