# SPDX-License-Identifier: AGPL-3.0-or-later
"""harp.proxy.settings: HaRP's variables under their names, and what is wrong with them (67, 108, 144–146)."""

from pathlib import Path
from typing import Any

import pytest

from harp.base.errors import ConfigError
from harp.proxy import settings
from harp.proxy.settings import ProxySettings

LEAST = {"HP_SHARED_KEY": "key", "NC_INSTANCE_URL": "http://nc"}


def load(**changed: str) -> ProxySettings:
    return settings.load(LEAST | changed, run=Path("/run/x"), read_file=lambda _path: "from-a-file\n\n")


def test_the_defaults_are_the_references() -> None:
    found = load()

    assert (found.http, found.https) == ("0.0.0.0:8780", "0.0.0.0:8781")
    assert (found.timeout_connect, found.timeout_client, found.timeout_server) == ("30s", "30s", "1800s")
    assert found.timeout_tunnel == "1800s"
    assert (found.session_lifetime_s, found.ban_window_s, found.ban_count) == (3.0, 300, 10)
    assert found.log_level == "warning"
    assert not found.access_log
    assert not found.forward_credentials


@pytest.mark.parametrize("url", ["http://nc", "http://nc/", "http://nc/index.php", "http://nc/index.php/"])
def test_nextclouds_address_in_all_its_forms(url: str) -> None:
    assert load(NC_INSTANCE_URL=url).nextcloud == "http://nc"


def test_a_tunnel_lasts_as_long_as_a_server_may_think_and_0_is_for_ever() -> None:
    assert load(HP_TIMEOUT_SERVER="5m").timeout_tunnel == "5m"
    assert load(HP_TIMEOUT_TUNNEL="0s").timeout_tunnel == "24d"
    assert load(HP_TIMEOUT_TUNNEL="0").timeout_tunnel == "24d"


@pytest.mark.parametrize(("given", "key"), [('"k y"', "k y"), ("'k'", "k"), ("\"'k'\"", "k"), ("k'", "k'")])
def test_one_pair_of_quotes_is_not_part_of_the_key(given: str, key: str) -> None:
    assert load(HP_SHARED_KEY=given).key == key


def test_a_key_from_a_file_loses_its_line_ends() -> None:
    assert load(HP_SHARED_KEY="", HP_SHARED_KEY_FILE="/f").key == "from-a-file"


def test_the_key_is_not_shown() -> None:
    assert "a-secret" not in repr(load(HP_SHARED_KEY="a-secret"))


