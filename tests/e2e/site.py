# SPDX-License-Identifier: AGPL-3.0-or-later
"""A Nextcloud with a Harp beside it, nginx in front as the how-to has it, and both told of each other."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.contract.instance import Harp
from tests.e2e.browser import Browser
from tests.e2e.cloud import Cloud
from tests.e2e.exapp import Hello

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "replace-harp.md"
_LOCATION = re.compile(r"```nginx\n(.*?)```", re.DOTALL)


def documented_location(port: int) -> str:
    """nginx's location of the how-to "Replace HaRP by Harp", for a Harp on ``port``."""
    found = _LOCATION.search(HOW_TO.read_text(encoding="utf-8"))
    assert found, f"{HOW_TO.name} shows no location for nginx"
    text = found[1].replace("127.0.0.1:8780", f"127.0.0.1:{port}")
    assert str(port) in text
    return text


@dataclass(slots=True)
class Site:
    """Where an administrator works."""

    cloud: Cloud
    harp: Harp

    def tell_nextcloud(
        self, name: str, kind: str = "manual-install", *options: str, url: str = "", frp: str = "127.0.0.1:8782"
    ) -> str:
        """Registers Harp as a deploy daemon, as the how-to does; ``url`` and ``frp`` are what apps reach."""
        where = f"127.0.0.1:{self.harp.port}"
        return self.cloud.occ(
            *("app_api:daemon:register", name, name, kind, "http", where, url or self.cloud.url),
            *("--harp", "--harp_frp_address", frp, "--harp_shared_key", self.harp.key, *options),
        )

    def register(self, hello: Hello, daemon: str = "manual") -> str:
        return self.cloud.occ("app_api:app:register", hello.app, daemon, "--wait-finish", "--json-info", hello.info)

    def update(self, hello: Hello) -> str:
        return self.cloud.occ("app_api:app:update", hello.app, "--wait-finish", "--json-info", hello.info)

    def browser(self, name: str = "") -> Browser:
        return self.cloud.browser(name)
