# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a container is given of the host: its own volume, and the folders that ``HP_BIND_MOUNTS`` names; nothing else.

Whoever has the shared key could otherwise mount ``/`` and be root of the host.
"""

import posixpath
from collections.abc import Sequence
from typing import Any

from harp.proxy.deploy.docker import names
from harp.proxy.deploy.payload import Mount, Named
from harp.proxy.model import BindFolder


class MountRefused(Exception):
    """A mount that the settings do not allow; the text says which, and which variable decides."""


def volume_mount(app: Named) -> dict[str, Any]:
    """The app's own volume, at ``/`` and its name (112)."""
    name = names.volume(app)
    return {"Type": "volume", "Source": name, "Target": f"/{name}", "ReadOnly": False}


def bind_mounts(app: Named, asked: Sequence[Mount], allowed: Sequence[BindFolder]) -> list[dict[str, Any]]:
    """The folders of the host that an app is given. Raises :class:`MountRefused`."""
    own = f"/{names.volume(app)}"
    found = []
    for mount in asked:
        folder = _folder_of(mount, allowed)
        is_read_only = mount.mode == "ro"
        if folder.is_read_only and not is_read_only:
            raise MountRefused(
                f"Mount of {mount.source!r} refused: HP_BIND_MOUNTS allows it for reading alone (mode ro)"
            )
        if not _is_canonical(mount.target) or mount.target == own or mount.target.startswith(own + "/"):
            raise MountRefused(f"Mount at {mount.target!r} refused: it must be an absolute path of its own in the app")
        found.append(
            {"Type": "bind", "Source": mount.source, "Target": mount.target, "ReadOnly": is_read_only},
        )
    return found


def _folder_of(mount: Mount, allowed: Sequence[BindFolder]) -> BindFolder:
    if not _is_canonical(mount.source):
        raise MountRefused(
            f"Mount of {mount.source!r} refused: it must be an absolute path without ., .., // and / at its end,"
            " in a folder that HP_BIND_MOUNTS names"
        )
    fits = [each for each in allowed if mount.source == each.path or mount.source.startswith(each.path + "/")]
    if not fits:
        raise MountRefused(
            f"Mount of {mount.source!r} refused: set HP_BIND_MOUNTS to the folders of the host that apps may be given"
        )
    # The nearest one decides: a folder for reading within one for writing stays so.
    return max(fits, key=lambda each: len(each.path))


def _is_canonical(path: str) -> bool:
    return path.startswith("/") and path != "/" and path.isprintable() and posixpath.normpath(path) == path
