# SPDX-License-Identifier: AGPL-3.0-or-later
"""A rate by the time of day, as people write it: ``8 Mbit/s, 18:00-07:00 none, 12:00-13:00 2 Mbit/s``."""

import re
from dataclasses import dataclass

NO_LIMIT = 0.0
_UNITS = {"bit/s": 1, "kbit/s": 1e3, "mbit/s": 1e6, "gbit/s": 1e9}
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?bit/s)")
_SPAN = re.compile(r"(\d{1,2}):(\d\d)-(\d{1,2}):(\d\d)\s+(.+)")
_LEAST_BITS = 64_000


@dataclass(frozen=True, slots=True)
class _Span:
    """From minute to minute of the day; over midnight where the end is not after the beginning."""

    begin: int
    end: int
    rate: float

    def holds(self, minute: int) -> bool:
        if self.begin < self.end:
            return self.begin <= minute < self.end
        return minute >= self.begin or minute < self.end


@dataclass(frozen=True, slots=True)
class Timetable:
    """Bytes a second; 0 is no limit. Of spans that overlap the first one counts."""

    usual: float = NO_LIMIT
    spans: tuple[_Span, ...] = ()

    def rate_at(self, minute: int) -> float:
        """The rate at a minute of the day, from 0 to 1439.

        >>> timetable("8 Mbit/s, 18:00-07:00 none").rate_at(12 * 60)
        1000000.0
        """
        return next((span.rate for span in self.spans if span.holds(minute)), self.usual)


def timetable(text: str) -> Timetable:
    """What ``text`` says: a rate for the whole day, and times with another one. Raises ``ValueError``."""
    usual, spans = NO_LIMIT, list[_Span]()
    for number, part in enumerate(part.strip() for part in text.split(",") if part.strip()):
        found = _SPAN.fullmatch(part)
        if found is None and number == 0:
            usual = _rate(part)
        elif found is None:
            raise ValueError(f"{part!r} must be a time of day and a rate: 18:00-07:00 2 Mbit/s")
        else:
            hours = [int(found[group]) for group in (1, 2, 3, 4)]
            if hours[0] > 23 or hours[2] > 24 or hours[1] > 59 or hours[3] > 59:
                raise ValueError(f"{part!r} has a time that no day has")
            begin, end = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
            spans.append(_Span(begin, min(end, 1440), _rate(found[5])))
    return Timetable(usual, tuple(spans))


def _rate(text: str) -> float:
    if text.strip().lower() == "none":
        return NO_LIMIT
    found = _RATE.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError(f"{text!r} must be a rate: 8 Mbit/s, 500 kbit/s, or none")
    bits = float(found[1]) * _UNITS[found[2]]
    if bits < _LEAST_BITS:
        raise ValueError(f"{text!r} is less than {_LEAST_BITS // 1000} kbit/s, at which links end for lack of a sign")
    return bits / 8
