# SPDX-License-Identifier: AGPL-3.0-or-later
"""What people ask and decide: history, conflicts, verifying, restoring, resolving; and how the API sees a folder."""

import os
from pathlib import Path as FilePath

import pytest

from harp.base.errors import FolderError, UsageError
from harp.bridge import model
from harp.daemon import portraits
from harp.sync.engine.chain import Draft
from harp.sync.model import Hlc, Kind, Path, Role
from harp.sync.service.inquiry import Checked, Finding, Inquiry
from harp.sync.service.traffic import Traffic
from tests.fakes.replicas import Device, connect, disconnect, office, settle


@pytest.fixture
def two(tmp_path: FilePath) -> tuple[Device, Device]:
    anna, ben = office(tmp_path, Role.READ_WRITE)
    return anna, ben


def inquiry(device: Device) -> Inquiry:
    return Inquiry(device.replica)


def findings(device: Device) -> list[tuple[bytes, str]]:
    return [(one.path, one.why) for one in inquiry(device).verify() if isinstance(one, Finding)]


def versions(anna: Device, ben: Device) -> None:
    for content in (b"first", b"second!", b"third!!!"):
        anna.put("a.txt", content)
        anna.looks()
        settle(anna, ben)


def conflicting(anna: Device, ben: Device) -> None:
    disconnect(anna, ben)
    anna.put("a.txt", b"by anna")
    anna.looks()
    ben.put("a.txt", b"by ben!")
    ben.looks()
    connect(anna, ben)
    settle(anna, ben)


# --- asking -----------------------------------------------------------------------------------------------------------


def test_a_path_with_hundreds_of_versions_at_once_is_decided_and_everybody_takes_it(tmp_path: FilePath) -> None:
    anna, ben = office(tmp_path, Role.READ_WRITE)
    path = Path(b"d/" + b"x" * 250)
    links = [Draft(kind=Kind.SYMLINK, path=path, target=b"%d" % number, hlc=Hlc(number)) for number in range(300)]
    written, places = ben.loop.author.write([links], {})
    ben.loop.exchange.publish(written, {})
    ben.loop.applier.queue(places)
    settle(anna, ben)
    assert len(anna.place(path.decode()).heads) == 300
    chosen = written[0].batch.entries[7].id
    assert anna.decisions.resolve(path, chosen.hex()) == "resolved"
    settle(anna, ben)
    assert ben.replica.ledger.vector() == anna.replica.ledger.vector(), "none of it is refused"
    assert not anna.replica.view(anna.place(path.decode()), anna.replica.heads(anna.place(path.decode()))).copies
    assert ben.tree() == anna.tree()


def test_history_tells_the_newest_first_and_what_can_be_had_back(two: tuple[Device, Device]) -> None:
    anna, ben = two
    versions(anna, ben)
    found = inquiry(ben).history(Path(b"a.txt"))
    assert [one.entry.meta.size for one in found] == [8, 7, 5]
    assert [one.is_current for one in found] == [True, False, False]
    assert [one.is_restorable for one in found] == [True, True, True], "the older ones lie in the trash"
    assert [one.is_restorable for one in inquiry(anna).history(Path(b"a.txt"))] == [True, False, False]
    assert inquiry(ben).member_name(ben.key.device_id) == "a member"
    with pytest.raises(UsageError, match="never had"):
        inquiry(ben).history(Path(b"other"))
    with pytest.raises(UsageError, match="more than one version"):
        inquiry(ben).entry(Path(b"a.txt"), "")
    with pytest.raises(UsageError, match="no version"):
        inquiry(ben).entry(Path(b"a.txt"), "zz")


