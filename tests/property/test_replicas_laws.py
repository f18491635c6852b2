# SPDX-License-Identifier: AGPL-3.0-or-later
"""Laws of whole devices, each with a real ledger and a real folder: whatever order words come in, they end alike."""

import os
import random
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from harp.sync.engine.guard import Limits
from harp.sync.model import Path as FolderPath
from harp.sync.model import Role
from harp.sync.service.settings import FolderSettings
from tests.fakes.replicas import Device, connect, deliver, disconnect, link_all, office, settle, unlink_all

NAMES = ("a.txt", "b.txt", "d/a.txt", "d/e/b.txt")
DOINGS = ("edit", "edit", "scribble", "scribble", "delete", "rename", "link", "part", "carry", "repeat", "restart")
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None
"""A law of what is said and done, and none of power cuts: no flush of a ledger has to wait for a disk."""
CALM = FolderSettings(guard=Limits(files=10_000, share=1.0, whole_folder_files=10_000))

steps = st.lists(
    st.tuples(
        st.sampled_from(DOINGS),
        st.integers(0, 2),
        st.sampled_from(NAMES),
        st.sampled_from(NAMES),
        st.integers(0, 5),
    ),
    min_size=3,
    max_size=25,
)


class World:
    """Three devices, and every content that anybody ever wrote, with those that somebody meant to take away."""

    def __init__(self, at: Path) -> None:
        self.devices = office(at, Role.READ_WRITE, Role.READ_WRITE, settings=CALM)
        unlink_all(self.devices)
        self.written = 0
        self.unseen: dict[bytes, set[int]] = {}
        """Each content with the devices that had it before them when they wrote over it or took it away."""

    def step(self, what: str, who: int, name: str, other: str, number: int) -> None:
        device = self.devices[who]
        match what:
            case "edit":
                self._edit(device, name)
            case "scribble":
                # Seen in the next turn, which may be one that has a peer's version to write.
                self._write(device, name)
                device.loop.observer.look([FolderPath(name.encode())] if number % 2 else [])
            case "delete":
                self._lose(device, name)
                (device.files / name).unlink(missing_ok=True)
                device.looks()
            case "rename" if (device.files / name).is_file() and not (device.files / other).exists():
                (device.files / other).parent.mkdir(parents=True, exist_ok=True)
                (device.files / name).rename(device.files / other)
                device.looks()
            case "link":
                self._link(device, self.devices[(who + 1) % 3])
            case "part":
                disconnect(device, self.devices[(who + 1) % 3])
            case "carry":
                deliver(device, self.devices[(who + 1) % 3], number)
                self.devices[(who + 1) % 3].rests()
            case "repeat":
                self._repeat(device, self.devices[(who + 1) % 3], number)
            case "restart":
                for partner in self.devices:
                    disconnect(device, partner) if partner is not device else None
                device.reopen(cleanly=number % 2 == 0).rests()
            case _:
                pass

    def _edit(self, device: Device, name: str) -> None:
        self._write(device, name)
        device.looks()

    def _write(self, device: Device, name: str) -> None:
        if (device.files / name).is_dir():
            return
        self._lose(device, name)
        self.written += 1
        content = b"content %d" % self.written
        self.unseen[content] = set()
        device.put(name, content)

    def _lose(self, device: Device, name: str) -> None:
        """Whoever has a content before its eyes may take it away."""
        if (device.files / name).is_file():
            self.unseen.pop((device.files / name).read_bytes(), None)

    def _link(self, one: Device, other: Device) -> None:
        if other.key.device_id.hex() not in one.peers:
            connect(one, other)

    def _repeat(self, device: Device, other: Device, seed: int) -> None:
        """Words that came already, or come too early, in any order."""
        batches = device.written()
        random.Random(seed).shuffle(batches)
        for data in batches + batches[:2]:
            other.loop.take([data])
        other.rests()

    def end(self) -> None:
        link_all(self.devices)
        settle(*self.devices)
        for device in self.devices:
            device.looks()
        settle(*self.devices)


@given(steps=steps)
def test_three_devices_end_alike_and_lose_no_content_that_nobody_saw(
    steps: list[tuple[str, int, str, str, int]],
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        world = World(Path(place))
        for step in steps:
            world.step(*step)
        world.end()
        first, *others = world.devices
        for other in others:
            assert other.tree() == first.tree()
            assert other.heads() == first.heads()
            assert other.replica.ledger.vector() == first.replica.ledger.vector()
        shown = {content for content in first.tree().values() if isinstance(content, bytes)}
        assert world.unseen.keys() <= shown, "a content that nobody had before them when it went is gone"
        for device in world.devices:
            assert device.loop.is_settled
            assert not device.errors
            device.close()
