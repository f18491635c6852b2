# SPDX-License-Identifier: AGPL-3.0-or-later
"""The engine that other tests use is a real one, leaves nothing behind, and its image serves."""

import time
import urllib.request
from pathlib import Path

import pytest

from tests.integration.engine import IMAGE, opened, why_not

pytestmark = [pytest.mark.skipif(bool(why_not()), reason=why_not()), pytest.mark.root, pytest.mark.timeout(180)]


def test_an_app_on_its_bridge_is_reached_and_all_is_gone_afterwards(tmp_path: Path) -> None:
    with opened(tmp_path / "engine") as engine:
        made = engine.call("POST", "/containers/create?name=nc_app_x", {"Image": IMAGE, "Env": ["APP_HOST=0.0.0.0"]})
        assert made.status == 201
        assert engine.call("POST", "/containers/nc_app_x/start").status == 204
        address = engine.inspect("nc_app_x")["NetworkSettings"]["IPAddress"]
        deadline = time.monotonic() + 10
        while "listening" not in engine.logs("nc_app_x") and time.monotonic() < deadline:
            time.sleep(0.05)
        with urllib.request.urlopen(f"http://{address}:23000/heartbeat", timeout=10) as answer:
            assert answer.read() == b'{"status": "ok"}'
        assert engine.run("nc_app_x", "false")[0] == 1

    assert not engine.socket.parent.exists()
    assert not Path(f"/sys/class/net/{engine.bridge}").exists()
