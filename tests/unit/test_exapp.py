# SPDX-License-Identifier: AGPL-3.0-or-later
"""The hub as an External App: AppAPI's three questions, and who may ask them."""

import base64
import json
from pathlib import Path

import pytest

from harp.base.errors import ConfigError
from harp.bridge import exapp
from harp.bridge.exapp import ExApp

APP = ExApp("a:secret")


def signed(secret: str, user: str = "") -> dict[str, str]:
    return {"authorization-app-api": base64.b64encode(f"{user}:{secret}".encode()).decode()}


def test_appapi_registers_and_turns_on_and_off() -> None:
    said = signed("a:secret")
    assert APP.page("GET", "/heartbeat", {}) == (200, b'{"status": "ok"}')
    assert APP.page("POST", "/init", said) == (501, b"{}"), "AppAPI goes on at once after 501"
    for target in ("/enabled?enabled=1", "/enabled?enabled=0"):
        status, body = APP.page("PUT", target, said) or (0, b"")
        assert (status, json.loads(body)) == (200, {"error": ""})


@pytest.mark.parametrize(
    "headers",
    [{}, signed("another"), signed(""), {"authorization-app-api": "no base64!"}, {"authorization-app-api": "\xff"}],
)
def test_whoever_does_not_know_the_secret_is_refused(headers: dict[str, str]) -> None:
    for method, target in (("POST", "/init"), ("PUT", "/enabled?enabled=0")):
        assert (APP.page(method, target, headers) or (0, b""))[0] == 401


def test_without_a_secret_nobody_knows_it() -> None:
    assert (ExApp("").page("PUT", "/enabled", signed("")) or (0, b""))[0] == 401


def test_there_is_nothing_else() -> None:
    for method, target in (("POST", "/heartbeat"), ("GET", "/enabled"), ("GET", "/"), ("GET", "/heartbeat/")):
        assert APP.page(method, target, signed("a:secret")) is None


def test_the_secret_is_in_a_file_of_ones_own_or_in_the_environment(tmp_path: Path) -> None:
    environ = {"APP_SECRET": "from outside"}
    ok = (501, b"{}")
    assert exapp.of_home(tmp_path, environ).page("POST", "/init", signed("from outside")) == ok
    kept = tmp_path / exapp.SECRET_FILE
    kept.write_text("kept\n")
    kept.chmod(0o600)
    assert exapp.of_home(tmp_path, environ).page("POST", "/init", signed("kept")) == ok
    kept.chmod(0o640)
    with pytest.raises(ConfigError, match="others can read"):
        exapp.of_home(tmp_path, environ)
    kept.write_bytes(b"\xff")
    kept.chmod(0o600)
    with pytest.raises(ConfigError, match="cannot be read"):
        exapp.of_home(tmp_path, environ)
