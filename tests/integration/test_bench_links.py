# SPDX-License-Identifier: AGPL-3.0-or-later
"""The benchmark of links carries what it says, each way: harp.sync.transport over TCP and in a WebSocket."""

import pytest

from benchmarks.links import measured


@pytest.mark.parametrize("way", ["tcp", "websocket"])
@pytest.mark.parametrize("is_hub_sender", [True, False])
def test_each_way_carries_and_is_counted(way: str, is_hub_sender: bool) -> None:
    speed, cpu_s = measured(way, 0.01, is_hub_sender=is_hub_sender)
    assert speed > 0
    assert cpu_s > 0
