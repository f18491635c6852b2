# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a page says, in the reader's language: texts from ``locale/*.po``, sizes, times and rates by Babel.

The catalogues are read as they are, at the first page in that language: there is no step that compiles them.
"""

import functools
import gettext
import io
import re
from datetime import date, datetime, timedelta
from pathlib import Path

from harp.console import daemonwords

LANGUAGES = {"en": "English", "de": "Deutsch"}
_LOCALES = Path(__file__).parent / "locale"
_NUMBER = re.compile(r"\d[\d,]*(\.\d+)?")
"""As the daemon writes them: 192,536 or 57.5."""
_DEEPEST = 3
"""Sentences within sentences. A file's name may be all colons, and each would begin one more."""
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


class Words:
    """One language; get it by :func:`words`."""

    def __init__(self, language: str) -> None:
        # Babel takes a twentieth of a second to load: whoever opens no page does not pay for it.
        from babel import Locale, dates, numbers

        self._dates, self._numbers = dates, numbers
        self.language = language
        self.locale = Locale.parse(language)
        self.translations = _translations(language)
        self.gettext = self.translations.gettext
        self.ngettext = self.translations.ngettext

    def said(self, text: str) -> str:
        """What the daemon has said in English, each line where it is known; else as it said it."""
        return "\n".join(map(self._said, text.split("\n")))

    def _said(self, text: str, depth: int = 0) -> str:
        exact = self.gettext(text) if text else ""
        if exact != text or self.language == "en":
            return exact
        parts = text.split("; ")
        if len(parts) > 1 and all(self._said(part, depth) != part for part in parts):
            # Several sentences that stand in one line.
            return "; ".join(self._said(part, depth) for part in parts)
        found = daemonwords.recognised(text)
        if found is None:
            return text
        sentence, blanks = found
        return self.gettext(sentence) % {name: self._in_blank(name, value, depth) for name, value in blanks.items()}

    def _in_blank(self, name: str, value: str, depth: int) -> str:
        if name == daemonwords.NESTED:
            return self._said(value, depth + 1) if depth < _DEEPEST else value
        if name in daemonwords.NUMBERS and _NUMBER.fullmatch(value):
            return self.number(float(value.replace(",", "")))
        return value

    def size(self, size_bytes: float) -> str:
        """``0 B``, ``1.5 MiB``."""
        amount, unit = float(size_bytes), 0
        while amount >= 1024 and unit < len(_UNITS) - 1:
            amount, unit = amount / 1024, unit + 1
        digits = "0" if unit == 0 or amount >= 100 else "0.0"
        return f"{self._numbers.format_decimal(amount, format=digits, locale=self.locale)} {_UNITS[unit]}"

    def rate(self, bytes_s: float) -> str:
        """``1.5 MiB/s``."""
        return f"{self.size(bytes_s)}/s"

    def number(self, number: float) -> str:
        return str(self._numbers.format_decimal(number, locale=self.locale))

    def percent(self, share: float) -> str:
        return str(self._numbers.format_percent(share, locale=self.locale))

    def moment(self, at: float | None) -> str:
        """Day and time, in this machine's zone."""
        when = _when(at)
        return (
            "–" if when is None else self._dates.format_datetime(when, "medium", tzinfo=when.tzinfo, locale=self.locale)
        )

    def clock(self, at: float | None) -> str:
        """The time of the day."""
        when = _when(at)
        return "–" if when is None else self._dates.format_time(when, "short", tzinfo=when.tzinfo, locale=self.locale)

    def ago(self, at: float | None, now: float) -> str:
        """``3 minutes ago``; a day and time where that is long past."""
        when = _when(at)
        if at is None or when is None:
            return "–"
        if abs(now - at) > 7 * 86_400:
            return self._dates.format_date(when.date(), "medium", locale=self.locale)
        if abs(now - at) < 5:
            return self.gettext("just now")
        return self._dates.format_timedelta(timedelta(seconds=at - now), add_direction=True, locale=self.locale)

    def span(self, seconds: float) -> str:
        """``3 minutes``."""
        return self._dates.format_timedelta(timedelta(seconds=min(seconds, 1e9)), locale=self.locale, threshold=0.99)

    def day(self, text: str) -> str:
        """``25 Nov`` of ``2026-11-25``."""
        try:
            return self._dates.format_date(
                date.fromisoformat(text), "MMM d" if self.language == "en" else "d. MMM", self.locale
            )
        except ValueError:
            return text


def said(accepted: str, text: str) -> str:
    """What the daemon has said in English, for a reader with that ``Accept-Language``."""
    language = chosen(None, accepted)
    return text if language == "en" else words(language).said(text)


@functools.cache
def words(language: str) -> Words:
    """The words of one of :data:`LANGUAGES`."""
    return Words(language)


def chosen(wanted: str | None, accepted: str) -> str:
    """The language that a person chose, else the first of ``Accept-Language`` (RFC 9110, 12.5.4) that there is."""
    if wanted in LANGUAGES:
        return wanted
    weighted = []
    for place, part in enumerate(accepted.split(",")[:20]):
        tag, _, weight = part.strip().partition(";q=")
        try:
            weighted.append((-float(weight or 1), place, tag.split("-")[0].lower()))
        except ValueError:
            continue
    return next((tag for _, _, tag in sorted(weighted) if tag in LANGUAGES), "en")


def _translations(language: str) -> gettext.NullTranslations:
    path = _LOCALES / f"{language}.po"
    if not path.exists():
        return gettext.NullTranslations()
    from babel.messages import mofile, pofile

    with path.open("rb") as source:
        catalogue = pofile.read_po(source, locale=language)
    compiled = io.BytesIO()
    mofile.write_mo(compiled, catalogue)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def _when(at: float | None) -> datetime | None:
    try:
        return None if at is None else datetime.fromtimestamp(at).astimezone()
    except (OverflowError, OSError, ValueError):
        return None