@pytest.mark.parametrize(
    "changed",
    [
        {"HP_SHARED_KEY": ""},
        {"HP_SHARED_KEY": 'a"b'},
        {"HP_SHARED_KEY": "a\\b"},
        {"HP_SHARED_KEY": "ü"},
        {"HP_SHARED_KEY": "''"},
        {"HP_SHARED_KEY_FILE": "/f"},
        {"NC_INSTANCE_URL": ""},
        {"NC_INSTANCE_URL": "nc"},
        {"NC_INSTANCE_URL": "ftp://nc"},
        {"HP_SESSION_LIFETIME": "11"},
        {"HP_SESSION_LIFETIME": "-1"},
        {"HP_SESSION_LIFETIME": "nan"},
        {"HP_BLACKLIST_COUNT": "0"},
        {"HP_BLACKLIST_WINDOW": "x"},
        {"HP_TIMEOUT_CLIENT": "30 s"},
        {"HP_TIMEOUT_CLIENT": "40d"},
        {"HP_EXAPPS_ADDRESS": "8780"},
        {"HP_EXAPPS_ADDRESS": "h:99999"},
        {"HP_EXAPPS_ADDRESS": "h:0"},
        {"HP_TIMEOUT_SERVER": "25d"},
        {"HP_EXAPPS_ADDRESS": "a b:1"},
        {"HP_LOG_LEVEL": "loud"},
        {"HP_FRP_ADDRESS": "8782"},
        {"HP_FRP_ADDRESS": "0.0.0.0:0"},
        {"HP_FRP_CERT_VALIDITY_DAYS": "0"},
        {"HP_FRP_CERT_VALIDITY_DAYS": "-1"},
        {"HP_FRP_CERT_VALIDITY_DAYS": "a year"},
        {"HP_FRP_CERT_VALIDITY_DAYS": "36501"},
        {"HP_FORWARD_CREDENTIALS": "maybe"},
    ],
)
def test_what_cannot_be_is_told_by_its_name_and_never_by_the_key(changed: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as told:
        load(**changed)
    assert any(name in told.value.message for name in changed)
    if secret := changed.get("HP_SHARED_KEY"):
        assert secret not in str(told.value).replace('a " or a \\', "").replace("HP_SHARED_KEY", "")


def test_a_key_file_that_is_not_there() -> None:
    def missing(path: Path) -> str:
        raise FileNotFoundError(2, "No such file or directory")

    with pytest.raises(ConfigError, match="HP_SHARED_KEY_FILE"):
        settings.load({"HP_SHARED_KEY_FILE": "/f", "NC_INSTANCE_URL": "http://nc"}, run=Path(), read_file=missing)


def test_trusted_proxies_as_people_write_them() -> None:
    text = "\"192.168.100.20/24\",'10.0.0.1',garbage, ,“fd00::1”"

    assert [str(network) for network in settings.networks(text)] == ["192.168.100.0/24", "10.0.0.1/32", "fd00::1/128"]
    assert settings.unreadable_networks(text) == ["garbage"]


def test_whether_a_proxy_is_wanted_at_all() -> None:
    assert settings.is_wanted({"HP_SHARED_KEY_FILE": "/x"})
    assert not settings.is_wanted({"NC_INSTANCE_URL": "http://nc"})


def test_an_address_for_haproxy() -> None:
    found: dict[str, Any] = {
        given: load(HP_EXAPPS_ADDRESS=given).http for given in ("[::]:8780", ":8780", "127.0.0.1:1", "*:2")
    }

    assert found == {"[::]:8780": ":::8780", ":8780": "*:8780", "127.0.0.1:1": "127.0.0.1:1", "*:2": "*:2"}


def test_the_local_engine_is_24000_unless_it_is_named() -> None:
    assert [engine.url for engine in load().engines] == ["unix:///var/run/docker.sock"]

    found = load(HP_DOCKER_ENGINES=" 24002=tcp://engine.lan:2375, 24001 = unix:///run/other.sock,").engines
    assert [(engine.port, engine.url) for engine in found] == [
        (24_000, "unix:///var/run/docker.sock"),
        (24_001, "unix:///run/other.sock"),
        (24_002, "tcp://engine.lan:2375"),
    ]
    assert [engine.url for engine in load(HP_DOCKER_ENGINES="24000=unix:///run/podman.sock").engines] == [
        "unix:///run/podman.sock"
    ]
    assert load(HP_DOCKER_ENGINES="24001=tcp://[::1]:1").engines[1].place == "[::1]:1"


def test_the_instances_of_apps() -> None:
    found = load(HP_EXAPP_UPSTREAMS=" App=10.0.0.5:1, [::1]:2 ;b=some-host:65535; ").exapp_upstreams

    assert found == (("app", ("10.0.0.5:1", "[::1]:2")), ("b", ("some-host:65535",)))
    assert load().exapp_upstreams == ()


@pytest.mark.parametrize(
    "text",
    [
        "unix:///a",
        "24001",
        "24001=",
        "24001=/a",
        "24001=ssh://host:22",
        "24001=unix://relative",
        "24001=unix:///" + "x" * 107,
        "24001=tcp://host",
        "24001=tcp://:2375",
        "24001=tcp://host:0",
        "24001=tcp://host:99999",
        "24001=tcp://a b:1",
        'x"\\=unix:///a',
        "8080=unix:///a",
        "24100=unix:///a",
        "24001=unix:///a,24001=unix:///b",
        "24000=unix:///a,24000=unix:///b",
    ],
)
def test_an_engine_that_cannot_be(text: str) -> None:
    with pytest.raises(ConfigError, match="HP_DOCKER_ENGINES"):
        load(HP_DOCKER_ENGINES=text)


def test_folders_for_apps() -> None:
    assert load().bind_mounts == ()
    found = load(HP_BIND_MOUNTS="/srv/models:ro, /srv/shared,").bind_mounts
    assert [(each.path, each.is_read_only) for each in found] == [("/srv/models", True), ("/srv/shared", False)]


@pytest.mark.parametrize("text", ["/", "srv", "/srv/", "/srv/../etc", "/srv/./a", "//srv", "/srv:/x", "/srv:rx"])
def test_a_folder_that_cannot_be(text: str) -> None:
    with pytest.raises(ConfigError, match="HP_BIND_MOUNTS"):
        load(HP_BIND_MOUNTS=text)


@pytest.mark.parametrize(
    "text",
    ["app", "=h:1", "a=", "a=h", "a=h:0", "a=h:65536", "a=h:1,", "a=h:1;a=h:2", "a=h:1,h:1", "a=h h:1", 'a="h:1'],
)
def test_instances_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ConfigError, match="HP_EXAPP_UPSTREAMS"):
        load(HP_EXAPP_UPSTREAMS=text)
