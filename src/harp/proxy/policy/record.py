# SPDX-License-Identifier: AGPL-3.0-or-later
"""What AppAPI says of an ExApp, as JSON: ``exapp-meta``, and the body of ``POST /exapp_storage/ID`` (contract, 2.5)."""

from typing import Annotated

import msgspec

from harp.proxy.model import AppId, ExApp, Level, Route
from harp.proxy.policy import patterns

MAX_STATUSES = 64
MAX_ROUTES = 1000
MAX_PATTERN = 8192
_PRINTABLE = frozenset(chr(code) for code in range(0x20, 0x7F))
# HTTP's own field values end at a control character, and HAProxy's maps at a line's end (RFC 9110, section 5.5).


class InvalidRecord(ValueError):
    """A record that does not follow the contract; the text names the field, and holds no value of it."""


class _RouteForm(msgspec.Struct):
    url: str
    access_level: int
    bruteforce_protection: list[int] = []


class _RecordForm(msgspec.Struct):
    exapp_token: str
    exapp_version: str
    host: str
    port: int
    routes: Annotated[list[_RouteForm], msgspec.Meta(max_length=MAX_ROUTES)] = []


def read(app: AppId, body: bytes | str) -> ExApp:
    """The record in a JSON text. Raises :class:`InvalidRecord`, or ``msgspec.DecodeError`` where it is not JSON."""
    try:
        parsed = msgspec.json.decode(body)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"JSON is malformed: {type(error).__name__}") from None
    try:
        form = msgspec.convert(parsed, _RecordForm, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRecord(str(error)) from None
    _demand_strict(parsed)
    return ExApp(
        id=app,
        token=form.exapp_token,
        version=_header("exapp_version", form.exapp_version),
        host=form.host.strip(),
        port=form.port,
        routes=tuple(_route(route) for route in form.routes if patterns.is_valid(route.url)),
    )


def _demand_strict(parsed: dict[str, object]) -> None:
    """Numbers may be texts, but nothing else may be what it is not: ``true`` is no level, and 1 no version."""
    for key in ("exapp_token", "exapp_version", "host"):
        if not isinstance(parsed[key], str):
            raise InvalidRecord(f"{key} must be a string")
    numbers: list[object] = [parsed["port"]]
    routes = parsed.get("routes", [])
    assert isinstance(routes, list)
    for route in routes:
        if not isinstance(route["url"], str):
            raise InvalidRecord("url must be a string")
        numbers += [route["access_level"], *route.get("bruteforce_protection", [])]
    if any(isinstance(number, bool | float) for number in numbers):
        raise InvalidRecord("port, access_level and statuses must be whole numbers")


def _route(form: _RouteForm) -> Route:
    try:
        level = Level(form.access_level)
    except ValueError:
        raise InvalidRecord("access_level must be 0, 1 or 2") from None
    statuses = tuple(sorted({status for status in form.bruteforce_protection if 100 <= status <= 999}))
    if len(statuses) > MAX_STATUSES:
        raise InvalidRecord(f"bruteforce_protection has more than {MAX_STATUSES} statuses")
    return Route(form.url, level, statuses)


def _header(name: str, value: str) -> str:
    if not _PRINTABLE.issuperset(value) or len(value) > 256:
        raise InvalidRecord(f"{name} must be at most 256 printable ASCII characters")
    return value
