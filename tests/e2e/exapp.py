# SPDX-License-Identifier: AGPL-3.0-or-later
"""What AppAPI is told of ``hello.py``, and that app as a process beside the tests."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.ports import free_port

PROGRAM = Path(__file__).with_name("hello.py")
# The PHP proxy matches without the leading slash, HaRP with it: such an expression is right for both.
ROUTES = {
    r"^\/?(public|quick|events|socket|upload)$": 0,
    r"^\/?(user|user-quick|user-socket|user-upload)$": 1,
    r"^\/?admin$": 2,
}


def described(app: str, version: str, **more: Any) -> dict[str, Any]:
    """An app as AppAPI wants to have it described, its routes included."""
    routes = [
        {"url": url, "verb": "GET,POST,PUT,DELETE", "access_level": level, "headers_to_exclude": []}
        for url, level in ROUTES.items()
    ]
    return {"id": app, "name": app.capitalize(), "version": version, "routes": routes, **more}


@dataclass(slots=True)
class Hello:
    """``hello.py``, started by hand."""

    app: str
    cloud: str
    version: str = "1.0.0"
    port: int = field(default_factory=free_port)
    secret: str = field(default_factory=lambda: secrets.token_hex(16))
    process: subprocess.Popen[bytes] | None = None

    @property
    def info(self) -> str:
        """For ``--json-info``."""
        return json.dumps(described(self.app, self.version, secret=self.secret, port=self.port))

    def start(self) -> None:
        """Returns when it listens."""
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM)],
            env={
                "PATH": os.environ["PATH"],
                "APP_ID": self.app,
                "APP_VERSION": self.version,
                "APP_SECRET": self.secret,
                "APP_HOST": "127.0.0.1",
                "APP_PORT": str(self.port),
                "NEXTCLOUD_URL": self.cloud,
            },
        )
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self.process.poll() is None, "the app ended"
            assert time.monotonic() < deadline, "the app does not listen"
            time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None
