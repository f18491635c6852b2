# SPDX-License-Identifier: AGPL-3.0-or-later
"""``harp invite | join | peers | forget``: who else is there."""

import sys

import click

from harp.base.errors import UsageError
from harp.bridge import model
from harp.cli import options, show
from harp.cli.client import Client, at

_JOIN_TIMEOUT_S = 300.0


@click.command("invite")
@options.folder_name
@click.option("--read-only", is_flag=True, help="Nobody accepts what that device changes.")
@click.option(
    "--expires", callback=options.duration, default="1h", show_default=True, help="How long the ticket is good."
)
@click.option("--qr", is_flag=True, help="Draw the ticket as a QR code as well.")
@options.as_json
@options.with_daemon
def invite_command(client: Client, name: str, read_only: bool, expires: float, qr: bool, as_json: bool) -> None:
    """Print a ticket with which one other device can join the folder NAME, once.

    The ticket is a secret until it is used: whoever has it first is in.
    """
    if qr and as_json:
        raise UsageError("--qr and --json do not go together", hint="the ticket in the JSON is what the code holds")
    asked = {"read_only": read_only, "expires_s": expires}
    invitation = client.post(at("folders", name, "invitations"), model.Invitation, asked)
    if as_json:
        show.json(invitation)
    else:
        show.line(invitation.ticket)
    if qr:
        from harp.cli.qr import drawn  # no other command should pay for it

        click.echo(drawn(invitation.ticket), nl=False)


@click.command("join")
@click.argument("ticket")
@click.argument("path")
@click.option(
    "--merge", is_flag=True, help="Join although PATH is not empty; where names meet, the folder's version keeps it."
)
@options.as_json
@options.with_daemon
def join_command(client: Client, ticket: str, path: str, merge: bool, as_json: bool) -> None:
    """Join a folder with a TICKET (`-`: on standard input); it will lie at PATH, which is made if need be."""
    if ticket == "-":
        # What is typed as an argument every user of the machine can read, for as long as the command runs.
        ticket = sys.stdin.readline().strip()
    asked = {**options.local_path(path), "ticket": ticket, "merge": merge}
    folder = client.post(at("join"), model.FolderStatus, asked, timeout_s=_JOIN_TIMEOUT_S)
    if as_json:
        show.json(folder)
    else:
        show.line(f"joined {folder.name} as {folder.role}; it lies at {folder.location}")


@click.command("peers")
@options.as_json
@options.with_daemon
def peers_command(client: Client, as_json: bool) -> None:
    """List the other devices: how each is reached, and what it still lacks."""
    answer = client.get(at("peers"), model.PeerList)
    if as_json:
        show.json(answer)
    elif answer.peers:
        rows = [(p.name, p.id.partition("-")[0], _reached(p), _lacks(p), _rates(p)) for p in answer.peers]
        show.table(("NAME", "ID", "REACHED", "LACKS", "IN / OUT"), rows)
    else:
        show.line("no other device yet: harp invite NAME prints a ticket")


@click.command("forget")
@click.argument("device")
@options.as_json
@options.with_daemon
def forget_command(client: Client, device: str, as_json: bool) -> None:
    """End another device's membership in every folder that this one owns; elsewhere, close the link to DEVICE."""
    gone = client.post(at("peers", device, "forget"), model.Forgotten, {})
    if as_json:
        show.json(gone)
        return
    for name in gone.cut_from:
        show.line(f"{name}: no longer a member")
    for name in gone.still_in:
        show.line(f"{name}: still a member, since this device is not an owner; the link from here is closed")
    if not gone.cut_from and not gone.still_in:
        show.line("it shared nothing with this device; the link is closed")


def _reached(peer: model.PeerStatus) -> str:
    if peer.is_connected:
        return f"{(peer.reach or '').upper()} {peer.address}".strip()
    seen = f"last seen {show.moment(peer.last_seen_at)}" if peer.last_seen_at else "not seen yet"
    return f"no ({peer.error or seen})"


def _lacks(peer: model.PeerStatus) -> str:
    if any(folder.lacks_files is None for folder in peer.folders):
        return "?"
    files = sum(folder.lacks_files or 0 for folder in peer.folders)
    lacking = sum(folder.lacks_bytes or 0 for folder in peer.folders)
    return show.count(files, "file") + (f", {show.size(lacking)}" if lacking else "") if files else "nothing"


def _rates(peer: model.PeerStatus) -> str:
    return f"{show.size(peer.rate_in)}/s / {show.size(peer.rate_out)}/s"
