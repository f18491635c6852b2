# SPDX-License-Identifier: AGPL-3.0-or-later
"""The how-to "Connect your first ExApp", for real: its app, on nc_py_api, behind ``harp proxy``.

``HARP_TEST_EXAPP_PYTHON`` names a Python that has ``nc_py_api[app]`` and ``websockets``; without it this skips.
"""

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.fakes.haproxy import HAPROXY, needs_haproxy
from tests.fakes.nextcloud import Nextcloud
from tests.fakes.ports import free_port
from tests.fakes.served import Served

PYTHON = os.environ.get("HARP_TEST_EXAPP_PYTHON", "")
HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "first-exapp.md"
BASIC = "Basic YWxpY2U6cGFzc3dvcmQ="
pytestmark = [
    needs_haproxy,
    pytest.mark.skipif(not PYTHON, reason="HARP_TEST_EXAPP_PYTHON names no Python with nc_py_api"),
]


def the_how_to() -> tuple[str, dict[str, Any]]:
    """The app's program, and what Nextcloud is told of it."""
    text = HOW_TO.read_text(encoding="utf-8")
    program: str = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    return program, json.loads(re.findall(r"--json-info '(\{.*?\})'", text, re.DOTALL)[0])


def asked(url: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture
def hello(tmp_path: Path) -> Iterator[str]:
    """The app of the how-to, registered with its routes; its address behind the proxy."""
    program, said = the_how_to()
    (tmp_path / "hello.py").write_text(program)
    app_port, port, metrics = free_port(), free_port(), free_port()
    nextcloud = Nextcloud(key="k")
    nextcloud.apps["hello"] = {
        "exapp_token": said["secret"],
        "exapp_version": said["version"],
        "host": "127.0.0.1",
        "port": app_port,
        "routes": [{"url": r["url"], "access_level": r["access_level"]} for r in said["routes"]],
    }
    nextcloud.people.update({"a-session": ("alice", 1), BASIC: ("alice", 1)})
    served = Served(nextcloud.answer).start()
    started = [
        subprocess.Popen(
            [PYTHON, "hello.py"],
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "APP_ID": "hello",
                "APP_VERSION": said["version"],
                "APP_SECRET": said["secret"],
                "APP_HOST": "127.0.0.1",
                "APP_PORT": str(app_port),
                "AA_VERSION": "4.0.0",
                "NEXTCLOUD_URL": served.url,
            },
        ),
        subprocess.Popen(
            [sys.executable, "-m", "harp.cli", "--home", str(tmp_path / "home"), "proxy"],
            env={
                "PATH": os.environ["PATH"],
                "HP_HAPROXY": HAPROXY,
                "HP_SHARED_KEY": "k",
                "NC_INSTANCE_URL": served.url,
                "HP_EXAPPS_ADDRESS": f"127.0.0.1:{port}",
                "HP_METRICS_ADDRESS": f"127.0.0.1:{metrics}",
            },
        ),
    ]
    try:
        url = f"http://127.0.0.1:{port}/exapps/hello"
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            try:
                if asked(url + "/public")[0] == 200:
                    break
            except OSError:
                pass
            time.sleep(0.2)
        yield url
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(20)
        served.stop()


async def test_a_real_app_serves_a_session_a_password_and_a_websocket(hello: str) -> None:
    session = {"Cookie": "oc_sessionPassphrase=a-session"}
    assert asked(hello + "/public") == (200, '{"hello":"whoever you are"}')
    assert asked(hello + "/me")[0] == 403
    assert asked(hello + "/me", session) == (200, '{"hello":"alice"}')
    assert asked(hello + "/me", {"Authorization": BASIC}) == (200, '{"hello":"alice"}')
    assert asked(hello + "/heartbeat")[0] == 403

    async with aiohttp.ClientSession() as browser:
        async with browser.ws_connect(hello + "/echo", headers=session) as socket:
            await socket.send_str("hello")
            assert await socket.receive_str(timeout=5) == "hello"
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await browser.ws_connect(hello + "/echo")
