# SPDX-License-Identifier: AGPL-3.0-or-later
"""Nextcloud accounts as ``/v1`` knows them: what is asked and answered, and the port that answers it."""

from pathlib import Path
from typing import Protocol

import msgspec

from harp.bridge.model import Done, FolderStatus, Noun


class AccountStatus(Noun, frozen=True, kw_only=True):
    """One account; its app password is told to nobody."""

    name: str
    url: str
    user: str
    folders: list[str] = msgspec.field(default_factory=list)
    """Names of the folders that mirror something of it."""
    error: str = ""
    """Why one of them stands still, in one line."""
    is_pushed: bool = False
    """Whether its server says at once that a file has changed, by its app notify_push."""
    push_error: str = ""
    """Why not, in one line, where the server offers that; changes are seen a little later then."""


class AccountLogin(Noun, frozen=True, kw_only=True):
    """A login that was begun: ``address`` is to be opened in a browser, where a person agrees.

    ``error`` is why it has ended without an account.
    """

    name: str
    url: str
    address: str
    error: str = ""


class AccountList(Noun, frozen=True, kw_only=True):
    accounts: list[AccountStatus]
    logins: list[AccountLogin] = msgspec.field(default_factory=list)
    """That have not become accounts (yet)."""


class LoginAsked(Noun, frozen=True, kw_only=True):
    """``account`` is the name that it gets, or has; ``ca_file`` as in :class:`AccountAsked`."""

    account: str
    url: str
    ca_file: str = ""


class AccountAsked(Noun, frozen=True, kw_only=True):
    """``user`` is the name to log in with, ``password`` an app password.

    An account that is there already gets the new password, if it is the same person's at the same address.
    """

    name: str
    url: str
    user: str
    password: str
    ca_file: str = ""
    """A PEM file on this device: authorities that are trusted beside the system's."""
    is_own: bool = False
    """Whether the password was made for this device alone: it is taken back when the account is removed."""

    def __repr__(self) -> str:
        return f"AccountAsked(name={self.name!r}, url={self.url!r}, user={self.user!r})"


class AccountNamed(Noun, frozen=True, kw_only=True):
    account: str


class Accounting(Protocol):
    """What the running daemon does about accounts; see :class:`harp.bridge.daemonport.Daemon`."""

    async def accounts(self) -> AccountList: ...

    async def log_in(self, asked: LoginAsked) -> AccountLogin:
        """Begin a login that a person ends in a browser; then the account is there, with a password of its own."""
        ...

    async def add_account(self, asked: AccountAsked) -> AccountStatus:
        """Log in, and keep the account. Raises :class:`harp.base.errors.CloudError` where that does not work."""
        ...

    async def share_account(
        self, account: str, path: str, name: str | None, place: Path | None, merge: bool
    ) -> FolderStatus:
        """Make a folder that mirrors ``path`` of the account; one that does already is answered as it is."""
        ...

    async def remove_account(self, account: str) -> Done:
        """Forget it. Raises :class:`harp.base.errors.UsageError` while a folder mirrors something of it."""
        ...
