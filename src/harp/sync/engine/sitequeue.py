# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a source still has to send to the devices of one site: one queue for all of them, since they share one line.

Only so much is on its way at once that the line is kept busy (:meth:`SiteQueue.room`): what is not on its way can still
go to another device, and control messages do not wait behind it. A second device that asks for what another one of its
site was given, or is about to be, is told so; if it asks again at once, it gets it.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, TypeVar

from harp.identity.device import DeviceId

R = TypeVar("R", bound=Hashable)

CHUNK_BYTES: Final = 256 * 1024
"""What an answer is taken for before it was read."""
MIN_CHUNKS: Final = 2
CUSHION_S: Final = 0.25
"""The line is given so much more than a round trip's worth: the kernel's queues are not looked at all the time."""
STUCK_S: Final = 2.0
"""A device that has taken in nothing of what is on its way for so long, and for what the line needs for all that is,
holds nobody up."""
INSIST_S: Final = 1.0
"""Who asks again within this time after it was named another device does not know that device."""
GIVEN_S: Final = 10.0
"""How long it is remembered who was given what."""
_RATE_EVERY_S: Final = 0.2
_RATE_BYTES: Final = 16 * 1024
"""Less than this says nothing of the line: a few control messages go on while one device holds up all content."""
_RATE_WITHIN_S: Final = 4.0
_RATE_WEIGHT: Final = 0.4


class Line(NamedTuple):
    """The link to one device as the kernel shows it: bytes not acknowledged yet, all that were, the round trip, and
    whether what was sent again was not answered: a machine that is there but busy answers."""

    unacked: int
    acked: int
    round_trip_s: float
    is_lost: bool = False


_NEW: Final = Line(0, 0, 0.0)


class Request(NamedTuple, Generic[R]):
    """A device asked for ``id`` under a number of its own."""

    device: DeviceId
    number: R
    id: bytes


@dataclass(slots=True)
class _Device:
    line: Line = _NEW
    moved_at: float = 0.0
    is_silent: bool = False
    """It has taken in nothing for longer than it may."""
    is_stuck: bool = False
    """It is silent, and the line is not."""
    has_grace: bool = False
    """The line was silent too, and no longer is: once in a silence, the device is given time to be found back."""
    on_way: deque[tuple[int, bytes]] = field(default_factory=deque)
    """Ids that were sent, each with what ``Line.acked`` is once it has arrived."""


@dataclass(slots=True)
class _Given:
    device: DeviceId
    arrived_at: float | None = None
    """None while it waits or is on its way."""


class _Told(NamedTuple):
    """A device that asked was named another one."""

    at: float
    named: DeviceId


