# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two daemons that mirror the same folder of an account learn of one another, and a mirror alone of nobody."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from harp.base.errors import CloudError
from harp.sync.cloud.claims import Claim
from harp.sync.cloud.refusals import LoginError
from harp.sync.service.mirrorrivals import EVERY_S, ROUNDS, Rivals


class Notes:
    """The account's notes, and its clock."""

    def __init__(self) -> None:
        self.kept: tuple[Claim, ...] = ()
        self.now = 1_800_000_000
        self.asked = 0
        self.fails: CloudError | None = None

    async def read(self) -> tuple[Sequence[Claim], int]:
        self.asked += 1
        if self.fails is not None:
            raise self.fails
        return tuple(one for one in self.kept if one.until > self.now), self.now

    async def write(self, claims: Sequence[Claim]) -> None:
        self.kept = tuple(claims)

    def mirror(self, mirror: str, device: str, path: str = "/Documents", run: str = "") -> Rivals:
        own = Claim(mirror, run or f"of {device}", device, path, 0)
        return Rivals(self, own, every_s=15.0, clock=lambda: float(self.now))

    def pass_by(self, rounds: float = 1.0) -> None:
        self.now += int(rounds * EVERY_S) + 1


@pytest.fixture
def notes() -> Notes:
    return Notes()


async def test_two_daemons_learn_of_one_another(notes: Notes) -> None:
    laptop, tower = notes.mirror("m1", "laptop"), notes.mirror("m2", "tower", "/")
    await laptop.look()
    assert [*laptop.found] == []
    await tower.look()
    assert [one.device for one in tower.found] == ["laptop"]
    notes.pass_by()
    await laptop.look()
    assert [(one.device, one.path) for one in laptop.found] == [("tower", "/")]


async def test_who_is_alone_meets_nobody_after_a_restart_either(notes: Notes) -> None:
    for run in ("1", "2", "3"):
        mirror = notes.mirror("m1", "laptop", run=run)
        await mirror.look()
        notes.pass_by()
        await mirror.look()
        assert mirror.found == ()
    assert len(notes.kept) == 1


async def test_mirrors_of_other_folders_are_no_rivals(notes: Notes) -> None:
    for device, path in (("laptop", "/Documents"), ("tower", "/Pictures")):
        mirror = notes.mirror(device, device, path)
        await mirror.look()
        assert mirror.found == ()
    assert len(notes.kept) == 2


async def test_two_mirrors_of_one_daemon_are_no_rivals(notes: Notes) -> None:
    for mirror, path in (("m1", "/Documents"), ("m2", "/Documents/Work"), ("m3", "/Documents")):
        one = notes.mirror(mirror, "laptop", path)
        await one.look()
        assert one.found == (), "the third is the first one's folder, shared anew"


async def test_a_daemon_that_left_or_ended_is_forgotten(notes: Notes) -> None:
    laptop, tower, phone = (notes.mirror(name, name) for name in ("laptop", "tower", "phone"))
    for one in (laptop, tower, phone):
        await one.look()
    await tower.withdraw()
    notes.pass_by()
    await laptop.look()
    assert [one.device for one in laptop.found] == ["phone"]
    notes.pass_by(ROUNDS)
    await laptop.look()
    assert laptop.found == (), "the phone ended without a word"


async def test_a_copy_of_the_home_that_runs_too_is_met(notes: Notes) -> None:
    first, copy = notes.mirror("m1", "laptop", run="1"), notes.mirror("m1", "laptop", run="2")
    await first.look()
    await copy.look()
    notes.pass_by()
    await first.look()
    assert [one.run for one in first.found] == ["2"]
    await copy.look()
    assert [one.run for one in copy.found] == ["1"]


async def test_an_account_is_asked_now_and_then_only_and_may_refuse(notes: Notes) -> None:
    mirror = notes.mirror("m1", "laptop")
    notes.fails = CloudError("no such method")
    await mirror.look()
    await mirror.look()
    assert (notes.asked, mirror.found) == (1, ())
    notes.pass_by()
    notes.fails = LoginError("revoked")
    with pytest.raises(LoginError):
        await mirror.look()


async def test_others_notes_are_left_as_they_are(notes: Notes) -> None:
    theirs = Claim("m2", "9", "tower", "/Pictures", notes.now + 500)
    notes.kept = (theirs,)
    await notes.mirror("m1", "laptop").look()
    assert theirs in notes.kept
    [mine] = [one for one in notes.kept if one != theirs]
    assert mine == replace(mine, until=notes.now + int(ROUNDS * EVERY_S))
