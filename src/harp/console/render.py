# SPDX-License-Identifier: AGPL-3.0-or-later
"""Templates into pages. Every value is escaped: names of devices, files and apps are written by strangers."""

import base64
import binascii
import functools
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harp.console.words import LANGUAGES, words

if TYPE_CHECKING:
    import jinja2

_HERE = Path(__file__).parent
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@functools.cache
def environment(language: str) -> "jinja2.Environment":
    """The templates in one language."""
    import jinja2  # a tenth of a second that whoever opens no page does not pay for

    said = words(language)
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    env.install_gettext_translations(said.translations, newstyle=True)  # type: ignore[attr-defined]
    env.filters.update(
        said=said.said,
        size=said.size,
        rate=said.rate,
        number=said.number,
        percent=said.percent,
        moment=said.moment,
        clock=said.clock,
        span=said.span,
        day=said.day,
        iso=iso,
        key=path_key,
        short=short,
    )
    env.globals.update(ago=said.ago, language=language, languages=LANGUAGES, static_digest=statics().digest)
    return env


def page(language: str, template: str, values: Mapping[str, Any]) -> str:
    """The text of a page."""
    return environment(language).get_template(template).render(values)


class Statics:
    """Style and script, in memory, under a name that is another one when any of them is."""

    def __init__(self) -> None:
        files = sorted(path for path in (_HERE / "static").iterdir() if path.suffix in TYPES)
        self.files = {path.name: path.read_bytes() for path in files}
        self.digest = hashlib.sha256(b"".join(self.files.values())).hexdigest()[:16]


@functools.cache
def statics() -> Statics:
    return Statics()


def iso(at: float | None) -> str:
    """For ``<time datetime>``; empty where a calendar has no such moment."""
    try:
        return "" if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
    except (OverflowError, OSError, ValueError):
        return ""


def short(device: str) -> str:
    """The first group of a device's id."""
    return device.partition("-")[0]


def path_key(fact: Mapping[str, Any]) -> str:
    """The exact path of an answer, as it stands in an address (RFC 4648, section 5)."""
    encoded = fact.get("path_b64")
    raw = base64.b64decode(encoded) if encoded else str(fact["path"]).encode("utf-8", "surrogateescape")
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def path_of_key(key: str) -> str:
    """What the API takes as ``path_b64``; empty where the key is none."""
    try:
        raw = base64.urlsafe_b64decode(key + "=" * (-len(key) % 4))
    except (binascii.Error, ValueError):
        return ""
    return base64.b64encode(raw).decode()
