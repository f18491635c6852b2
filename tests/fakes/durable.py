# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two devices in one process that is watched by strace(1): what they tell each other stands in the trace as well.

    python -m tests.fakes.durable PLACE [unsynced]

``unsynced`` makes it do without each sync of the folder, as a program with a defect would.
"""

import os
import random
import sys
from pathlib import Path as FilePath

from harp.sync.folder.apply import Disk
from harp.sync.folder.staging import Staging
from harp.sync.model import Role
from harp.sync.protocol.foldermessages import Batches, State
from tests.fakes.peers import FakePeer
from tests.fakes.replicas import Device, office, settle

SAID, SETTLED = "said", "settled"


def _mark_what_is_told(device: Device, marks: int) -> None:
    """A line in the trace for each batch that leaves, and for each time all is said to be durable."""
    for peer in device.peers.values():
        _mark(device, peer, marks)


def _mark(device: Device, peer: FakePeer, marks: int) -> None:
    send = peer.send

    def marked(message: object) -> bool:
        if isinstance(message, Batches) and message.batches:
            os.write(marks, f"{SAID} {device.home}\n".encode())
        if isinstance(message, State) and message.settled:
            os.write(marks, f"{SETTLED} {device.home}\n".encode())
        return send(message)

    peer.send = marked  # type: ignore[method-assign]


def main(place: FilePath, *, is_unsynced: bool) -> None:
    if is_unsynced:
        Disk.sync_all = Disk.sync_directories = Disk.sync_files = Staging.sync = _nothing  # type: ignore[method-assign]
    anna, ben = office(place, Role.READ_WRITE)
    marks = os.open(place / "marks", os.O_WRONLY | os.O_CREAT)
    _mark_what_is_told(anna, marks)
    _mark_what_is_told(ben, marks)

    def saved(name: str, content: bytes) -> None:
        anna.put(name, content)

    chance = random.Random(1)
    saved("one", b"1")
    _shared(anna, ben)
    for number in range(120):
        saved(f"many/{number}", b"content %d" % number)
    _shared(anna, ben)
    large = chance.randbytes(3_000_000)
    saved("large", large)
    _shared(anna, ben)
    saved("one", b"another one")
    saved("large", large[:1_000_000] + b"in the middle" + large[1_000_000:])
    (anna.files / "many/7").rename(anna.files / "moved")
    anna.remove("many/8")
    (anna.files / "link").symlink_to("one")
    _shared(anna, ben)
    (anna.files / "one").chmod(0o755)
    _shared(anna, ben)
    (anna.files / "many/9").rename(anna.files / "moved and touched")
    os.utime(anna.files / "moved and touched", ns=(5, 5))
    _shared(anna, ben)
    for number in range(10, 120):
        saved(f"many/{number}", b"newer %d" % number)
    _shared(anna, ben)
    anna.close()
    ben.close()


def _shared(anna: Device, ben: Device) -> None:
    anna.looks()
    settle(anna, ben)
    assert anna.tree() == ben.tree()


def _nothing(*_: object, **__: object) -> None:
    pass


if __name__ == "__main__":
    main(FilePath(sys.argv[1]), is_unsynced="unsynced" in sys.argv[2:])
