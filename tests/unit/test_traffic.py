# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where content came from is counted by folder, peer and day, and the days outlive the daemon."""

import json
from pathlib import Path

import pytest

from harp.base.runtime import Counters
from harp.identity.device import DeviceId
from harp.sync.engine.fetcher import Reach
from harp.sync.model import FolderId
from harp.sync.service import traffic
from harp.sync.service.traffic import Carried, Traffic

ONE, TWO = FolderId(b"1" * 32), FolderId(b"2" * 32)
ANNA, BEN = DeviceId(b"a" * 32), DeviceId(b"b" * 32)


def counted(found: Traffic) -> Traffic:
    found.received(ONE, ANNA, Reach.LAN, 100)
    found.received(ONE, BEN, Reach.WAN, 20)
    found.received(TWO, BEN, Reach.WAN, 3)
    found.found(ONE, 7)
    found.found(ONE, 9)
    return found


def test_it_is_told_by_folder_and_by_peer() -> None:
    found = counted(Traffic())
    assert found.since_start() == Carried(100, 23, 9)
    assert found.since_start(folder=ONE) == Carried(100, 20, 9)
    assert found.since_start(device=BEN) == Carried(0, 23, 0)
    assert found.since_start(folder=TWO, device=ANNA) == Carried()


def test_the_metrics_tell_each_of_them() -> None:
    counters = Counters()
    counted(Traffic(counters))
    lines = [line for line in counters.text().splitlines() if line.startswith("harp_content_bytes_total{")]
    assert sorted(line.rpartition(" ")[2] for line in lines) == ["100", "20", "3", "9"]
    assert sum('source="wan"' in line for line in lines) == 2


def test_the_days_outlive_the_daemon_and_the_counters_do_not(tmp_path: Path) -> None:
    file = tmp_path / traffic.FILE_NAME
    counted(Traffic(file=file)).keep()
    again = Traffic(file=file)
    assert again.since_start() == Carried()
    ((_, today),) = again.days(7, folder=ONE)
    assert today == Carried(100, 20, 9)
    again.received(ONE, ANNA, Reach.LAN, 1)
    ((_, today),) = again.days(7, folder=ONE)
    assert today.lan == 101
    assert list(again.days(7, folder=FolderId(b"3" * 32))) == []


def test_old_days_go_and_the_newest_come_first(tmp_path: Path) -> None:
    file = tmp_path / traffic.FILE_NAME
    rows = [[f"2026-0{1 + n // 28}-{1 + n % 28:02d}", ONE.hex(), ANNA.hex(), "lan", n + 1] for n in range(112)]
    file.write_text(json.dumps(rows))
    found = Traffic(file=file)
    assert [carried.lan for _, carried in found.days(2)] == [112, 111]
    found.received(ONE, ANNA, Reach.LAN, 5)
    found.keep()
    assert len({row[0] for row in json.loads(file.read_text())}) == traffic.KEPT_DAYS


@pytest.mark.parametrize("text", ["{", "[[1]]", '[["soon", "", "", "lan", 1]]', "7"])
def test_a_damaged_file_is_begun_anew(tmp_path: Path, text: str) -> None:
    file = tmp_path / traffic.FILE_NAME
    file.write_text(text)
    assert counted(Traffic(file=file)).since_start() == Carried(100, 23, 9)


def test_a_disk_that_refuses_ends_nothing(tmp_path: Path) -> None:
    counted(Traffic(file=tmp_path / "missing" / "traffic.json")).keep()
