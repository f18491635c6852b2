# SPDX-License-Identifier: AGPL-3.0-or-later
"""``harp status``: everything at a glance."""

from collections.abc import Iterator

import click

from harp.bridge import model
from harp.cli import options, show
from harp.cli.client import Client, at

_SHOWN_PROBLEMS = 10


@click.command("status")
@click.option("--follow", is_flag=True, help="Show it again whenever something has changed, until interrupted.")
@options.as_json
@options.with_daemon
def status_command(client: Client, follow: bool, as_json: bool) -> None:
    """Show everything at a glance: state, progress, rates and errors, by folder and by peer."""
    if not follow:
        _show(client, as_json)
        return
    for event in client.events():
        if event.folders or event.peers or not event.number:
            _show(client, as_json)
            show.line()


def _show(client: Client, as_json: bool) -> None:
    status = client.get(at("status"), model.Status)
    if as_json:
        show.json(status)
        return
    for text in described(status):
        show.line(text)


def described(status: model.Status) -> Iterator[str]:
    """The whole status, line by line."""
    device = status.device
    yield f"{device.name}  {device.id}"
    yield f"listens on {device.listen}, up since {show.moment(status.started_at)}"
    for problem in status.problems:
        yield f"! {problem}"
    for folder in status.folders:
        yield ""
        yield from _folder(folder)
    if not status.folders:
        yield "nothing is shared yet: harp share PATH, or harp join TICKET PATH"
    yield ""
    yield from _peers(status.peers)


def _folder(folder: model.FolderStatus) -> Iterator[str]:
    yield f"{folder.name}  [{folder.state.value}]  {folder.location}"
    others = f"{folder.connected} of {show.count(folder.members - 1, 'other')} connected"
    yield f"  {folder.role}, {show.count(folder.files, 'file')}, {show.size(folder.bytes)}; {others}"
    if folder.needed_files:
        yield f"  lacks {show.count(folder.needed_files, 'file')}, {show.size(folder.needed_bytes)}"
    if folder.mirror is not None:
        yield from _mirror(folder.mirror)
    yield from _content(folder.content, folder.content_days)
    if folder.error:
        yield f"  ! {folder.error}"
    if folder.held:
        yield f"  ! {folder.held} held: harp held {folder.name}"
    if folder.conflicts:
        yield f"  ! {show.count(folder.conflicts, 'conflict')}: harp conflicts {folder.name}"
    if folder.local_only:
        yield f"  {show.count(folder.local_only, 'file')} changed here only (this device is read-only)"
    yield from _problems(folder)


def _mirror(mirror: model.MirrorStatus) -> Iterator[str]:
    since = f", the same at {show.moment(mirror.settled_at)}" if mirror.settled_at else ""
    yield f"  mirrors {mirror.account}:{mirror.path}  [{mirror.state.value}]{since}"
    if mirror.remedy:
        yield f"    {mirror.remedy}"
    if mirror.note:
        yield f"    {mirror.note}"


def _content(started: model.Carried, days: list[model.CarriedDay]) -> Iterator[str]:
    """Where content came from since the start, and today if that is more."""
    for when, carried in (("since the start", started), *((day.day, day) for day in days[:1])):
        if (carried.lan, carried.wan, carried.local) != (0, 0, 0) and (
            carried is started or _of(carried) != _of(started)
        ):
            parts = (f"{show.size(carried.lan)} from the LAN", f"{show.size(carried.wan)} over the WAN")
            yield f"  {when}: {parts[0]}, {parts[1]}, {show.size(carried.local)} found here"


def _of(carried: model.Carried) -> tuple[int, int, int]:
    return carried.lan, carried.wan, carried.local


def _problems(folder: model.FolderStatus) -> Iterator[str]:
    for problem in folder.problems[:_SHOWN_PROBLEMS]:
        yield f"  waits: {problem.path}: {problem.why}"
    more = max(folder.problem_count, len(folder.problems)) - _SHOWN_PROBLEMS
    if more > 0:
        yield f"  … and {more:,} more (harp status --json)"


def _peers(peers: list[model.PeerStatus]) -> Iterator[str]:
    if not peers:
        yield "no other device yet: harp invite NAME prints a ticket"
    for peer in peers:
        if peer.is_connected:
            rates = f"in {show.size(peer.rate_in)}/s, out {show.size(peer.rate_out)}/s"
            yield f"{peer.name}  {(peer.reach or '').upper()} {peer.address}  {rates}"
        else:
            yield f"{peer.name}  not connected  {peer.error}".rstrip()
