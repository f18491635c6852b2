# SPDX-License-Identifier: AGPL-3.0-or-later
"""Alice's folder on the disk and her account, and what lies and happens on either side."""

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from urllib.parse import quote

from harp.sync.cloud import multistatus
from harp.sync.cloud.nodes import Remote
from harp.sync.service.mirror import Mirror
from tests.e2e import accesslog, mirrored
from tests.e2e.accesslog import Write
from tests.e2e.cloud import Cloud, Person


class Desk:
    """Alice's folder on the disk, and one of its name in her account."""

    def __init__(self, cloud: Cloud, folder: Path, top: str) -> None:
        self.cloud, self.folder, self.top = cloud, folder, top
        self.alice = cloud.person("alice")
        self.at = f"/remote.php/dav/files/alice/{top}"

    def opened(self) -> AbstractAsyncContextManager[Mirror]:
        return mirrored.opened(self.cloud.url, self.alice, self.folder, self.top)

    def here(self) -> dict[str, bytes]:
        return mirrored.content(self.folder)

    def there(self) -> dict[str, bytes]:
        """As it lies on the server's disk."""
        return mirrored.content(self.cloud.data / "alice" / "files" / self.top)

    def put(self, path: str, content: bytes, *, who: Person | None = None, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        person = who or self.alice
        answer = self.cloud.browser().ask("PUT", f"{self.at}/{quote(path)}", person.basic | named, content)
        assert answer.status in (201, 204), answer.text[:300]

    def told(self, path: str) -> Remote:
        """What a listing says of it."""
        headers = self.alice.basic | {"Depth": "0"}
        answer = self.cloud.browser().ask("PROPFIND", f"{self.at}/{quote(path)}", headers, multistatus.REQUEST)
        return multistatus.parsed(answer.body, self.at)[0].remote

    def asked(self, what: str) -> int:
        """How often the web server was asked for that."""
        return self.log.count(what)

    def traces(self, contents: Collection[bytes]) -> list[str]:
        """Where else these are: in the trash of either side, or among the server's versions."""
        places = [self.folder / ".harp", *(self.cloud.data / "alice").glob("files_*")]
        files = (path for place in places for path in place.rglob("*") if path.is_file())
        return [str(path) for path in files if path.read_bytes() in contents]

    @property
    def log(self) -> str:
        """The web server's."""
        return (self.cloud.scratch / "nginx-access.log").read_text()

    def writes(self) -> list[Write]:
        """What Harp has changed in this folder of the account, the earliest first."""
        return accesslog.writes(self.log, self.at)

    def begun_chunks(self) -> list[Path]:
        return sorted((self.cloud.data / "alice" / "uploads").glob("harp-*/0*"))
