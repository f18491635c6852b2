# SPDX-License-Identifier: AGPL-3.0-or-later
"""``harp id``: who this device is; needs no daemon."""

from pathlib import Path

import click

from harp.base.errors import ConfigError
from harp.bridge import model
from harp.cli import options, show
from harp.identity import device, keyring


@click.command("id")
@options.as_json
@options.with_home
def id_command(home: Path, as_json: bool) -> None:
    """Print this device's id, with check digits; compare it on the other device before you trust it."""
    key = keyring.load(home)
    if key is None:
        raise ConfigError(f"there is no identity in {home} yet", hint="the first `harp up` makes it")
    written = device.text(key.device_id)
    if as_json:
        show.json(model.DeviceInfo(id=written, name=device.short(key.device_id), home=str(home)))
    else:
        show.line(written)
