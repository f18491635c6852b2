# SPDX-License-Identifier: AGPL-3.0-or-later
"""Nextcloud accounts, their app passwords, and which folder mirrors what: ``HOME/accounts.json`` (0600)."""

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from harp.base import privatefile
from harp.base.errors import ConfigError, UsageError

FILE_NAME = "accounts.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MOST_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Account:
    """One account. ``user`` is the name to log in with, ``user_id`` what its WebDAV paths begin with."""

    name: str
    url: str
    user: str
    user_id: str
    password: str = field(repr=False)
    """An app password."""
    ca_file: str = ""
    """PEM certificates that are trusted beside the system's; empty for none."""
    is_own: bool = False
    """Whether the password was made for this device alone, so that it is taken back with the account."""


@dataclass(frozen=True, slots=True)
class Mirrored:
    """A folder (its id in hexadecimal) that mirrors ``path`` (``/``, ``/Documents``) of an account."""

    folder: str
    account: str
    path: str


@dataclass(frozen=True, slots=True)
class _Kept:
    accounts: tuple[Account, ...] = ()
    mirrored: tuple[Mirrored, ...] = ()


class Accounts:
    """For any thread. Every change is durable when its method returns."""

    def __init__(self, home: Path) -> None:
        """Raises :class:`ConfigError` where the file is damaged, or others may read it."""
        self._path = home / FILE_NAME
        self._lock = threading.Lock()
        text = privatefile.secret(self._path, _MOST_BYTES, "the accounts and their app passwords")
        try:
            self._kept = _Kept() if text is None else msgspec.json.decode(text, type=_Kept)
        except msgspec.MsgspecError as error:
            # What msgspec says may quote what it read.
            raise ConfigError(
                f"{self._path} is damaged",
                hint="move it away and add the accounts anew",
            ) from error

    def all(self) -> Sequence[Account]:
        return self._kept.accounts

    def named(self, name: str) -> Account:
        """Raises :class:`UsageError` where there is none."""
        found = next((account for account in self._kept.accounts if account.name == name), None)
        if found is None:
            names = ", ".join(account.name for account in self._kept.accounts)
            hint = f"there are: {names}" if names else "harp account add NAME URL"
            raise UsageError(f"there is no account {name!r}", hint=hint)
        return found

    def add(self, account: Account) -> Account | None:
        """Keeps it; the one before with another password, where the same person of the same server is added again.

        Raises :class:`UsageError` for a name that is none, or another account's.
        """
        check_name(account.name)
        with self._lock:
            before = next((one for one in self._kept.accounts if one.name == account.name), None)
            if before is not None and (before.url, before.user_id) != (account.url, account.user_id):
                raise UsageError(
                    f"there is an account {account.name!r} already: {before.user_id} at {before.url}",
                    hint="choose another name, or first: harp account remove " + account.name,
                )
            others = [one for one in self._kept.accounts if one.name != account.name]
            self._keep(accounts=tuple(sorted([*others, account], key=lambda one: one.name)))
        return before

    def remove(self, name: str) -> Account:
        """Forgets an account. Raises :class:`UsageError` where there is none, or a folder mirrors it."""
        account = self.named(name)
        with self._lock:
            if any(one.account == name for one in self._kept.mirrored):
                raise UsageError(f"a folder mirrors the account {name!r}", hint="first leave it: harp leave FOLDER")
            self._keep(accounts=tuple(one for one in self._kept.accounts if one.name != name))
        return account

    def mirrored(self) -> Sequence[Mirrored]:
        return self._kept.mirrored

    def mirror(self, mirrored: Mirrored) -> None:
        with self._lock:
            others = [one for one in self._kept.mirrored if one.folder != mirrored.folder]
            self._keep(mirrored=(*others, mirrored))

    def unmirror(self, folder: str) -> None:
        with self._lock:
            others = tuple(one for one in self._kept.mirrored if one.folder != folder)
            if others != self._kept.mirrored:
                self._keep(mirrored=others)

    def _keep(
        self, *, accounts: tuple[Account, ...] | None = None, mirrored: tuple[Mirrored, ...] | None = None
    ) -> None:
        kept = replace(
            self._kept,
            accounts=self._kept.accounts if accounts is None else accounts,
            mirrored=self._kept.mirrored if mirrored is None else mirrored,
        )
        privatefile.replace(self._path, msgspec.json.format(msgspec.json.encode(kept), indent=2).decode() + "\n")
        self._kept = kept


def check_name(name: str) -> None:
    """Raises :class:`UsageError` for what no account can be called."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for an account", hint="letters, digits, dots, dashes; at most 64: work, home-cloud"
        )
