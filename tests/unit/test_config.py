# SPDX-License-Identifier: AGPL-3.0-or-later
"""Settings: where they come from, which one counts, and what is refused."""

import ipaddress
import stat
from pathlib import Path

import pytest

from harp.base import config
from harp.base.config import Address
from harp.base.errors import ConfigError, UsageError


def load(home: Path, environ: dict[str, str] | None = None, **overrides: str) -> config.Config:
    return config.load(home, environ=environ or {}, overrides=overrides)


def test_without_any_file_the_defaults_hold(tmp_path: Path) -> None:
    found = load(tmp_path)
    assert found.listen == Address("0.0.0.0", 8783)
    assert found.discovery is True
    assert found.device_name
    assert (found.lan_subnets, found.wan_subnets) == ((), ())
    assert (found.scan_interval_s, found.trash_days, found.trash_share) == (3600.0, 30.0, 0.10)
    assert (found.guard_files, found.guard_share, found.log_level) == (100, 0.25, "info")
    assert found.home == tmp_path


def test_the_command_line_beats_the_environment_beats_the_file(tmp_path: Path) -> None:
    config.set_value(tmp_path, "listen", "1.1.1.1:1")
    assert str(load(tmp_path).listen) == "1.1.1.1:1"
    assert str(load(tmp_path, {"HARP_LISTEN": "2.2.2.2:2"}).listen) == "2.2.2.2:2"
    assert str(load(tmp_path, {"HARP_LISTEN": "2.2.2.2:2"}, listen="[::]:0").listen) == "[::]:0"
    assert config.get(tmp_path, "listen", environ={"HARP_LISTEN": "x"}) == "x"


def test_a_file_may_be_written_by_hand_in_toml(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        "# mine\n"
        "discovery = false\n"
        "guard_files = 7\n"
        "trash_share = 0.5\n"
        'lan_subnets = ["10.0.0.0/8", "fd00::/8"]\n'
        'device_name = "Büro"\n'
    )
    found = load(tmp_path)
    assert (found.discovery, found.guard_files, found.trash_share) == (False, 7, 0.5)
    assert found.lan_subnets == (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))
    assert found.device_name == "Büro"


def test_a_hub_says_where_its_web_server_finds_it(tmp_path: Path) -> None:
    found = load(tmp_path)
    assert (found.websocket, found.websocket_path, found.websocket_url) == (None, "/", None)
    config.set_value(tmp_path, "websocket_url", "wss://Cloud.Example:443/harp")
    found = load(tmp_path, {"HARP_WEBSOCKET_PATH": "/harp"}, websocket="127.0.0.1:8786")
    assert (str(found.websocket), found.websocket_path) == ("127.0.0.1:8786", "/harp")
    assert str(found.websocket_url) == "wss://cloud.example/harp"
    assert load(tmp_path, websocket_url="none").websocket_url is None


def test_what_is_set_reads_back_and_the_other_settings_stay(tmp_path: Path) -> None:
    config.set_value(tmp_path, "guard_files", "9")
    config.set_value(tmp_path, "device_name", 'the "big" one \\ two')
    config.set_value(tmp_path, "wan_subnets", "10.1.0.0/16, fd01::/16")
    found = load(tmp_path)
    assert found.guard_files == 9
    assert found.device_name == 'the "big" one \\ two'
    assert len(found.wan_subnets) == 2
    assert stat.S_IMODE((tmp_path / "config.toml").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("listen", "8783"),
        ("listen", "host:"),
        ("listen", ":8783"),
        ("listen", "host:65536"),
        ("listen", "host:-1"),
        ("listen", "::1:8783"),
        ("listen", "two words:1"),
        ("listen", "host:٣"),
        ("websocket", "8786"),
        ("websocket_path", "harp"),
        ("websocket_path", "/a b"),
        ("websocket_path", "/a/../b"),
        ("websocket_url", "https://cloud.example/"),
        ("websocket_url", "ws://cloud.example/"),
        ("bridge_socket", "bridge.sock"),
        ("bridge_group", "no such\ngroup"),
        ("discovery", "maybe"),
        ("device_name", " "),
        ("device_name", "n" * 65),
        ("device_name", "a\x1bb"),
        ("lan_subnets", "10.0.0.0/33"),
        ("scan_interval_s", "9"),
        ("scan_interval_s", "nan"),
        ("trash_share", "0.91"),
        ("trash_days", "-1"),
        ("guard_files", "0"),
        ("guard_files", "1.5"),
        ("guard_share", "inf"),
        ("log_level", "loud"),
    ],
)
def test_an_unfit_value_is_refused_wherever_it_comes_from(tmp_path: Path, key: str, value: str) -> None:
    with pytest.raises(UsageError, match=key):
        config.set_value(tmp_path, key, value)
    assert not (tmp_path / "config.toml").exists()
    with pytest.raises(ConfigError, match=f"{key} .*HARP_{key.upper()}"):
        load(tmp_path, {f"HARP_{key.upper()}": value})
    with pytest.raises(ConfigError, match=f"{key} .*command line"):
        config.load(tmp_path, environ={}, overrides={key: value})


def test_an_unknown_key_is_refused_with_the_list(tmp_path: Path) -> None:
    for ask in (
        lambda: config.set_value(tmp_path, "colour", "red"),
        lambda: config.get(tmp_path, "colour", environ={}),
        lambda: config.check("colour", "red"),
    ):
        with pytest.raises(UsageError, match="colour") as caught:
            ask()
        assert "guard_files" in caught.value.hint


@pytest.mark.parametrize("body", ["colour = 1", "listen", "\xff", "guard_files = 'many'", "#" * 70_000])
def test_a_file_that_is_not_good_is_refused_and_kept(tmp_path: Path, body: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(body.encode("latin-1"))
    with pytest.raises(ConfigError):
        load(tmp_path)
    assert path.read_bytes() == body.encode("latin-1")


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        config.set_value(tmp_path / "nowhere", "guard_files", "9")


def test_the_home_is_what_is_given_else_harp_home_else_the_data_folder(tmp_path: Path) -> None:
    everywhere = {"HARP_HOME": "/b", "XDG_DATA_HOME": "/c"}
    assert config.home_folder("/a", everywhere) == Path("/a")
    assert config.home_folder(None, everywhere) == Path("/b")
    assert config.home_folder("", {"XDG_DATA_HOME": "/c"}) == Path("/c/harp")
    assert config.home_folder(None, {"XDG_DATA_HOME": "relative"}) == Path.home() / ".local" / "share" / "harp"
    assert config.home_folder("here", {}).is_absolute()
    assert config.home_folder("~/h", {}) == Path.home() / "h"


def test_the_reference_lists_every_setting() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    for key, setting in config.SETTINGS.items():
        row = next((line for line in text.splitlines() if line.startswith(f"| `{key}` |")), "")
        assert row, f"docs/reference/cli.md does not list {key}"
        if key != "device_name" and setting.default():
            assert f"`{setting.default()}`" in row
