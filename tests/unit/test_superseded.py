# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a newer version supersedes while it is being fetched is dropped, and is in the way of nothing."""

import random
from pathlib import Path as FilePath

from harp.sync.model import Role
from harp.sync.protocol.asks import Asked
from harp.sync.service.slots import MOST
from tests.fakes.replicas import Device, connect, deliver, disconnect, office, settle


def _content(seed: int) -> bytes:
    return random.Random(seed).randbytes(300_000)


def _told_without_content(anna: Device, ben: Device) -> None:
    """Ben learns of everything and asks for it, and no answer comes."""
    for _ in range(10):
        anna.looks()
        deliver(anna, ben)
        ben.turn()
        link = ben.peers[anna.key.device_id.hex()]
        kept = [item for item in link.on_way if not isinstance(item, Asked)]
        link.on_way.clear()
        link.on_way.extend(kept)
        deliver(ben, anna)


def test_versions_that_nobody_has_any_more_do_not_hold_up_the_newest(tmp_path: FilePath) -> None:
    anna, ben = office(tmp_path, Role.READ_WRITE)
    names = [f"file {number}" for number in range(MOST + 2)]
    for number, name in enumerate(names):
        anna.put(name, _content(number))
    _told_without_content(anna, ben)
    for number, name in enumerate(names, 100):
        anna.put(name, _content(number))
    _told_without_content(anna, ben)
    wanted = {root for name in names for root in [anna.replica.heads(anna.place(name))[0].meta.root]}
    assert ben.loop.courier._assemblies.keys() <= wanted
    disconnect(anna, ben)
    settle(anna, ben)
    connect(anna, ben)
    settle(anna, ben)
    assert ben.tree() == anna.tree()
    assert not ben.loop.courier.is_busy
