# SPDX-License-Identifier: AGPL-3.0-or-later
"""A join with what lay there already: it is looked at before anything is fetched, large files included."""

import random
from pathlib import Path as FilePath

from harp.sync.model import Role
from harp.sync.protocol.foldermessages import What
from tests.fakes.replicas import Device, connect, settle

LARGE = random.Random(7).randbytes(5_000_000)


def test_equal_files_are_not_asked_for_and_different_ones_keep_the_folder_s_version(tmp_path: FilePath) -> None:
    anna = Device(tmp_path / "anna", 1).found()
    anna.put("equal", LARGE)
    anna.put("differs", LARGE[:-1])
    anna.looks()
    ben = Device(tmp_path / "ben", 2)
    ben.put("equal", LARGE)
    ben.put("differs", LARGE[1:])
    ben.join(anna)
    connect(anna, ben)
    settle(anna, ben)
    assert anna.tree() == ben.tree()
    assert ben.tree()["differs"] == LARGE[:-1], "what lay there before the join does not take the name"
    assert len(ben.tree()) == 3
    (equal,) = anna.replica.heads(anna.place("equal"))
    link = ben.peers[anna.key.device_id.hex()]
    assert (What.NODE, equal.meta.root) not in [(asked.what, asked.id) for asked in link.asked]
    assert anna.replica.membership.role(ben.key.device_id) is Role.READ_WRITE
