# SPDX-License-Identifier: AGPL-3.0-or-later
"""The program that is a long line: it carries packets between two TUN devices, each one some milliseconds later.

Rate and queue are the kernel's (a token bucket on each device); here are only the delay, the count and the cut. It is
a process of its own so that nobody's work delays a packet. Commands come in as lines and are answered by one line each;
the end of the input ends it.

    count           bytes at the IP layer since the start: down, up
    cut, mend       while it is cut every packet is lost, those under way too
    meter           begin to note each packet's time, as the kernel stamped it
    fastest S       the most bytes in any S seconds since `meter`: down, up
"""

import os
import select
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Sequence

_MAX_PACKET = 65_536
_TCP, _SYN, _ACK = 6, 0x02, 0x10
_ETH_P_ALL = 3
_OUTGOING = 4  # PACKET_OUTGOING, packet(7)
_SO_TIMESTAMPNS, _SO_RCVBUFFORCE = 35, 33  # asm-generic/socket.h
_RECEIVE_BUFFER = 32 << 20
Stamps = list[tuple[int, int]]
"""(nanoseconds, bytes) of each packet."""


class Direction:
    """From one TUN device to the other. ``is_guarded``: no TCP connection is opened this way, as by a home's router."""

    def __init__(self, source: int, target: int, tap: socket.socket, device: str, *, is_guarded: bool) -> None:
        self.source = source
        self.tap = tap
        self.count = 0
        self.stamps: Stamps = []
        self._target = target
        self._device = device
        self._is_guarded = is_guarded
        self._under_way: deque[tuple[float, bytes]] = deque()

    def take(self, delay_s: float, *, is_cut: bool) -> None:
        """Everything that waits at the source sets out."""
        due = time.monotonic() + delay_s
        while True:
            try:
                packet = os.read(self.source, _MAX_PACKET)
            except BlockingIOError:
                return
            if is_cut or (self._is_guarded and opens_tcp(packet)):
                continue
            self.count += len(packet)
            self._under_way.append((due, packet))

    def deliver(self) -> float | None:
        """Everything that is due arrives; the monotonic time at which the next will be."""
        while self._under_way:
            due, packet = self._under_way[0]
            if due > time.monotonic():
                return due
            self._under_way.popleft()
            try:
                os.write(self._target, packet)
            except OSError:  # the far device is down: the packet is lost, as on any line
                continue
        return None

    def lose(self) -> None:
        self._under_way.clear()

    def meter(self) -> None:
        """The kernel stamps each packet as it leaves the device, so this process may look late."""
        self.tap.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.tap.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        self.tap.bind((self._device, _ETH_P_ALL))

    def note(self) -> None:
        while True:
            try:
                head, ancillary, _, address = self.tap.recvmsg(4, 64)
            except BlockingIOError:
                return
            if address[2] == _OUTGOING:
                seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
                # IPv4: bytes 2 and 3 are the packet's length (RFC 791, 3.1).
                self.stamps.append((seconds * 1_000_000_000 + nanoseconds, int.from_bytes(head[2:4], "big")))


def opens_tcp(packet: bytes) -> bool:
    """Whether it is the first packet of a connection over IPv4 (SYN without ACK; RFC 9293, 3.1)."""
    if packet[0] >> 4 != 4 or packet[9] != _TCP:
        return False
    flags = packet[(packet[0] & 15) * 4 + 13]
    return flags & (_SYN | _ACK) == _SYN


def fastest(stamps: Stamps, seconds: float) -> int:
    """The most bytes within any ``seconds``."""
    span, first, inside, most = int(seconds * 1e9), 0, 0, 0
    for at, size in stamps:
        inside += size
        while stamps[first][0] <= at - span:
            inside -= stamps[first][1]
            first += 1
        most = max(most, inside)
    return most


class Line:
    """Both directions, and whoever commands them."""

    def __init__(self, down: Direction, up: Direction, delay_s: float) -> None:
        self._directions = {each.source: each for each in (down, up)}
        self._taps = {each.tap.fileno(): each for each in (down, up)}
        self._delay_s = delay_s
        self._is_cut = False
        self._poll = select.epoll()
        self._commands = sys.stdin.buffer
        for handle in (*self._directions, self._commands.fileno()):
            self._poll.register(handle, select.EPOLLIN)

    def run(self) -> None:
        due: float | None = None
        while True:
            # Whole milliseconds, rounded up: that is what epoll knows, and close enough to the delay.
            timeout_s = None if due is None else max(0.0, due - time.monotonic())
            for handle, _ in self._poll.poll(timeout_s):
                if handle in self._directions:
                    self._directions[handle].take(self._delay_s, is_cut=self._is_cut)
                elif handle in self._taps:
                    self._taps[handle].note()
                elif not self._obey(self._commands.readline().decode().split()):
                    return
            moments = [each.deliver() for each in self._directions.values()]
            due = min((moment for moment in moments if moment is not None), default=None)

    def _obey(self, words: Sequence[str]) -> bool:
        if not words:
            return False
        both = self._directions.values()
        answer = ""
        if words[0] in ("cut", "mend"):
            self._is_cut = words[0] == "cut"
            for each in both:
                each.lose()
        elif words[0] == "count":
            answer = " ".join(str(each.count) for each in both)
        elif words[0] == "meter":
            for handle, each in self._taps.items():
                each.meter()
                self._poll.register(handle, select.EPOLLIN)
        elif words[0] == "fastest":
            for each in both:
                each.note()
            answer = " ".join(str(fastest(each.stamps, float(words[1]))) for each in both)
        print(answer, flush=True)
        return True


def main(argv: Sequence[str]) -> None:
    """``DELAY_S CLOUD_TUN CLOUD_TAP CLOUD_DEVICE OFFICE_TUN OFFICE_TAP OFFICE_DEVICE``: handles and names."""
    delay_s, cloud, office = float(argv[0]), int(argv[1]), int(argv[4])
    taps = [socket.socket(fileno=int(argv[index])) for index in (2, 5)]
    for tap in taps:
        tap.setblocking(False)
    down = Direction(cloud, office, taps[0], argv[3], is_guarded=True)
    up = Direction(office, cloud, taps[1], argv[6], is_guarded=False)
    Line(down, up, delay_s).run()


if __name__ == "__main__":
    main(sys.argv[1:])
