# SPDX-License-Identifier: AGPL-3.0-or-later
"""``harp files | changes | cat | traffic | log``: looking around in a folder, and in what the daemon has done."""

import base64

import click

from harp.base.errors import UsageError
from harp.bridge import browsing, model
from harp.bridge.naming import PathFields, printable
from harp.cli import options, show
from harp.cli.client import Client, at

_ENTRY_SHOWN = 12


@click.command("files")
@options.folder_name
@click.argument("path", required=False, default="")
@click.option("--find", default="", metavar="TEXT", help="Whatever has TEXT in its path, deleted files too.")
@click.option("--deleted", is_flag=True, help="List deleted files too.")
@click.option("--limit", default=200, show_default=True, help="At most so many.")
@options.as_json
@options.with_daemon
def files_command(client: Client, name: str, path: str, find: str, deleted: bool, limit: int, as_json: bool) -> None:
    """List what lies in the directory PATH of the folder NAME, or find files by a text in their paths."""
    asked = {"find": find, "deleted": str(int(deleted)), "limit": str(limit)}
    if path:
        asked |= _query(options.relative_path(path))
    found = client.get(at("folders", name, "files"), browsing.FileList, asked)
    if as_json:
        show.json(found)
        return
    show.table(("WHEN", "BY", "WHAT", "PATH"), [_file(one) for one in found.files])
    if found.has_more:
        show.line("… and more: --limit, --find, or a PATH")


def _file(one: browsing.FileFact) -> tuple[str, str, str, str]:
    what = {"tombstone": "deleted", "file": show.size(one.size)}.get(one.kind, one.kind)
    return show.moment(one.at), one.author_name, what, one.path


@click.command("changes")
@options.folder_name
@click.option("--limit", default=50, show_default=True, help="At most so many.")
@options.as_json
@options.with_daemon
def changes_command(client: Client, name: str, limit: int, as_json: bool) -> None:
    """Show what was changed last in the folder NAME; newest first."""
    found = client.get(at("folders", name, "changes"), browsing.ChangeList, {"limit": str(limit)})
    if as_json:
        show.json(found)
        return
    rows = [(one.entry[:_ENTRY_SHOWN], show.moment(one.at), _by(one), _what(one), one.path) for one in found.changes]
    show.table(("ENTRY", "WHEN", "BY", "WHAT", "PATH"), rows)


def _by(one: model.Version) -> str:
    return one.author_name or one.author.partition("-")[0]


def _what(one: model.Version) -> str:
    if one.kind == "tombstone":
        return "deleted"
    return show.size(one.size) if one.kind == "file" else one.kind


@click.command("cat")
@options.folder_name
@click.argument("version", metavar="PATH[@ENTRY]")
@options.with_daemon
def cat_command(client: Client, name: str, version: str) -> None:
    """Write the content of PATH in the folder NAME to standard output; with @ENTRY, that of an older version."""
    path, mark, entry = version.rpartition("@")
    is_entry = bool(mark and path) and 4 <= len(entry) <= 64 and set(entry.lower()) <= set("0123456789abcdef")
    asked = _query(options.relative_path(path if is_entry else version))
    asked["entry"] = entry if is_entry else ""
    offset, size = 0, 1
    while offset < size:
        piece = client.get(at("folders", name, "content"), browsing.Content, {**asked, "offset": str(offset)})
        # The same version to the end, even if the file changes meanwhile.
        asked["entry"], size = piece.entry, piece.size
        data = base64.b64decode(piece.data_b64)
        click.echo(data, nl=False)
        if not data:
            break
        offset += len(data)


@click.command("ignore")
@options.folder_name
@click.option("--set", "source", metavar="FILE", help="Take the rules from FILE, or from standard input for -.")
@click.option("--local", is_flag=True, help="The rules for this device alone.")
@options.as_json
@options.with_daemon
def ignore_command(client: Client, name: str, source: str | None, local: bool, as_json: bool) -> None:
    """Show or change what the folder NAME leaves out, by rules in gitignore's form."""
    route = at("folders", name, "ignore")
    if source is None:
        found = client.get(route, browsing.LeftOut)
    else:
        found = client.put(route, browsing.LeftOut, {"local" if local else "shared": _text(source)})
    if as_json:
        show.json(found)
        return
    for line in (found.local if local else found.shared).splitlines():
        show.line(line)
    for problem in found.problems:
        click.echo(f"! {printable(problem)}", err=True)


def _text(source: str) -> str:
    try:
        with click.open_file(source, encoding="utf-8") as file:
            return str(file.read())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{source} cannot be read as text", hint="name a file of rules in UTF-8") from error


@click.command("traffic")
@click.option("--days", default=31, show_default=True, help="The last so many.")
@options.as_json
@options.with_daemon
def traffic_command(client: Client, days: int, as_json: bool) -> None:
    """Show where content came from, by day: other devices on the LAN, beyond the WAN, this device's own disk."""
    found = client.get(at("traffic"), browsing.TrafficDays, {"days": str(days)})
    if as_json:
        show.json(found)
        return
    rows = [(one.day, show.size(one.lan), show.size(one.wan), show.size(one.local)) for one in found.days]
    show.table(("DAY", "LAN", "WAN", "FOUND HERE"), rows)


@click.command("log")
@click.option("--lines", default=200, show_default=True, help="The last so many.")
@options.as_json
@options.with_daemon
def log_command(client: Client, lines: int, as_json: bool) -> None:
    """Show what the daemon logged last; tickets, tokens and passwords are left out."""
    found = client.get(at("log"), browsing.LogLines, {"lines": str(lines)})
    if as_json:
        show.json(found)
        return
    for one in found.lines:
        show.line(f"{show.moment(one.at)} {one.level.upper()} {one.text}")


def _query(path: PathFields) -> dict[str, str]:
    encoded = path["path_b64"]
    return {"path": path["path"]} if encoded is None else {"path_b64": encoded}
