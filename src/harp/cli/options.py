# SPDX-License-Identifier: AGPL-3.0-or-later
"""The options that most commands share, and how a command meets the daemon of its home."""

import functools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from harp.base.config import home_folder
from harp.bridge.naming import PathFields, path_fields
from harp.cli.client import Client

_P = ParamSpec("_P")
_R = TypeVar("_R")
_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)")

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
folder_name = click.argument("name")


def with_home(command: Callable[Concatenate[Path, _P], _R]) -> Callable[..., _R]:
    """Gives the command its home as the first argument, and an option ``--home``."""

    @click.option("--home", metavar="DIR", help="Where key, ledger and socket lie.")
    @click.pass_context
    @functools.wraps(command)
    def wrapped(ctx: click.Context, /, *args: Any, home: str | None, **named: Any) -> _R:
        return command(home_folder(home or ctx.obj, os.environ), *args, **named)

    return wrapped


def with_daemon(command: Callable[Concatenate[Client, _P], _R]) -> Callable[..., _R]:
    """Gives the command a client of its home's daemon as the first argument, and an option ``--home``."""

    @functools.wraps(command)
    def wrapped(home: Path, /, *args: _P.args, **named: _P.kwargs) -> _R:
        return command(Client(home), *args, **named)

    return with_home(wrapped)


def duration(_ctx: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    """For ``callback=``: ``90``, ``90s``, ``30m``, ``1h``, ``2d``, ``1w`` as a number of seconds."""
    if value is None:
        return None
    match = _DURATION.fullmatch(value.strip().lower())
    if match is None or match.group(2) not in _UNITS:
        raise click.BadParameter(f"{value!r} is not a duration such as 90s, 30m, 1h or 2d")
    return float(match.group(1)) * _UNITS[match.group(2)]


def local_path(text: str) -> PathFields:
    """A path on this machine as the API takes it: absolute, from the folder that we are in, symlinks as they are."""
    return path_fields(os.fsencode(os.path.abspath(os.path.expanduser(text))))


def relative_path(text: str) -> PathFields:
    """A path within a folder as the API takes it."""
    return path_fields(os.path.normpath(os.fsencode(text)))
