# SPDX-License-Identifier: AGPL-3.0-or-later
"""Harp's mirror and Nextcloud's own client, on one account at once, while people edit on both sides."""

import asyncio
import hashlib
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from harp.sync.service.mirror import Mirror
from tests.e2e import accesslog, mirrored
from tests.e2e.desk import Desk
from tests.e2e.editing import Editor

MINUTES = float(os.environ.get("HARP_ENDURANCE_MINUTES", "0.5"))


async def edited_at_once(
    desk: Desk, mirror: Mirror, ours: Editor, theirs: Editor, client: Callable[..., bool]
) -> set[bytes]:
    """Two edit, and both sides are synced all the time. The contents that were seen on the server."""
    until = time.monotonic() + MINUTES * 60
    arrived: set[bytes] = set()

    async def edits(editor: Editor) -> None:
        while time.monotonic() < until:
            await asyncio.to_thread(editor.edit)
            await asyncio.sleep(editor.random.random() * 0.5)

    async def looks() -> None:
        while time.monotonic() < until:
            arrived.update((await asyncio.to_thread(desk.there)).values())
            await asyncio.sleep(0.1)

    async def runs_client() -> None:
        while time.monotonic() < until:
            await asyncio.to_thread(client, may_fail=True)

    async def mirrors() -> None:
        while time.monotonic() < until:
            await mirror.settle()
            assert not mirror.question
            await asyncio.sleep(0.2)

    async with asyncio.TaskGroup() as group:
        for work in (edits(ours), edits(theirs), looks(), runs_client(), mirrors()):
            group.create_task(work)
    return arrived


@pytest.mark.timeout(600 + MINUTES * 120)
async def test_edits_by_a_mirror_and_by_nextclouds_own_client_at_once_lose_nothing(desk: Desk, tmp_path: Path) -> None:
    if reason := mirrored.why_no_client():
        pytest.skip(reason)
    other = tmp_path / "other"
    other.mkdir()
    seed = int(os.environ.get("HARP_SEED", time.time_ns() % 10**6))
    gone: set[bytes] = set()
    ours, theirs = Editor(desk.folder, seed, gone), Editor(other, seed + 1, gone)
    client = partial(mirrored.nextcloudcmd, desk.cloud, desk.alice, other, desk.top)
    async with desk.opened() as mirror:
        arrived = await edited_at_once(desk, mirror, ours, theirs, client)
        for tries in range(6):
            is_whole = await asyncio.to_thread(client, may_fail=tries < 3)
            if not await mirror.settle() and is_whole and tries:
                break
        else:
            pytest.fail(f"seed {seed}: both still exchange changes that nobody makes")
        assert not mirror.problems, f"seed {seed}"

    here, beside = desk.here(), mirrored.content(other)
    nowhere = (ours.written | theirs.written).keys() - gone - {*here.values(), *beside.values()}
    # Nextcloud's client does not look again before it removes a file; what it never sent up is not ours to lose.
    never_sent = nowhere & theirs.written.keys() - arrived
    overwritten = {one for one in nowhere - never_sent if taken_by_another(desk, one)}
    conflicts = [path for path in here if "(conflict " in path]
    print(
        f"seed {seed}: {ours.edits} and {theirs.edits} edits, {len(here)} files, {len(conflicts)} conflicts; "
        f"the client overwrote or removed {len(overwritten)} that it had not seen where Harp put them, and they are in "
        f"the trash; of its own {len(never_sent)} were gone before it sent them"
    )
    assert here == desk.there(), f"seed {seed}"
    assert {path: one for path, one in beside.items() if "(conflicted copy " not in path} == here, f"seed {seed}"
    lost = nowhere - never_sent - overwritten
    assert not lost, f"seed {seed}: {[(one[:16], desk.traces([one])) for one in lost]}"
    assert not [one for one in desk.writes() if one.method == "PUT" and one.match == one.none == "-"], f"seed {seed}"
    # Each conflict is between two edits, one on either side; a storm makes conflicts out of conflicts.
    assert len(conflicts) <= min(ours.edits, theirs.edits), f"seed {seed}: {conflicts}"
    assert not [path for path in conflicts if path.count("(conflict ") > 1], f"seed {seed}: {conflicts}"


def taken_by_another(desk: Desk, content: bytes) -> bool:
    """Whether the account had that where Harp had put it, and Harp did not take it away; and Harp's trash has it.

    Nextcloud's client sends small files to ``/dav/bulk``, which overwrites whatever lies there, and deletes without a
    condition: what Harp wrote or moved there between its look at the account and its write is gone from the account.
    Harp does as the account does, and keeps what it had. What is overwritten within the second can keep its etag; then
    it was another length that Harp fetched.
    """
    writes, reads = desk.writes(), accesslog.reads(desk.log)
    etags = {one.etag for one in writes if one.sha256 == hashlib.sha256(content).hexdigest()}
    etags |= {etag for etag, length in reads if length == len(content)}
    others = {etag for etag, length in reads if length != len(content)}
    is_in_trash = any(path.startswith(str(desk.folder)) for path in desk.traces([content]))
    return is_in_trash and bool(etags - {one.match for one in writes} or etags & others)
