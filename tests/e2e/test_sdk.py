# SPDX-License-Identifier: AGPL-3.0-or-later
"""The how-to "Connect your first ExApp" on a real Nextcloud: its app, on nc_py_api, registered with its own command.

``HARP_TEST_EXAPP_PYTHON`` names a Python that has ``nc_py_api[app]`` and ``websockets``; without it this skips.
"""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.site import Site
from tests.e2e.test_manual import within
from tests.fakes.ports import free_port
from tests.integration.test_first_exapp import PYTHON, the_how_to

pytestmark = pytest.mark.skipif(not PYTHON, reason="HARP_TEST_EXAPP_PYTHON names no Python with nc_py_api")
APP = "sdk"


@pytest.fixture
def app(site: Site, tmp_path: Path) -> Iterator[str]:
    """Its path, once AppAPI has registered and enabled it."""
    program, said = the_how_to()
    (tmp_path / "hello.py").write_text(program)
    said |= {"id": APP, "port": free_port()}
    process = subprocess.Popen(
        [PYTHON, "hello.py"],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "APP_ID": APP,
            "APP_VERSION": said["version"],
            "APP_SECRET": said["secret"],
            "APP_HOST": "127.0.0.1",
            "APP_PORT": str(said["port"]),
            "AA_VERSION": "4.0.0",
            "NEXTCLOUD_URL": site.cloud.url,
        },
    )

    def listens() -> bool:
        assert process.poll() is None, "the app ended"
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", said["port"])) == 0

    try:
        assert within(60, listens)
        site.cloud.occ("app_api:app:register", APP, "manual", "--wait-finish", "--json-info", json.dumps(said))
        yield f"/exapps/{APP}"
    finally:
        process.terminate()
        process.wait(20)
        site.cloud.occ_tried("app_api:app:unregister", APP, "--force", "--rm-data")


async def test_an_app_on_nc_py_api(site: Site, app: str) -> None:
    nobody, alice = site.browser(), site.browser("alice")
    assert (nobody.get(app + "/public").status, nobody.get(app + "/me").status) == (200, 403)
    assert alice.get(app + "/me").json == {"hello": "alice"}
    assert nobody.get(app + "/me", site.cloud.people["alice"].basic).json == {"hello": "alice"}

    url = f"{site.cloud.url}{app}/echo"
    async with aiohttp.ClientSession() as client:
        async with client.ws_connect(url, headers=alice.cookie_header) as websocket:
            await websocket.send_str("hello")
            assert await websocket.receive_str(timeout=10) == "hello"
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await client.ws_connect(url)

    assert "successfully disabled" in site.cloud.occ("app_api:app:disable", APP)
    assert "successfully enabled" in site.cloud.occ("app_api:app:enable", APP)
