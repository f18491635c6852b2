# SPDX-License-Identifier: AGPL-3.0-or-later
"""harp.proxy.policy.record: what AppAPI says of an app, and what is none (17–23, 38, 57)."""

import json
from typing import Any

import msgspec
import pytest

from harp.proxy.model import AppId, Level
from harp.proxy.policy import record

GOOD: dict[str, Any] = {"exapp_token": "t", "exapp_version": "1.0", "host": "h", "port": 23000}
ROUTE: dict[str, Any] = {"url": "^/", "access_level": 1}
A = AppId("a")


def read(**changed: Any) -> Any:
    said = {key: value for key, value in (GOOD | changed).items() if value is not ...}
    return record.read(A, json.dumps(said))


def test_the_least_that_a_record_needs() -> None:
    app = read()

    assert (app.id, app.token, app.version, app.host, app.port, app.routes) == (A, "t", "1.0", "h", 23000, ())


def test_numbers_may_be_texts_and_unknown_keys_are_ignored() -> None:
    app = read(port="23001", other={"x": 1}, routes=[ROUTE | {"access_level": "2", "verb": "GET"}])

    assert app.port == 23001
    assert app.routes[0].level is Level.ADMIN


@pytest.mark.parametrize(
    "changed",
    [
        {"exapp_token": ...},
        {"exapp_token": 5},
        {"routes": None},
        {"routes": [ROUTE | {"access_level": 3}]},
        {"routes": [ROUTE | {"access_level": "PUBLIC"}]},
        {"routes": [ROUTE | {"access_level": True}]},
        {"routes": [ROUTE | {"bruteforce_protection": None}]},
        {"routes": [ROUTE | {"bruteforce_protection": list(range(400, 480))}]},
        {"routes": [{"access_level": 0}]},
        {"port": "x"},
        {"exapp_version": "1\r\nX: y"},
        {"exapp_version": "ü"},
        {"host": None},
    ],
)
def test_what_is_no_record(changed: dict[str, Any]) -> None:
    with pytest.raises(record.InvalidRecord):
        read(**changed)


@pytest.mark.parametrize("body", ["", "{", "[1", "x", b'{"host": "\xff"}', "[" * 100_000], ids=range(6))
def test_what_is_no_json(body: bytes | str) -> None:
    with pytest.raises(msgspec.DecodeError):
        record.read(A, body)


@pytest.mark.parametrize("body", ["[]", "null", "5", '"x"'])
def test_json_that_is_no_object(body: str) -> None:
    with pytest.raises(record.InvalidRecord):
        record.read(A, body)


def test_an_expression_that_cannot_be_compiled_is_skipped() -> None:
    app = read(routes=[ROUTE | {"url": "("}, ROUTE | {"url": "^/x"}])

    assert [route.pattern for route in app.routes] == ["^/x"]


def test_statuses_are_a_set() -> None:
    app = read(routes=[ROUTE | {"bruteforce_protection": [403, "401", 403, 7]}])

    assert app.routes[0].statuses == (401, 403)


def test_what_is_wrong_is_told_without_the_secret() -> None:
    with pytest.raises(record.InvalidRecord) as told:
        read(exapp_token=["a-secret"])
    assert "a-secret" not in str(told.value)
