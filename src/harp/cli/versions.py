# SPDX-License-Identifier: AGPL-3.0-or-later
"""``harp history | why | conflicts | restore | resolve``: what a file was, why it is not here, what it shall be."""

import click

from harp.base.errors import UsageError
from harp.bridge import model
from harp.bridge.naming import PathFields
from harp.cli import options, show
from harp.cli.client import Client, at

_ENTRY_SHOWN = 12
_HEX = frozenset("0123456789abcdef")


@click.command("history")
@options.folder_name
@click.argument("path")
@options.as_json
@options.with_daemon
def history_command(client: Client, name: str, path: str, as_json: bool) -> None:
    """Show what happened to PATH in the folder NAME, by whom and when; newest first."""
    history = client.get(at("folders", name, "history"), model.History, _query(options.relative_path(path)))
    if as_json:
        show.json(history)
    elif history.versions:
        show.table(("ENTRY", "WHEN", "BY", "WHAT", ""), [_row(version) for version in history.versions])
    else:
        show.line("nothing is known of that path")


@click.command("why")
@options.folder_name
@click.argument("path")
@options.as_json
@options.with_daemon
def why_command(client: Client, name: str, path: str, as_json: bool) -> None:
    """Show why PATH of the folder NAME is not here yet: what it waits for, and from whom that comes."""
    found = client.get(at("folders", name, "why"), model.Why, _query(options.relative_path(path)))
    if as_json:
        show.json(found)
        return
    show.line(f"{found.path}: {found.state}")
    if not found.pieces:
        return
    show.line(f"lacks {show.count(found.missing_pieces, 'piece')}, {show.size(found.missing_bytes)}")
    rows = [(one.id[:_ENTRY_SHOWN], show.size(one.size), one.why, _whom(one)) for one in found.pieces]
    show.table(("PIECE", "SIZE", "WHY", "WHO"), rows)
    if found.missing_pieces > len(found.pieces):
        show.line(f"… and {found.missing_pieces - len(found.pieces):,} more")


def _whom(piece: model.WhyPiece) -> str:
    return f"{piece.peer} ({piece.reach.upper()})" if piece.reach else piece.peer


@click.command("conflicts")
@options.folder_name
@options.as_json
@options.with_daemon
def conflicts_command(client: Client, name: str, as_json: bool) -> None:
    """List the files of the folder NAME of which there is more than one version."""
    answer = client.get(at("folders", name, "conflicts"), model.ConflictList)
    if as_json:
        show.json(answer)
        return
    for conflict in answer.conflicts:
        show.line(conflict.path)
        for version in conflict.versions:
            entry, when, by, what, _ = _row(version)
            show.line(f"  {entry}  {when}  {by}  {what}  {version.shown_as}".rstrip())
    if not answer.conflicts:
        show.line("no conflicts")


@click.command("restore")
@options.folder_name
@click.argument("version", metavar="PATH@ENTRY")
@options.with_daemon
def restore_command(client: Client, name: str, version: str) -> None:
    """Bring an older or deleted version of a file back; `harp history NAME PATH` lists the entries."""
    path, _, entry = version.rpartition("@")
    if not path:
        raise UsageError(
            "the version is missing", hint="harp restore NAME PATH@ENTRY; harp history NAME PATH lists entries"
        )
    asked = {**options.relative_path(path), "entry": _entry(entry)}
    show.line(client.post(at("folders", name, "restore"), model.Done, asked).message)


@click.command("resolve")
@options.folder_name
@click.argument("path")
@click.option(
    "--keep", required=True, metavar="ENTRY|both", help="The version to keep, or both under names of their own."
)
@options.with_daemon
def resolve_command(client: Client, name: str, path: str, keep: str) -> None:
    """Settle the conflict about PATH in the folder NAME; `harp conflicts NAME` lists the entries."""
    asked = {**options.relative_path(path), "keep": keep if keep == "both" else _entry(keep)}
    show.line(client.post(at("folders", name, "resolve"), model.Done, asked).message)


def _entry(text: str) -> str:
    entry = text.lower()
    if not entry or len(entry) > 64 or not _HEX.issuperset(entry):
        raise UsageError(
            f"{text!r} is not an entry", hint="an entry is hexadecimal, as `harp history NAME PATH` shows it"
        )
    return entry


def _query(path: PathFields) -> dict[str, str]:
    encoded = path["path_b64"]
    return {"path": path["path"]} if encoded is None else {"path_b64": encoded}


def _row(version: model.Version) -> tuple[str, str, str, str, str]:
    what = {"tombstone": "deleted", "symlink": f"symlink to {version.target}"}.get(version.kind, version.kind)
    if version.kind == "file":
        what = show.size(version.size)
    notes = [word for word, holds in (("now", version.is_current), ("restorable", version.is_restorable)) if holds]
    by = version.author_name or version.author.partition("-")[0]
    return version.entry[:_ENTRY_SHOWN], show.moment(version.at), by, what, ", ".join(notes)
