# SPDX-License-Identifier: AGPL-3.0-or-later
"""The cloud is a real Nextcloud, with a hub beside it: ``harp up`` on the same machine, as the web server's user."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Undone
from benchmarks.lab.site import Lab
from benchmarks.office.fleet import HarpFleet
from benchmarks.peers.harp import Side
from tests.e2e import cloud
from tests.e2e.cloud import WEB_USER, Cloud

_BRIDGE = Path(__file__).parents[2] / "harpbridge"
_PERSON, _SHARED = "anna", "Documents"
_DAV = f"/remote.php/dav/files/{_PERSON}/{_SHARED}"
_PATIENCE_S = 300.0


class HubFleet(HarpFleet):
    """Device 0 is the hub; its folder is the one of a person's account, as it lies on Nextcloud's disk."""

    def __init__(self, place: Path, lab: Lab) -> None:
        super().__init__(place, lab)
        self._undo = contextlib.ExitStack()

    @staticmethod
    def why_not() -> str:
        return cloud.why_not()

    def start(self, offices: int) -> None:
        with self._in_the_cloud():
            nextcloud = self._undo.enter_context(cloud.opened(Path(os.environ["NEXTCLOUD"]), apps=()))
            nextcloud.install_app(_BRIDGE)
            password = nextcloud.person(_PERSON).app_password
            self._browser = nextcloud.browser(_PERSON)
            self._asks("MKCOL", _DAV)
            self._start_hub(nextcloud)
        hub = self.sides[0]
        hub.run("account", "add", _PERSON, nextcloud.url, "--user", _PERSON, typed=f"{password}\n")
        hub.run("share", f"{_PERSON}:/{_SHARED}")
        self._folder = hub.the_folder()
        for index in range(1, offices + 1):
            self.join(index)
        self._connected()

    def _start_hub(self, nextcloud: Cloud) -> None:
        self.folders[0] = nextcloud.data / _PERSON / "files" / _SHARED
        home = nextcloud.scratch / "hub"
        home.mkdir(mode=0o700)
        shutil.chown(home, WEB_USER, WEB_USER)
        self.sides[0] = Side(
            home,
            self.folders[0],
            namespace=self.lab.cloud.namespace,
            user=WEB_USER,
            settings={"bridge_socket": f"{home}/bridge.sock", "nextcloud_data": str(nextcloud.data)},
        )
        self.daemons.append(self.sides[0].up())
        # Its self-test misses cron, which nobody runs here.
        nextcloud.occ_tried(
            "harpbridge:setup", f"--bridge-socket={home}/bridge.sock", f"--control-socket={home}/harp.sock"
        )

    def put_in(self, prepared: Path, name: str) -> None:
        """By a browser that is logged in, in one request, from a machine beside Nextcloud's."""
        modified = str(int(prepared.stat().st_mtime))
        with self._in_the_cloud():
            self._asks("PUT", f"{_DAV}/{name}", prepared.read_bytes(), modified)

    def _asks(self, method: str, path: str, body: bytes | None = None, modified: str = "") -> None:
        headers = {"requesttoken": self._browser.request_token, **({"X-OC-Mtime": modified} if modified else {})}
        reply = self._browser.ask(method, path, headers, body, _PATIENCE_S)
        if reply.status != 201:
            raise Undone(f"{method} {path}: {reply.status} {reply.text[:200]}")

    @contextlib.contextmanager
    def _in_the_cloud(self) -> Iterator[None]:
        """Nextcloud and whoever asks it are there; what goes wrong with it is an outcome too."""
        try:
            with self.lab.cloud.namespace.entered():
                yield
        except (AssertionError, OSError) as error:
            raise Undone(f"Nextcloud: {' '.join(str(error).split())[-300:]}") from error

    def stop(self) -> None:
        super().stop()
        self._undo.close()
