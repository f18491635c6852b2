# SPDX-License-Identifier: AGPL-3.0-or-later
"""``harp held | approve | reject``: what a person has to decide."""

import click

from harp.bridge import model
from harp.cli import options, show
from harp.cli.client import Client, at

_SAMPLE = 5


@click.command("held")
@options.folder_name
@options.as_json
@options.with_daemon
def held_command(client: Client, name: str, as_json: bool) -> None:
    """List what waits for a decision in the folder NAME."""
    answer = client.get(at("folders", name, "held"), model.HeldList)
    if as_json:
        show.json(answer)
        return
    for held in answer.held:
        _describe(name, held)
    if not answer.held:
        show.line("nothing is held")


@click.command("approve")
@options.folder_name
@click.argument("held_id")
@options.with_daemon
def approve_command(client: Client, name: str, held_id: str) -> None:
    """Let the held change HELD_ID of the folder NAME happen; it is bound to what `harp held` showed."""
    show.line(client.post(at("folders", name, "held", held_id, "approve"), model.Done, {}).message)


@click.command("reject")
@options.folder_name
@click.argument("held_id")
@options.with_daemon
def reject_command(client: Client, name: str, held_id: str) -> None:
    """Undo a held change: put back what HELD_ID of the folder NAME would take away."""
    show.line(client.post(at("folders", name, "held", held_id, "reject"), model.Done, {}).message)


def _describe(name: str, held: model.HeldSet) -> None:
    by = f", by {held.author}" if held.author else ""
    show.line(f"{held.id}  {held.what} (since {show.moment(held.since)}{by})")
    for path in held.sample[:_SAMPLE]:
        show.line(f"  {path.path}")
    if held.files > _SAMPLE and held.sample:
        show.line(f"  … {show.count(held.files, 'file')} in all")
    if held.can_be_approved:
        show.line(f"  harp approve {name} {held.id}   or   harp reject {name} {held.id}")
    elif held.remedy:
        show.line(f"  {held.remedy}")
