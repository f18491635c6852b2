# SPDX-License-Identifier: AGPL-3.0-or-later
"""A stranger on the office's LAN gets nothing: no content, no name, not even that a folder is there."""

import contextlib
import os
import socket
import time
from pathlib import Path

import pytest

from benchmarks.lab.site import Host
from harp.base.config import DEFAULT_PORT
from tests.integration.branch import MB, branches, noise

pytestmark = [pytest.mark.real, pytest.mark.root, pytest.mark.timeout(120)]

PATIENCE_S = 8.0
"""Longer than the listener waits for a knock."""


def answers(stranger: Host, door: Host, *all_words: bytes) -> list[bytes]:
    """All that the door says to each of these words, until it closes; they are said at the same time."""
    with contextlib.ExitStack() as undo:
        undo.enter_context(stranger.namespace.entered())
        places = [(door.address, DEFAULT_PORT)] * len(all_words)
        ends = [undo.enter_context(socket.create_connection(place, PATIENCE_S)) for place in places]
        for end, words in zip(ends, all_words, strict=True):
            end.sendall(words)
        return [heard(end) for end in ends]


def heard(end: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(ConnectionResetError):  # it was closed with some of the words unread
        while more := end.recv(65_536):
            found += more
    return found


def test_a_stranger_on_the_lan_learns_nothing(tmp_path: Path) -> None:
    content = noise(3 * MB)
    with branches(tmp_path, 3, joined=2) as found:
        *members, stranger = found.desks[0]
        stranger.start(stranger.folder)
        assert stranger.host is not None
        lan = stranger.host.namespace
        with lan.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as ear:
            ear.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)  # SO_RCVBUFFORCE: nothing may be missed
            found.cloud.write("the secret name", content)
            found.have("the secret name", content, *members)
            time.sleep(1.0)
            overheard = _all_of(ear)
        for telling in (b"the secret name", b"desk", b"cloud", bytes.fromhex(found.cloud.status().id), content[:64]):
            assert telling not in overheard
        # It is a daemon like the others, with a folder of its own, and has met nobody.
        assert stranger.peers() == []
        assert [folder.members for folder in [stranger.status()]] == [1]
        assert all(not desk.knows(stranger) for desk in members)
        assert os.listdir(stranger.folder) == [".harp"]


def test_a_door_says_nothing_to_whoever_cannot_knock(tmp_path: Path) -> None:
    with branches(tmp_path, 2, joined=1) as found:
        door, stranger = found.site.hosts
        hello = bytes.fromhex("16030100050100000103")  # the begin of a TLS ClientHello
        words = (b"", hello, b"GET / HTTP/1.1\r\n\r\n", os.urandom(512))
        assert answers(stranger, door, *words) == [b""] * 4
        assert answers(stranger, found.lab.cloud, hello) == [b""]
        assert found.desks[0][0].is_running


def _all_of(ear: socket.socket) -> bytes:
    """Every frame that reached the stranger's card, and those that it sent."""
    ear.setblocking(False)
    frames = []
    while True:
        try:
            frames.append(ear.recv(65_536))
        except BlockingIOError:
            assert frames, "a card on a LAN hears something"
            return b"".join(frames)
