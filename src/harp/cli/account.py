# SPDX-License-Identifier: AGPL-3.0-or-later
"""``harp account add | list | remove``: the Nextcloud accounts whose folders can be shared."""

import asyncio
import socket
import sys

import click

from harp.base.errors import UsageError
from harp.bridge import accountview, model
from harp.cli import options, show
from harp.cli.client import Client, at


@click.group("account")
def account_command() -> None:
    """Add, list or remove Nextcloud accounts, whose folders can be shared: harp share NAME:/Documents."""


@account_command.command("add")
@click.argument("name")
@click.argument("url")
@click.option("--user", help="Log in as USER, with an app password on standard input, instead of in a browser.")
@click.option("--ca", metavar="FILE", help="Trust the authorities in this PEM file too.")
@options.as_json
@options.with_daemon
def add_command(client: Client, name: str, url: str, user: str | None, ca: str | None, as_json: bool) -> None:
    """Log in to the Nextcloud at URL and keep the account as NAME; once more for a new app password.

    Prints an address to open in a browser, on any device, and waits until you have agreed there. Nextcloud then makes
    an app password for this device alone, which you can take back on its page "Security".
    """
    # Before anybody is sent to a browser: that there is somebody to keep the account.
    client.get(at("accounts"), accountview.AccountList)
    ca_file = "" if ca is None else options.local_path(ca)["path"]
    is_own = user is None
    if user is None:
        user, password = asyncio.run(_agreed(url, ca_file))
    else:
        password = _from_standard_input()
    asked = {"name": name, "url": url, "user": user, "password": password, "ca_file": ca_file, "is_own": is_own}
    account = client.post(at("accounts"), accountview.AccountStatus, asked)
    if as_json:
        show.json(account)
    else:
        show.line(f"{account.name}: {account.user} at {account.url}")


@account_command.command("list")
@options.as_json
@options.with_daemon
def list_command(client: Client, as_json: bool) -> None:
    """List the accounts, and which folders mirror something of each."""
    answer = client.get(at("accounts"), accountview.AccountList)
    if as_json:
        show.json(answer)
    elif answer.accounts:
        rows = [(a.name, a.url, a.user, ", ".join(a.folders) or "–", _state(a)) for a in answer.accounts]
        show.table(("NAME", "NEXTCLOUD", "USER", "FOLDERS", "STATE"), rows)
    else:
        show.line("no account yet: harp account add NAME URL")


@account_command.command("remove")
@click.argument("name")
@options.with_daemon
def remove_command(client: Client, name: str) -> None:
    """Forget the account NAME, of which no folder mirrors anything any more."""
    show.line(client.delete(at("accounts", name), model.Done).message)


def _state(account: accountview.AccountStatus) -> str:
    if account.error:
        return account.error
    if account.is_pushed:
        return "ok, changes are pushed"
    return f"ok, changes are not pushed: {account.push_error}" if account.push_error else "ok"


def _from_standard_input() -> str:
    """The app password: one line, asked for where a person sits at a terminal."""
    if sys.stdin.isatty():
        return str(click.prompt("app password", hide_input=True, err=True))
    password = sys.stdin.readline().strip()
    if not password:
        raise UsageError("there is no app password on standard input", hint="make one on Nextcloud's page Security")
    return password


async def _agreed(url: str, ca_file: str) -> tuple[str, str]:
    """Name and app password of whoever agrees in a browser. Raises :class:`CloudError`, :class:`UsageError`."""
    from harp.sync.cloud import server  # no other command should pay for an HTTP client

    where = server.address(url)
    async with server.session(ca_file) as session:
        await server.demand(session, where)
        flow = await server.begin_login(session, where, socket.gethostname())
        show.line("open this address in a browser, log in and agree:")
        show.line(f"  {flow.address}")
        sys.stdout.flush()
        login = await server.awaited(session, where, flow)
        return login.user, login.password
