# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where the device is found and what it says of itself."""

from pathlib import Path

import pytest

from harp.base import config
from harp.base.errors import LinkError
from harp.daemon.survey import Survey
from harp.sync.engine.fetcher import Reach
from harp.sync.transport import network


@pytest.fixture
def known(tmp_path: Path) -> Survey:
    return Survey(
        config.load(tmp_path, environ={"HARP_DEVICE_NAME": "laptop", "HARP_WAN_SUBNETS": "127.0.0.0/8"}, overrides={})
    )


def test_bound_to_one_address_it_tells_that_one_alone(known: Survey) -> None:
    known.listening(("192.0.2.9", 8783))
    assert known.own_addresses() == ["192.0.2.9:8783"]
    assert (known.hello().device_name, known.hello().listen_port) == ("laptop", 8783)


def test_bound_to_all_it_tells_those_of_its_interfaces_with_the_port(known: Survey) -> None:
    known.listening(("0.0.0.0", 8783))
    assert all(address.endswith(":8783") for address in known.own_addresses())
    assert not any("0.0.0.0" in address for address in known.own_addresses())


def test_what_the_settings_call_far_away_is(known: Survey) -> None:
    known.listening(("127.0.0.1", 8783))
    assert known.reach("127.0.0.1") is Reach.WAN
    assert known.reach("198.51.100.1") is Reach.WAN


def test_without_knowing_its_networks_it_still_knows_where_it_listens(
    known: Survey, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown() -> None:
        raise LinkError("the interfaces cannot be listed")

    monkeypatch.setattr(network, "local_subnets", unknown)
    known.listening(("0.0.0.0", 8783))
    assert known.own_addresses() == ["0.0.0.0:8783"]


def test_a_hub_names_its_web_address_first_and_who_comes_that_way_is_far(tmp_path: Path) -> None:
    environ = {"HARP_WEBSOCKET_URL": "wss://cloud.example/harp"}
    hub = Survey(config.load(tmp_path, environ=environ, overrides={}))
    hub.listening(("192.0.2.9", 8783))
    assert hub.own_addresses() == ["wss://cloud.example/harp", "192.0.2.9:8783"]
    assert hub.reach("wss://cloud.example/harp", 0.0001) is Reach.WAN
