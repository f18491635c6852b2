# SPDX-License-Identifier: AGPL-3.0-or-later
"""What harp.proxy.doctor.hosting and harp.proxy.doctor.seen make of engines, containers and ports."""

import pytest

from harp.proxy.doctor import hosting, remedies
from harp.proxy.doctor.diagnosis import upstream
from harp.proxy.doctor.seen import Container, Door, Engine, Reach, Upstream, heard

SOCKET = "unix:///var/run/docker.sock"


def engine(reach: Reach = Reach.ANSWERED, **changed: object) -> Engine:
    said = {"version": "27.5.1", "api": "1.47", **changed}
    return Engine(port=24_000, url=SOCKET, reach=reach, **said)  # type: ignore[arg-type]


def container(**changed: object) -> Container:
    said = {"name": "nc_app_a", "app": "a", "port": 23_000, "is_running": True, "stands": "running", **changed}
    return Container(**said)  # type: ignore[arg-type]


@pytest.mark.parametrize("reach", [each for each in Reach if each is not Reach.ANSWERED])
def test_an_engine_that_is_not_reached_has_a_remedy(reach: Reach) -> None:
    finding = hosting.engine(engine(reach))
    assert not finding.ok
    assert SOCKET in finding.text
    assert finding.remedy


def test_an_engine_that_nobody_named_may_be_missing() -> None:
    assert hosting.engine(engine(Reach.MISSING, is_named=False)).ok
    assert not hosting.engine(engine(Reach.FORBIDDEN, is_named=False)).ok


@pytest.mark.parametrize(("api", "ok"), [("1.41", True), ("1.47", True), ("2.0", True), ("1.40", False), ("?", False)])
def test_how_old_an_engine_may_be(api: str, ok: bool) -> None:
    assert hosting.engine(engine(api=api)).ok is ok


def test_an_engine_that_says_something_else_or_is_open_to_all() -> None:
    assert "no Docker Engine" in hosting.engine(engine(said="Status 404: no such page")).text
    assert "root" in hosting.engine(engine(is_public=True)).text


@pytest.mark.parametrize(
    ("address", "is_open"),
    [
        ("0.0.0.0:23000", True),
        ("[::]:23000", True),
        (":23000", True),
        ("192.88.99.1:23000", True),
        ("127.0.0.1:23000", False),
        ("192.168.1.5:23000", False),
        ("[fd00::1]:23000", False),
    ],
)
def test_where_a_port_is_open_to_the_world(address: str, is_open: bool) -> None:
    finding = hosting.published(container(published=(address,)))
    assert (finding is not None) is is_open


def test_an_app_in_the_hosts_network_that_listens_for_all() -> None:
    everywhere = hosting.published(container(is_on_host=True, heard={23_000: False}))
    assert everywhere is not None
    assert everywhere.remedy == remedies.HOST_NETWORK
    assert hosting.published(container(is_on_host=True, heard={23_000: True})) is None
    assert hosting.published(container(heard={23_000: False})) is None, "it has a network of its own"


def test_a_door_of_harps_own() -> None:
    assert hosting.door(Door(name="control", setting="HP_EXAPPS_ADDRESS", port=8780)).ok
    found = hosting.door(Door(name="control", setting="HP_EXAPPS_ADDRESS", port=8780, open_at=("192.88.99.1",)))
    assert (found.ok, found.remedy.partition(",")[0]) == (False, "`HP_EXAPPS_ADDRESS=127.0.0.1:8780`")
    found = hosting.door(Door(name="control", setting="HP_EXAPPS_ADDRESS", port=8780, published=("0.0.0.0:8780",)))
    assert "127.0.0.1:8780:8780" in found.remedy


TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:59D8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 00000000:59D9 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   2: 0100007F:59DA 0100007F:1234 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000001000000:59DB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
   1: 00000000000000000000000000000000:59DC 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
   2: 0000000000000000FFFF00000100007F:59DD 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
   3: 00000000000000000000000000000000:59D8 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
"""


def test_what_the_kernel_says_of_who_listens() -> None:
    assert heard(TABLE) == {23_000: False, 23_001: False, 23_003: True, 23_004: False, 23_005: True}


@pytest.mark.parametrize(
    ("inside", "reach", "said"),
    [
        (container(is_running=False, stands="exited, exit code 1"), Reach.TIMED_OUT, "does not run: exited"),
        (container(heard={23_000: True}), Reach.REFUSED, "listens on 127.0.0.1:23000 inside its container nc_app_a"),
        (container(heard={}), Reach.REFUSED, "nothing listens on port 23000"),
        (container(heard={23_000: False}), Reach.REFUSED, "something on the way to nc_app_a refuses"),
        (container(heard=None), Reach.REFUSED, "or listens on 127.0.0.1"),
        (container(heard={23_000: False}), Reach.TIMED_OUT, "dropped"),
        (None, Reach.REFUSED, "or listens on 127.0.0.1"),
    ],
)
def test_whose_fault_it_is_that_an_app_is_not_reached(inside: Container | None, reach: Reach, said: str) -> None:
    finding = upstream(Upstream(app="a", address="172.17.0.2:23000", reach=reach, container=inside))
    assert not finding.ok
    assert said in finding.text
    assert finding.remedy
