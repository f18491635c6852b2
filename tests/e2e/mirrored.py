# SPDX-License-Identifier: AGPL-3.0-or-later
"""A folder and a real account with the engine between them, and Nextcloud's own client beside it.

::

    async with mirrored.opened(nextcloud.url, alice, folder, "Documents") as mirror:
        await mirror.settle()
    mirrored.nextcloudcmd(nextcloud, alice, elsewhere, "Documents")
"""

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from harp.sync.cloud.dav import Dav, Login, user_id
from harp.sync.folder.fs import Marker, Root
from harp.sync.model import ID_BYTES, FolderId
from harp.sync.service.mirror import Mirror
from harp.sync.service.mirrordisk import MirrorDisk
from harp.sync.service.mirrornear import Near
from harp.sync.store.agreements import Agreements
from tests.e2e.cloud import Cloud, Person
from tests.fakes.desk import FixedRules

CLIENT = "nextcloudcmd"
PATIENCE_S = 900.0
_OF_THE_CLIENT = re.compile(r"\.sync_.*|\..+\.~[0-9a-f]+")
"""Its database, and what it has half fetched."""


def why_no_client() -> str:
    """Why Nextcloud's own client cannot be asked; empty if it can."""
    return "" if shutil.which(CLIENT) else f"{CLIENT} is not installed (apt install nextcloud-desktop-cmd)"


@contextlib.asynccontextmanager
async def opened(url: str, person: Person, folder: Path, top: str, near: Path | None = None) -> AsyncIterator[Mirror]:
    """``folder`` is made and marked where there is none; what is agreed is kept beside it.

    ``near`` is where the account's files lie on this very disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    root = Root.open(str(folder))
    if root.read_marker() is None:
        root.write_marker(Marker(FolderId(secrets.token_bytes(ID_BYTES)), secrets.token_bytes(16)))
    store = Agreements(folder.with_name(f"{folder.name}.agreements") / "agreements.db")
    login = Login(url, person.name, person.app_password)
    try:
        async with aiohttp.ClientSession() as session:
            dav = Dav(session, login, await user_id(session, login), top)
            disk = MirrorDisk(folder, FixedRules())
            yield Mirror(dav, disk, store, None if near is None else Near(dav, near))
    finally:
        store.close()


def nextcloudcmd(cloud: Cloud, person: Person, folder: Path, top: str, *, may_fail: bool = False) -> bool:
    """One run of Nextcloud's client over a folder. AssertionError with what it wrote where it failed.

    ``may_fail``: it also ends with 1 where somebody changed something under its hands, and then answers False.
    """
    home = folder.with_name(f"{folder.name}.client")
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        [
            *(CLIENT, "--silent", "--non-interactive", "-u", person.name, "-p", person.app_password),
            *("--path", f"/{top}", str(folder), cloud.url),
        ],
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert may_fail or done.returncode == 0, f"{CLIENT} ended with {done.returncode}:\n{done.stdout[-2000:]}"
    return done.returncode == 0


def content(folder: Path) -> dict[str, bytes]:
    """The files of people in a folder on the disk, by path; not what Nextcloud's client keeps beside them."""
    found = {}
    for above, _, names in os.walk(folder):
        inside = Path(above).relative_to(folder)
        for name in names:
            if inside.parts[:1] != (".harp",) and not _OF_THE_CLIENT.fullmatch(name):
                with contextlib.suppress(FileNotFoundError):
                    found[str(inside / name)] = Path(above, name).read_bytes()
    return found


def make_folder(cloud: Cloud, person: Person, path: str) -> None:
    """In the account, by a request of its own."""
    answer = cloud.browser().ask("MKCOL", f"/remote.php/dav/files/{person.name}/{path}", person.basic)
    assert answer.status == 201, f"{path}: {answer.status} {answer.text[:300]}"


def process(cloud: Cloud, person: Person, folder: Path, top: str) -> subprocess.Popen[bytes]:
    """The mirror in a process of its own, that can be killed; it ends when both sides are the same."""
    given = {"NC_URL": cloud.url, "NC_NAME": person.name, "NC_PASSWORD": person.app_password}
    return subprocess.Popen([sys.executable, "-m", "tests.e2e.mirrored", str(folder), top], env={**os.environ, **given})


async def _settled(folder: Path, top: str) -> None:
    person = Person(os.environ["NC_NAME"], "", os.environ["NC_PASSWORD"])
    async with opened(os.environ["NC_URL"], person, folder, top) as mirror:
        await mirror.settle()


if __name__ == "__main__":
    asyncio.run(_settled(Path(sys.argv[1]), sys.argv[2]))