def test_a_clean_folder_verifies_and_each_fault_is_found(two: tuple[Device, Device]) -> None:
    anna, ben = two
    for name in ("same", "gone", "changed", "rotten", "kind"):
        anna.put(name, b"content of " + name.encode())
    anna.looks()
    settle(anna, ben)
    assert findings(ben) == []
    assert sum(one.files for one in inquiry(ben).verify() if isinstance(one, Checked)) == 5
    ben.remove("gone")
    ben.put("changed", b"another content")
    ben.remove("kind")
    (ben.files / "kind").mkdir()
    rotten = ben.files / "rotten"
    stat = rotten.stat()
    rotten.write_bytes(b"CONTENT OF ROTTEN")
    os.utime(rotten, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    told = dict(findings(ben))
    assert told[b"gone"] == "it is missing"
    assert told[b"kind"] == "something else lies there"
    assert "not been noticed" in told[b"changed"]
    assert b"rotten" in told
    assert b"same" not in told


def test_what_changes_while_it_is_verified_is_no_fault(two: tuple[Device, Device]) -> None:
    anna, ben = two
    for name in ("gone", "newer", "same"):
        anna.put(name, b"content of " + name.encode())
    anna.looks()
    settle(anna, ben)
    steps = inquiry(ben).verify()
    told = [next(steps)]
    anna.put("newer", b"other content")
    anna.put("one more", b"1")
    anna.remove("gone")
    anna.looks()
    settle(anna, ben)
    told += steps
    assert [one for one in told if isinstance(one, Finding)] == []


def test_a_damaged_history_is_found(two: tuple[Device, Device]) -> None:
    anna, ben = two
    versions(anna, ben)
    with ben.replica.ledger.db.transaction():
        ben.replica.ledger.db.execute("DELETE FROM entry WHERE sequence = 4")
        ben.replica.ledger.db.execute("DELETE FROM batch WHERE last_sequence = 3")
    told = [why for _, why in findings(ben)]
    assert any("missing from the index" in why for why in told)
    assert any("chain is broken" in why for why in told)


# --- deciding ---------------------------------------------------------------------------------------------------------


def test_an_older_version_is_brought_back_for_all(two: tuple[Device, Device]) -> None:
    anna, ben = two
    versions(anna, ben)
    oldest = inquiry(ben).history(Path(b"a.txt"))[-1].entry
    assert ben.decisions.restore(Path(b"a.txt"), oldest.id.hex()[:12]) == "restored"
    settle(anna, ben)
    assert anna.tree() == ben.tree() == {"a.txt": b"first"}


def test_a_deleted_file_is_brought_back_and_a_deletion_is_not(two: tuple[Device, Device]) -> None:
    anna, ben = two
    anna.put("a.txt", b"precious")
    anna.looks()
    settle(anna, ben)
    anna.remove("a.txt")
    anna.looks()
    settle(anna, ben)
    gone, there = inquiry(ben).history(Path(b"a.txt"))
    assert gone.entry.meta.kind is Kind.TOMBSTONE
    with pytest.raises(UsageError, match="a deletion"):
        ben.decisions.restore(Path(b"a.txt"), gone.entry.id.hex())
    ben.decisions.restore(Path(b"a.txt"), there.entry.id.hex())
    settle(anna, ben)
    assert anna.tree() == ben.tree() == {"a.txt": b"precious"}


def test_what_is_no_longer_here_cannot_be_brought_back(two: tuple[Device, Device]) -> None:
    anna, ben = two
    versions(anna, ben)
    oldest = inquiry(anna).history(Path(b"a.txt"))[-1].entry
    with pytest.raises(FolderError, match="no longer here"):
        anna.decisions.restore(Path(b"a.txt"), oldest.id.hex())


@pytest.mark.parametrize("keep", ["winner", "loser", "both"])
def test_a_conflict_is_listed_and_resolved(two: tuple[Device, Device], keep: str) -> None:
    anna, ben = two
    conflicting(anna, ben)
    [(path, (winner, loser))] = inquiry(anna).conflicts()
    assert path == b"a.txt"
    assert (winner.shown_as, loser.shown_as is not None) == (None, True)
    copy = os.fsdecode(loser.shown_as or b"")
    chosen = {"winner": winner.entry.id.hex(), "loser": loser.entry.id.hex(), "both": "both"}[keep]
    assert anna.decisions.resolve(Path(b"a.txt"), chosen) == "resolved"
    settle(anna, ben)
    expected = {
        "winner": {"a.txt": b"by ben!"},
        "loser": {"a.txt": b"by anna"},
        "both": {"a.txt": b"by ben!", copy: b"by anna"},
    }[keep]
    assert anna.tree() == ben.tree() == expected
    assert inquiry(anna).conflicts() == inquiry(ben).conflicts() == []
    with pytest.raises(UsageError, match="not in conflict"):
        ben.decisions.resolve(Path(b"a.txt"), "both")


def test_a_read_only_member_decides_nothing_for_others(tmp_path: FilePath) -> None:
    anna, ben = office(tmp_path, Role.READ_ONLY)
    versions(anna, ben)
    oldest = inquiry(ben).history(Path(b"a.txt"))[-1].entry
    with pytest.raises(UsageError, match="only read"):
        ben.decisions.restore(Path(b"a.txt"), oldest.id.hex())
    ben.put("a.txt", b"only mine")
    before = ben.replica.ledger.vector()
    ben.looks()
    assert ben.replica.ledger.vector() == before
    assert "changed here only" in ben.loop.observer.notes[Path(b"a.txt")]


# --- the API's nouns --------------------------------------------------------------------------------------------------


def test_a_folders_portrait_and_how_far_it_is(two: tuple[Device, Device]) -> None:
    anna, ben = two
    versions(anna, ben)
    conflicting(anna, ben)
    assert ben.shared is not None
    portrait = portraits.folder(ben.shared, ben.loop, Traffic())
    assert (portrait.name, portrait.role, portrait.members, portrait.connected) == ("Photos", "read-write", 2, 1)
    assert (portrait.files, portrait.conflicts, portrait.held) == (2, 1, 0)
    assert portrait.state is model.FolderState.IDLE
    assert portraits.progress(ben.loop).phase is model.Phase.DONE
    disconnect(anna, ben)
    ben.rests()
    assert portraits.disagreement(ben.loop) == "no peer is connected"
    ben.loop.pause(True)
    assert portraits.progress(ben.loop).reason == "the folder is paused"
    assert portraits.folder(ben.shared, ben.loop, Traffic()).state is model.FolderState.PAUSED
    one = portraits.version(ben.loop, inquiry(ben).history(Path(b"a.txt"))[0])
    assert (one.kind, one.is_current, len(one.entry)) == ("file", True, 64)
    assert portraits.role(None) == "none"
