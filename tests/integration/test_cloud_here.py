# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the account has and this disk holds under another name: what is fetched all the same, and what is not.

Holds harp.sync.service.mirrorhere.
"""

import pytest

from harp.sync.cloud.nodes import CloudPath, Local
from harp.sync.service import mirrorhere
from tests.fakes.desk import Desk


@pytest.fixture
def known(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Files of ten bytes are worth a question."""
    monkeypatch.setattr(mirrorhere, "HERE_FROM", 10)
    desk.account.write("d/plan", b"ten bytes and some more", 1_700_000_000)
    desk.account.write("d/tiny", b"tiny", 1_700_000_000)
    return desk


async def settled(desk: Desk) -> list[str]:
    """What was fetched and what was asked, in alphabetical order; both sides are the same then."""
    desk.account.log.clear()
    await desk.mirror.settle()
    assert desk.here() == desk.there()
    return sorted(line for line in desk.account.log if line.startswith(("GET", "PATCH")))


async def test_a_copy_made_in_nextcloud_is_copied_here(known: Desk) -> None:
    await settled(known)
    known.account.copy("d", "copy")
    assert await settled(known) == ["GET copy/tiny", "PATCH copy/plan"]
    assert (known.folder / "copy" / "plan").stat().st_mtime == 1_700_000_000
    assert await settled(known) == []


async def test_of_copies_that_come_with_their_original_each_is_fetched_and_a_later_one_is_not(known: Desk) -> None:
    known.account.copy("d/plan", "d/plan 2")
    first = await settled(known)
    assert len([line for line in first if line.startswith("GET d/plan")]) == 2, "both came in the same moment"
    known.account.copy("d/plan", "d/plan 3")
    assert await settled(known) == ["PATCH d/plan 3"]


async def test_what_only_looks_the_same_is_fetched(known: Desk) -> None:
    await settled(known)
    known.account.write("liar", b"TEN BYTES AND SOME MORE", 1_700_000_000)
    known.account.etags["liar"] = known.account.etags["d/plan"]
    known.account.checksums["liar"] = f"SHA256:{known.mirror.agreed[CloudPath('d/plan')].sha256}"
    assert await settled(known) == ["GET liar", "PATCH liar"]


async def test_what_nothing_makes_likely_is_not_asked_about(known: Desk) -> None:
    await settled(known)
    known.account.write("other", b"x" * len(b"ten bytes and some more"), 1_600_000_000)
    assert await settled(known) == ["GET other"]


async def test_a_checksum_that_a_client_gave_is_reason_enough_to_ask(known: Desk) -> None:
    await settled(known)
    known.account.write("again", b"ten bytes and some more", 1_600_000_000)
    known.account.checksums["again"] = f"SHA256:{known.mirror.agreed[CloudPath('d/plan')].sha256}"
    assert await settled(known) == ["PATCH again"]


async def test_what_changes_here_while_it_is_copied_is_fetched(known: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await settled(known)
    known.account.copy("d/plan", "copy")
    hashed = known.dav.hashed

    async def then_saved(*what: object) -> str:
        sha256 = await hashed(*what)  # type: ignore[arg-type]
        (known.folder / "d" / "plan").write_bytes(b"saved a moment ago here")
        return sha256

    monkeypatch.setattr(known.dav, "hashed", then_saved)
    known.account.log.clear()
    await known.mirror.settle()
    assert "GET copy" in known.account.log
    assert known.here()["copy"] == b"ten bytes and some more"


async def test_what_changes_there_before_it_is_hashed_is_not_taken_for_what_it_was(
    known: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await settled(known)
    known.account.copy("d/plan", "copy")
    hashed = known.dav.hashed

    async def saved_before(*what: object) -> str:
        monkeypatch.setattr(known.dav, "hashed", hashed)
        known.account.write("copy", b"saved in the browser...", 1_700_000_001)
        return await hashed(*what)  # type: ignore[arg-type]

    monkeypatch.setattr(known.dav, "hashed", saved_before)
    await known.mirror.settle()
    await settled(known)
    assert known.here()["copy"] == b"saved in the browser..."


@pytest.mark.parametrize("why", ["it cannot", "it will not"])
async def test_a_server_that_does_not_hash_is_asked_for_the_content(known: Desk, why: str) -> None:
    await settled(known)
    known.account.copy("d/plan", "copy")
    if why == "it cannot":
        known.account.features = "1, 3"
    else:
        known.account.refuses_hashing = True
    asked = await settled(known)
    assert "GET copy" in asked
    assert ("PATCH copy" in asked) == (why == "it will not")


async def test_what_both_sides_have_already_is_agreed_and_not_fetched(known: Desk) -> None:
    (known.folder / "d").mkdir()
    (known.folder / "d" / "plan").write_bytes(b"ten bytes and some more")
    (known.folder / "d" / "tiny").write_bytes(b"tiny")
    assert await settled(known) == ["GET d/tiny", "PATCH d/plan"]
    assert isinstance(known.mirror.agreed[CloudPath("d/plan")].local, Local)
    known.account.write("d/plan", b"changed in the browser.", 1_700_000_001)
    assert await settled(known) == ["GET d/plan"], "it is known to be another one"
