# SPDX-License-Identifier: AGPL-3.0-or-later
"""``harp config get | set``: settings, through the daemon while it runs, else in its file."""

import os
from pathlib import Path

import click

from harp.base import config
from harp.base.errors import NotRunningError
from harp.bridge import model
from harp.cli import options, show
from harp.cli.client import Client, at
from harp.identity import keyring


@click.group("config")
def config_command() -> None:
    """Read or change settings."""


@config_command.command("get")
@click.argument("key", required=False)
@options.as_json
@options.with_home
def get_command(home: Path, key: str | None, as_json: bool) -> None:
    """Print the setting KEY, or all of them."""
    found = _one(home, key) if key is not None else _all(home)
    if as_json:
        show.json(found)
    elif isinstance(found, model.Setting):
        show.line(found.value)
    else:
        show.table(("KEY", "VALUE", "WHAT"), [(s.key, s.value, s.summary) for s in found.settings])


@config_command.command("set")
@click.argument("key")
@click.argument("value")
@options.with_home
def set_command(home: Path, key: str, value: str) -> None:
    """Change the setting KEY to VALUE."""
    # Refused here, a wrong value is refused alike with and without a daemon.
    config.check(key, value)
    try:
        setting = Client(home).put(at("config", key), model.Setting, {"value": value})
    except NotRunningError:
        keyring.make_home(home)
        config.set_value(home, key, value)
        return
    if setting.needs_restart:
        show.line("holds from the next start on: harp down, then harp up")


def _one(home: Path, key: str) -> model.Setting:
    try:
        return Client(home).get(at("config", key), model.Setting)
    except NotRunningError:
        return _stored(key, config.get(home, key, environ=os.environ))


def _all(home: Path) -> model.SettingList:
    try:
        return Client(home).get(at("config"), model.SettingList)
    except NotRunningError:
        texts = {key: config.get(home, key, environ=os.environ) for key in config.SETTINGS}
        return model.SettingList(settings=[_stored(key, text) for key, text in texts.items()])


def _stored(key: str, value: str) -> model.Setting:
    setting = config.SETTINGS[key]
    return model.Setting(key=key, value=value, default=setting.default(), summary=setting.summary)
