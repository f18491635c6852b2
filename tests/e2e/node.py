# SPDX-License-Identifier: AGPL-3.0-or-later
"""One more web node of a Nextcloud: another nginx and PHP over the same tree, settings, data, sessions and database.

::

    with node.opened(nextcloud, hidden=Path("/run/harp")) as other:
        other.dav(anna, "PUT", "files/anna/x", b"saved through the other node")
        other.occ("harpbridge:self-test")                  # as on that machine

It is in a mount namespace of its own (unshare(1), root alone), in which the folders ``hidden`` are empty: sockets lead
nowhere, as on another machine.
"""

import contextlib
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.cloud import WEB_USER, Cloud
from tests.fakes.ports import free_port

_SHARED = ("config", "data", "apps", "sessions")
_OWN = ("tmp", "nginx", "places")


def why_not() -> str:
    """Why there can be no second node here; empty if there can."""
    return "" if os.geteuid() == 0 else "a web node of its own needs the rights of root (unshare --mount)"


@dataclass(slots=True)
class Node(Cloud):
    """A Nextcloud that another one has installed; ``hidden`` are folders of this machine that its own does not have."""

    hidden: tuple[Path, ...] = ()

    @property
    def _apart(self) -> list[str]:
        empty = "".join(f"mount -t tmpfs none {shlex.quote(str(folder))} && " for folder in self.hidden)
        return ["unshare", "--mount", "sh", "-c", f'{empty}exec "$@"', "node"]

    def _beside(self) -> list[str]:
        return ["nsenter", f"--mount=/proc/{self.pids['php-fpm']}/ns/mnt", f"--wd={self.tree}"]


@contextlib.contextmanager
def opened(cloud: Cloud, *hidden: Path) -> Iterator[Node]:
    """It runs until the block ends; nothing of it is left then."""
    scratch = Path(tempfile.mkdtemp(prefix="harp-node-"))
    scratch.chmod(0o755)
    for name in _OWN:
        (scratch / name).mkdir()
        shutil.chown(scratch / name, WEB_USER, WEB_USER)
    for name in _SHARED:
        (scratch / name).symlink_to(cloud.scratch / name)
    node = Node(cloud.tree, scratch, free_port(), cloud.host, cloud.admin, cloud.people, hidden=hidden)
    try:
        node.serve()
        yield node
    finally:
        node.stop()
        shutil.rmtree(scratch, ignore_errors=True)
