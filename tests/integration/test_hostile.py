# SPDX-License-Identifier: AGPL-3.0-or-later
"""A member that breaks every rule: the daemon goes on, and nothing outside the folder is touched."""

import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harp.identity import keyring
from harp.identity.device import DeviceId
from harp.sync.engine import chain, manifest, merge
from harp.sync.engine.chain import Draft
from harp.sync.engine.fetcher import Reach
from harp.sync.model import ChainId, ChunkId, Entry, Hlc, Kind, RootId
from harp.sync.model import Path as FolderPath
from harp.sync.protocol import batchform
from harp.sync.protocol.foldermessages import Ask, Batches, Content, State
from harp.sync.protocol.frames import HEADER, Status
from harp.sync.protocol.messages import OLDEST_VERSION, PROTOCOL_VERSION, Hello
from harp.sync.protocol.session import Session
from harp.sync.protocol.transitions import Mode
from harp.sync.service.peer import Peer
from harp.sync.store.ledger import Ledger
from harp.sync.transport import knock, tcp
from harp.sync.transport.freshness import NONCE_BYTES, slot_of
from harp.sync.transport.tls import Identity
from tests.integration.office import Desk, Office, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


class Villain:
    """A valid member's key and ledger in hands that keep no rule. Implements the session's switchboard."""

    def __init__(self, desk: Desk, victim: Desk) -> None:
        key = keyring.load(desk.home)
        assert key is not None
        self.key = key
        self._victim = victim
        (path,) = (desk.home / "folders").glob("*.db")
        ledger = Ledger(path)
        self.folder = ledger.folder
        self.keys = manifest.keys(ledger.keys().content)
        self._incarnation = ledger.incarnation
        self._vector = dict(ledger.vector())
        own = ledger.chain(ChainId(key.device_id, self._incarnation))
        self._prev, self._sequence = own.merged_id, own.merged
        ledger.close()
        self.answers: dict[bytes, bytes] = {}
        self.asked: list[bytes] = []
        self.is_heard = threading.Event()
        self.has_ended = threading.Event()
        self.peer: Peer = self.dial()

    def dial(self) -> Peer:
        """A link to the victim, up to its greeting."""
        self.is_heard.clear()
        self.has_ended.clear()
        victim = keyring.load(self._victim.home)
        assert victim is not None
        pairwise = knock.pairwise_key(self.key, victim.device_id)
        assert pairwise is not None
        knocked = knock.make_knock(
            [pairwise],
            listener=bytes(victim.device_id),
            nonce=secrets.token_bytes(NONCE_BYTES),
            slot=slot_of(time.time()),
            padding=secrets.token_bytes(knock.KNOCK_PADDING_BYTES),
        )
        host, _, port = self._victim.listen.rpartition(":")
        wanted: DeviceId = victim.device_id
        link = tcp.dial(host, int(port), Identity.of(self.key), knocked, lambda device: device == wanted, 30.0)
        hello = Hello(OLDEST_VERSION, PROTOCOL_VERSION, "villain/1", "villain", 0, time.time_ns() // 1_000_000)
        session = Session(hello, is_dialler=True, mode=Mode.MEMBER, now=time.monotonic())
        self.peer = Peer(link, session, Reach.LAN, self)
        self.peer.start()
        assert self.is_heard.wait(30), "the victim speaks of the folder"
        return self.peer

    # --- what it says -------------------------------------------------------------------------------------------------

    def says(self, *drafts: Draft) -> Sequence[Entry]:
        """A signed batch that pushes its chain on; all drafts in one."""
        entries = chain.extended(
            self._prev, self.folder, self.key.device_id, self._incarnation, self._sequence + 1, drafts
        )
        batch = chain.sealed(self.key, self.folder, self._incarnation, self._vector, entries)
        self._states()
        self.peer.send(Batches(self.folder, (batchform.encode_batch(batch),)))
        return entries

    def keeps(self, entries: Sequence[Entry]) -> None:
        """The batch was accepted: the chain goes on from there."""
        self._prev, self._sequence = entries[-1].id, entries[-1].meta.sequence
        self._vector[ChainId(self.key.device_id, self._incarnation)] = self._sequence

    def gives(self, *contents: bytes) -> None:
        """Small content, unasked."""
        items = tuple((ChunkId(manifest.root_of_small(data, self.keys)), data) for data in contents)
        self.answers.update(items)
        self.peer.send(Content(self.folder, items))

    def file(self, path: bytes, content: bytes) -> Draft:
        return Draft(
            kind=Kind.FILE,
            path=FolderPath(path),
            size=len(content),
            mtime_ns=time.time_ns(),
            root=RootId(manifest.root_of_small(content, self.keys)),
            hlc=_now(),
        )

    def _states(self) -> None:
        self.peer.send(State(self.folder, self._vector, True, 0, 0))

    # --- what it hears ------------------------------------------------------------------------------------------------

    def greeted(self, peer: Peer) -> None:
        peer.admit(self.folder)

    def claimed(self, peer: Peer, message: Any) -> None:
        pass

    def received(self, peer: Peer, message: Any) -> None:
        if isinstance(message, State):
            self.is_heard.set()
        if isinstance(message, Ask):
            for request, _, id_ in message.wanted:
                self.asked.append(id_)
                peer.serve(request, self._answer(peer, request, self.answers.get(id_, b"something else")))

    @staticmethod
    def _answer(peer: Peer, request: int, data: bytes) -> Any:
        def read_into(buffer: memoryview) -> tuple[int, int]:
            peer.settle(request)
            buffer[: len(data)] = data
            return Status.OK, len(data)

        return read_into

    def answered(self, *_: Any) -> None:
        pass

    def cancelled(self, *_: Any) -> None:
        pass

    def ended(self, *_: Any) -> None:
        self.has_ended.set()


def _now() -> Hlc:
    return merge.next_hlc((), now_ms=time.time_ns() // 1_000_000)


@pytest.fixture
def ada(office: Office) -> Desk:
    return office.founder()


@pytest.fixture
def villain(office: Office, ada: Desk) -> Villain:
    """A member, by all that ``ada`` knows."""
    ben = office.newcomer(ada, "ben")
    ben.write("precious", b"p")
    ben.settled()
    office.agreed(ada, ben)
    ben.stop()
    until(lambda: not ada.knows(ben), "ben is gone")
    return Villain(ben, ada)


def test_the_villain_is_believed_as_long_as_it_behaves(ada: Desk, villain: Villain) -> None:
    villain.gives(b"fine")
    villain.says(villain.file(b"fine", b"fine"))
    until(lambda: ada.at("fine").exists(), "the file of a member is written")
    assert ada.read("fine") == b"fine"


UNSPEAKABLE = [
    b"../escaped",
    b"a/../../escaped",
    b"/tmp/escaped",
    b"",
    b".",
    b"a//b",
    b"a/./b",
    b"nul\0byte",
    b".harp/folder",
    b".HARP/folder",
    b".harp",
    b".harpignore/x",
    b"x" * 256,
    b"/".join([b"d"] * 200),
    b"x/" * 2100 + b"y",
]


def test_paths_that_nobody_may_say(ada: Desk, villain: Villain) -> None:
    around = sorted(ada.folder.parent.iterdir())
    marker = (ada.folder / ".harp" / "folder").read_bytes()
    for path in UNSPEAKABLE:
        villain.gives(b"evil")
        villain.says(villain.file(b"innocent", b"evil"), villain.file(path, b"evil"))
        assert villain.has_ended.wait(30), f"who says {path[:20]!r} is hung up on"
        assert ada.tree().keys() == {b"precious"}
        villain.dial()
    assert sorted(ada.folder.parent.iterdir()) == around
    assert (ada.folder / ".harp" / "folder").read_bytes() == marker
    assert not Path("/tmp/escaped").exists()
    assert ada.status().error == ""


def test_a_symlink_in_the_middle_of_a_path_leads_nowhere(ada: Desk, villain: Villain, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    villain.gives(b"evil")
    trap = Draft(kind=Kind.SYMLINK, path=FolderPath(b"trap"), target=os.fsencode(outside), hlc=_now())
    entries = villain.says(trap, villain.file(b"trap/inside", b"evil"))
    until(lambda: ada.at("trap/inside").exists(), "it is written somewhere")
    villain.keeps(entries)
    assert not ada.at("trap").is_symlink()
    # And once more in the opposite order, in batches of their own.
    villain.gives(b"evil too")
    villain.keeps(villain.says(villain.file(b"second/inside", b"evil too")))
    trap = Draft(kind=Kind.SYMLINK, path=FolderPath(b"second"), target=os.fsencode(outside), hlc=_now())
    villain.keeps(villain.says(trap))
    villain.gives(b"more")
    villain.says(villain.file(b"second/more", b"more"))
    until(lambda: ada.at("second/more").exists(), "it is written somewhere")
    assert list(outside.iterdir()) == []


def test_a_symlink_that_the_user_made_is_not_followed(ada: Desk, villain: Villain, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_bytes(b"k")
    ada.at("link").symlink_to(outside)
    until(lambda: ada.versions("link"), "the link is known")
    villain.gives(b"evil")
    villain.says(villain.file(b"link/kept", b"evil"), villain.file(b"link/new", b"evil"))
    until(lambda: ada.at("link").is_dir() and not ada.at("link").is_symlink(), "the directory has the name")
    until(lambda: ada.at("link/new").exists(), "its files are there")
    assert [file.name for file in outside.iterdir()] == ["kept"]
    assert (outside / "kept").read_bytes() == b"k"


def test_content_that_is_not_what_its_id_says_is_never_shown(ada: Desk, villain: Villain) -> None:
    lie = villain.file(b"lie", b"the truth")
    villain.peer.send(Content(villain.folder, ((ChunkId(lie.root), b"a lie!!!!"),)))
    large = Draft(kind=Kind.FILE, path=FolderPath(b"large"), size=5_000_000, root=RootId(bytes(32)), hlc=_now())
    wrong_size = villain.file(b"wrong size", b"short")
    entries = villain.says(lie, large, Draft(**{**_fields(wrong_size), "size": 4}))
    villain.keeps(entries)
    villain.answers[lie.root] = b"another lie"
    villain.answers[wrong_size.root] = b"short"
    until(lambda: len(villain.asked) >= 2, "the content is asked for")
    villain.gives(b"fine")
    villain.says(villain.file(b"fine", b"fine"))
    until(lambda: ada.at("fine").exists(), "what is right is written nevertheless")
    assert ada.tree().keys() == {b"precious", b"fine"}
    assert ada.status().error == ""
    said = ada.refuses("wait", "desk", "--timeout", "1")
    assert said.code == 1


def _fields(draft: Draft) -> dict[str, Any]:
    return {name: getattr(draft, name) for name in draft.__slots__}


def test_frames_of_garbage_end_that_link_only(ada: Desk, villain: Villain) -> None:
    chance = random.Random(12)
    for _ in range(25):
        type_ = chance.randrange(1, 40)
        body = chance.randbytes(chance.choice((0, 1, 50, 5000)))
        villain.peer.link.send(HEADER.pack(len(body), type_) + body)
        if villain.has_ended.wait(0.2):
            villain.dial()
    villain.peer.link.send(b"\xff" * 64)
    assert villain.has_ended.wait(30), "a frame longer than the limit ends the link"
    villain.dial()
    villain.gives(b"fine")
    villain.says(villain.file(b"fine", b"fine"))
    until(lambda: ada.at("fine").exists(), "the daemon goes on")


def test_strangers_get_silence(ada: Desk) -> None:
    host, _, port = ada.listen.rpartition(":")
    chance = random.Random(13)
    for size in (0, 1, 152, 153, 5000):
        with socket.create_connection((host, int(port)), timeout=30) as stranger:
            heard = b""
            try:
                stranger.sendall(chance.randbytes(size))
                stranger.shutdown(socket.SHUT_WR)
                heard = stranger.recv(100)
            except TimeoutError:
                raise
            except OSError:
                pass  # The door was shut while it still spoke.
            assert heard == b""
    assert ada.status().error == ""


def test_a_batch_with_a_forged_signature_or_a_gap_changes_nothing(ada: Desk, villain: Villain) -> None:
    entries = chain.extended(
        villain._prev,
        villain.folder,
        villain.key.device_id,
        villain._incarnation,
        villain._sequence + 1,
        [villain.file(b"forged", b"f")],
    )
    batch = chain.sealed(villain.key, villain.folder, villain._incarnation, villain._vector, entries)
    data = bytearray(batchform.encode_batch(batch))
    data[-1] ^= 1
    villain._states()
    villain.peer.send(Batches(villain.folder, (bytes(data),)))
    assert villain.has_ended.wait(30)
    villain.dial()
    villain._sequence += 5
    villain.gives(b"g")
    villain.says(villain.file(b"after a gap", b"g"))
    villain._sequence -= 5
    villain.gives(b"fine")
    villain.says(villain.file(b"fine", b"fine"))
    until(lambda: ada.at("fine").exists(), "the daemon goes on")
    assert ada.tree().keys() == {b"precious", b"fine"}
