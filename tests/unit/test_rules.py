# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rules of what is left out: they follow their files, and what they hide is not told for a moment's doubt."""

import os
from pathlib import Path as FilePath

import pytest

from harp.sync.model import Kind, Path
from harp.sync.service import rules as rules_module
from harp.sync.service.rules import LiveRules
from tests.fakes.replicas import Device

SECRET = Path(b"secret")


@pytest.fixture
def anna(tmp_path: FilePath) -> Device:
    """Leaves out what is hers alone."""
    device = Device(tmp_path / "anna", 1).found().rests()
    (device.files / ".harp/ignore").write_bytes(b"secret\n")
    device.put("secret", b"hers")
    return device.looks()


def said(device: Device) -> set[bytes]:
    return {place.path for place in device.replica.places.below(Path(b"")) if place.heads}


def test_rules_are_read_when_told_and_bad_lines_are_said(anna: Device) -> None:
    rules = LiveRules(anna.replica.root)
    assert not rules.ignores(Path(b"x.tmp"), False)
    before = rules.digest
    anna.put(".harpignore", b"*.tmp\n")
    assert not rules.ignores(Path(b"x.tmp"), False)
    rules.learn()
    assert rules.ignores(Path(b"x.tmp"), False)
    assert rules.digest != before
    (anna.files / ".harp/ignore").write_bytes(b"secret/\n")
    rules.learn()
    assert rules.ignores(Path(b"secret"), True)
    assert rules.ignores(Path(b"x.tmp"), False)


def test_while_an_editor_writes_the_rules_those_before_are_followed(anna: Device) -> None:
    with (anna.files / ".harp/ignore").open("wb") as file:
        file.flush()
        anna.looks()
        assert said(anna) == set()
        assert "open for writing" in anna.replica.ignore.trouble
        file.write(b"secret\nand more\n")
    anna.looks()
    assert said(anna) == set()
    assert anna.replica.ignore.ignores(Path(b"and more"), False)
    assert anna.replica.ignore.trouble == ""


def test_rules_that_are_away_for_a_moment_are_not_gone(anna: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    ignore = anna.files / ".harp/ignore"
    ignore.rename(anna.files / ".harp/elsewhere")
    anna.looks()
    assert said(anna) == set()
    (anna.files / ".harp/elsewhere").rename(ignore)
    anna.looks()
    assert not anna.replica.ignore.is_doubtful
    ignore.unlink()
    anna.looks()
    assert said(anna) == set()
    monkeypatch.setattr(rules_module, "GONE_AFTER_S", 0.0)
    anna.loop._rounds._rules_at = 0.0
    anna.rests()
    anna.looks()
    assert said(anna) == {b"secret"}
    assert not anna.replica.ignore.is_doubtful


@pytest.mark.parametrize("how", ["not to be read", "no file", "too long"])
def test_rules_that_cannot_be_read_hide_what_they_hid(anna: Device, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    ignore = anna.files / ".harp/ignore"
    real = os.open

    def refusing(path: object, *arguments: object, **keywords: object) -> int:
        if path == b"ignore":
            raise PermissionError(13, "no")
        return real(path, *arguments, **keywords)  # type: ignore[arg-type]

    match how:
        case "not to be read":
            monkeypatch.setattr(os, "open", refusing)
        case "no file":
            ignore.unlink()
            ignore.mkdir()
        case _:
            ignore.write_bytes(b"#" * 300_000)
    anna.put("open", b"everybody's")
    anna.looks()
    assert said(anna) == {b"open"}
    assert anna.replica.ignore.trouble.startswith("the rules of what is left out cannot be read: ")
    # After a start nobody knows what they hid, so nothing is shared.
    anna.put("more", b"maybe hers")
    anna.reopen().rests()
    anna.looks()
    assert said(anna) == {b"open"}
    assert (Kind.TOMBSTONE, b"open") not in [
        (entry.meta.kind, entry.meta.path) for batch in anna.replica.ledger.merged_batches() for entry in batch.entries
    ]
    monkeypatch.undo()
    if ignore.is_dir():
        ignore.rmdir()
    ignore.write_bytes(b"secret\n")
    anna.loop._rounds._rules_at = 0.0
    anna.rests()
    anna.looks()
    assert said(anna) == {b"open", b"more"}
