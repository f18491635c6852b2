# SPDX-License-Identifier: AGPL-3.0-or-later
"""The OpenAPI document: made from the routes, and lying in the documentation as it is."""

import json
import re
from pathlib import Path

from harp.bridge import openapi
from harp.bridge.routes import ROUTES

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def test_the_document_in_the_reference_is_the_one_that_the_code_makes() -> None:
    stored = (REFERENCE / "openapi.json").read_text(encoding="utf-8")
    assert stored == openapi.text(), "write it anew: python -m harp.bridge.openapi > docs/reference/openapi.json"


def test_every_route_is_in_the_document_and_in_the_words() -> None:
    paths = openapi.document()["paths"]
    words = (REFERENCE / "api.md").read_text(encoding="utf-8")
    for route in ROUTES:
        assert paths[route.path][route.method.lower()]["summary"] == route.summary
        assert f"`{route.method} {route.path}`" in words, f"docs/reference/api.md does not name {route.path}"
    for path in ("/healthz", "/readyz", "/metrics", "/v1/openapi.json"):
        assert f"`GET {path}`" in words
        assert path in paths


def test_the_words_name_no_route_that_is_not_there() -> None:
    words = (REFERENCE / "api.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(?:GET|POST|PUT|DELETE) (/[^` ?]*)`", words))
    assert named == set(openapi.document()["paths"])


def test_every_reference_within_the_document_leads_somewhere() -> None:
    document = openapi.document()
    names = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert names == set(document["components"]["schemas"])


def test_what_stands_in_a_path_is_a_parameter_and_nothing_else_twice() -> None:
    for path, operations in openapi.document()["paths"].items():
        in_path = set(re.findall(r"{(\w+)}", path))
        for operation in operations.values():
            parameters = operation.get("parameters", [])
            assert {p["name"] for p in parameters if p["in"] == "path"} == in_path
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            assert not in_path & set(body.get("properties", {}))


def test_a_restore_is_described_as_it_is_asked() -> None:
    operation = openapi.document()["paths"]["/v1/folders/{folder}/restore"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == {"path", "path_b64", "entry"}
    assert schema["required"] == ["entry"]
    assert operation["x-harp-verb"] == "change"


def test_a_wait_is_described_as_lines() -> None:
    operation = openapi.document()["paths"]["/v1/folders/{folder}/wait"]["post"]
    assert set(operation["responses"]["200"]["content"]) == {"application/x-ndjson"}
    assert operation["requestBody"]["required"] is False