class SiteQueue(Generic[R]):
    """Requests leave in the order of their arrival, those of a device that is stuck excepted."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[tuple[DeviceId, R], Request[R]] = OrderedDict()
        self._devices: dict[DeviceId, _Device] = {}
        self._given: dict[bytes, _Given] = {}
        self._told: dict[tuple[DeviceId, bytes], _Told] = {}
        self._expire_at = 0.0
        self.displaced: list[Request[R]] = []
        """What another device got in place of the one that waited for it; whoever takes them answers them so."""
        self.rate = 0.0
        """Bytes a second that the site takes in, as far as was seen."""
        self._rate_at = 0.0
        self._rate_acked = 0
        self._was_busy = False
        self._moved_at = 0.0
        """When anybody took anything in."""
        self._is_dark = False
        """Nobody that has something on its way is reached: it is rather the line than they."""

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, request: Request[R], *, now: float) -> DeviceId | None:
        """Queues a request; or the device that gets it instead, and is to be asked, by what was seen last."""
        device, number, id_ = request
        given = self._given.get(id_)
        if given is not None and given.device != device and self._is_named(given, device, id_, now=now):
            self._told[device, id_] = _Told(now, given.device)
            return given.device
        self._told.pop((device, id_), None)
        self._devices.setdefault(device, _Device(moved_at=now))
        if given is not None and given.device != device:
            self._displace(given.device, id_)
        self._given[id_] = _Given(device)
        self._waiting[device, number] = request
        return None

    def _is_named(self, given: _Given, device: DeviceId, id_: bytes, *, now: float) -> bool:
        """Whether ``device`` is to be told that another one gets it."""
        told = self._told.get((device, id_))
        if told is not None and told.named == given.device and now < told.at + INSIST_S:
            return False
        if given.arrived_at is not None and now >= given.arrived_at + STUCK_S:
            return False
        other = self._devices.get(given.device)
        if other is None or other.is_stuck:
            return False
        return not (other.is_silent and self._is_free(device))

    def _is_free(self, device: DeviceId) -> bool:
        """Nothing waits for it or is on its way to it: what it is sent shows whether the line is alive."""
        known = self._devices.get(device)
        return (known is None or not known.line.unacked) and not self.waiting(device)

    def _displace(self, device: DeviceId, id_: bytes) -> None:
        """What waits for a device that is stuck goes to another one, and is not sent to it as well when it is back."""
        known = self._devices.get(device)
        if known is None or not known.is_stuck:
            return
        for key, request in list(self._waiting.items()):
            if request.device == device and request.id == id_:
                del self._waiting[key]
                self.displaced.append(request)

    def cancel(self, device: DeviceId, number: R) -> bool:
        """Whether the request was still waiting; it no longer is."""
        request = self._waiting.pop((device, number), None)
        if request is None:
            return False
        self._forget_given(request)
        return True

    def left(self, device: DeviceId) -> None:
        """The device's link is gone, and with it what it asked for and was sent."""
        self._devices.pop(device, None)
        for key in [key for key in self._waiting if key[0] == device]:
            del self._waiting[key]
        self._given = {id_: given for id_, given in self._given.items() if given.device != device}
        self._told = {key: told for key, told in self._told.items() if key[0] != device}

    def position(self, device: DeviceId, number: R) -> int | None:
        """How many stand before it; None where it does not wait."""
        return next((n for n, key in enumerate(self._waiting) if key == (device, number)), None)

    def _forget_given(self, request: Request[R]) -> None:
        given = self._given.get(request.id)
        if given is not None and given.device == request.device and given.arrived_at is None:
            del self._given[request.id]

    def failed(self, request: Request[R]) -> None:
        """The device was told that it does not get it here."""
        self._forget_given(request)

    def waiting(self, device: DeviceId) -> list[Request[R]]:
        """What a device waits for, in order."""
        return [request for request in self._waiting.values() if request.device == device]

    def sent(self, device: DeviceId, id_: bytes, line: Line) -> None:
        """The answer was handed to the kernel, which shows ``line`` since."""
        known = self._devices.get(device)
        if known is not None:
            known.on_way.append((line.acked + line.unacked, id_))

    # --- letting go ---------------------------------------------------------------------------------------------------

    def take(self, lines: Mapping[DeviceId, Line], *, now: float) -> list[Request[R]]:
        """What is to be sent now; each counts as ``CHUNK_BYTES`` on its way until the lines show otherwise."""
        self.look(lines, now=now)
        self._expire(now)
        room = self.room(lines)
        probed = set[DeviceId]()
        taken: list[Request[R]] = []
        for request in self._waiting.values() if room > 0 or self._is_dark else ():
            device = self._devices.get(request.device)
            if device is None or device.is_stuck or request.device not in lines:
                continue
            if room <= 0:
                # On a line that seems dead, one thing for each that has nothing on its way shows whether it is.
                if not self._is_dark or device.line.unacked or request.device in probed:
                    continue
                probed.add(request.device)
            taken.append(request)
            room -= CHUNK_BYTES
            if room <= 0 and not self._is_dark:
                break
        for request in taken:
            del self._waiting[request.device, request.number]
        self._was_busy = bool(taken) or any(line.unacked for line in lines.values())
        return taken

    def room(self, lines: Mapping[DeviceId, Line]) -> int:
        """How many bytes more may be on their way for the whole site: 2 chunks, or rate × (round trip + 0.25 s)."""
        moving = [line for device, line in lines.items() if not self._is_stuck(device)]
        round_trip_s = max((line.round_trip_s for line in moving), default=0.0)
        window = max(MIN_CHUNKS * CHUNK_BYTES, int(self.rate * (round_trip_s + CUSHION_S)))
        return window - sum(line.unacked for line in moving)

    def _is_stuck(self, device: DeviceId) -> bool:
        known = self._devices.get(device)
        return known is not None and known.is_stuck

    def look(self, lines: Mapping[DeviceId, Line], *, now: float) -> None:
        """Sees which devices have taken something in, and how fast all of them do."""
        on_way = sum(line.unacked for device, line in lines.items() if not self._is_stuck(device))
        patience_s = STUCK_S + (on_way / self.rate if self.rate else 0.0)
        for device, line in lines.items():
            known = self._devices.setdefault(device, _Device(moved_at=now))
            has_moved = line.acked != known.line.acked
            if has_moved and now >= self._moved_at + STUCK_S:
                self._is_back(lines, now)
            if has_moved:
                self._moved_at = now
            if has_moved or not line.unacked:
                known.moved_at, known.has_grace = now, False
            known.line = line
            while known.on_way and known.on_way[0][0] <= line.acked:
                given = self._given.get(known.on_way.popleft()[1])
                if given is not None and given.device == device:
                    given.arrived_at = now
        self._judge([self._devices[device] for device in lines], patience_s, now)
        self._measure(sum(line.acked for line in lines.values()), now)

    def _is_back(self, lines: Mapping[DeviceId, Line], now: float) -> None:
        """After silence something has come through: whoever was out of reach has its time again to be found back."""
        for device in lines:
            known = self._devices.get(device)
            if known is not None and known.line.is_lost and not known.has_grace:
                known.moved_at, known.has_grace = now, True

    def _judge(self, devices: list[_Device], patience_s: float, now: float) -> None:
        """Who is stuck; who is out of reach, and nothing else comes through either, is not: the line may be cut."""
        for known in devices:
            known.is_silent = now - known.moved_at >= patience_s
        busy = [known for known in devices if known.line.unacked]
        out_of_reach = [known for known in busy if known.is_silent and known.line.is_lost and not known.has_grace]
        self._is_dark = bool(busy) and len(out_of_reach) == len(busy)
        for known in devices:
            known.is_stuck = known.is_silent and not self._is_dark

    def _measure(self, acked: int, now: float) -> None:
        passed = now - self._rate_at
        if not self._was_busy or self._is_dark or acked < self._rate_acked or passed > _RATE_WITHIN_S:
            self._rate_at, self._rate_acked = now, acked
        elif passed >= _RATE_EVERY_S and acked >= self._rate_acked + _RATE_BYTES:
            # While nobody takes anything in, the line may be as fast as it was: silence is not slowness.
            rate = (acked - self._rate_acked) / passed
            self.rate = rate if not self.rate else self.rate + _RATE_WEIGHT * (rate - self.rate)
            self._rate_at, self._rate_acked = now, acked

    def _expire(self, now: float) -> None:
        if now < self._expire_at:
            return
        self._expire_at = now + GIVEN_S
        self._given = {
            id_: given
            for id_, given in self._given.items()
            if given.arrived_at is None or now < given.arrived_at + GIVEN_S
        }
        self._told = {key: told for key, told in self._told.items() if now < told.at + INSIST_S}
