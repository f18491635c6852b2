# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may speak of which folder: not who says so, but whom we admit; and not too often."""

from harp.sync.model import FolderId
from harp.sync.protocol.gate import CLAIM_BURST, CLAIMS_PER_S, MAX_CLAIMED, Gate


def folder(number: int) -> FolderId:
    return FolderId(number.to_bytes(32, "big"))


def test_a_folder_is_shared_once_we_admit_it_and_the_peer_spoke_of_it() -> None:
    gate = Gate(now=0.0)
    assert gate.claim(folder(1), now=0.0)
    assert not gate.is_shared(folder(1))
    gate.admit(folder(1))
    gate.admit(folder(2))
    assert gate.is_shared(folder(1))
    assert gate.is_admitted(folder(2))
    assert not gate.is_shared(folder(2))
    assert gate.withdraw(folder(1))
    assert not gate.withdraw(folder(1))
    assert not gate.is_shared(folder(1))
    assert len(gate) == 1


def test_claims_beyond_the_burst_are_dropped_until_time_has_passed() -> None:
    gate = Gate(now=0.0)
    gate.admit(folder(0))
    assert [gate.claim(folder(1), now=0.0) for _ in range(CLAIM_BURST + 3)].count(True) == CLAIM_BURST
    assert gate.claim(folder(0), now=0.0), "an admitted folder is always heard"
    assert not gate.claim(folder(1), now=-5.0), "a clock that goes back gives nothing"
    assert [gate.claim(folder(1), now=1.0) for _ in range(100)].count(True) == CLAIMS_PER_S


def test_a_peer_that_names_more_folders_than_there_are_harms_itself_alone() -> None:
    gate = Gate(now=0.0)
    for number in range(MAX_CLAIMED + 1):
        gate.claim(folder(number), now=0.0)
    for number in (0, MAX_CLAIMED):
        gate.admit(folder(number))
    assert gate.is_shared(folder(0))
    assert not gate.is_shared(folder(MAX_CLAIMED))
