# SPDX-License-Identifier: AGPL-3.0-or-later
"""The OpenAPI 3.1 document of ``/v1``, made from the table of routes; ``python -m harp.bridge.openapi`` prints it."""

import json
import re
import sys
from typing import Any

import msgspec

from harp import __version__
from harp.bridge import model
from harp.bridge.route import Lines, Route
from harp.bridge.routes import ROUTES

_REFERENCE = "#/components/schemas/{name}"
Json = dict[str, Any]


def document() -> Json:
    """The whole document, as JSON would hold it."""
    nouns = sorted({route.asks for route in ROUTES} | {route.answers for route in ROUTES}, key=lambda n: n.__name__)
    _, components = msgspec.json.schema_components([*nouns, model.ErrorAnswer], ref_template=_REFERENCE)
    paths: dict[str, Json] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, components[route.asks.__name__])
    asked_only = {route.asks.__name__ for route in ROUTES}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Harp",
            "version": __version__,
            "description": "The control API of the daemon, on the Unix socket HOME/harp.sock.",
            "license": {"name": "AGPL-3.0-or-later", "identifier": "AGPL-3.0-or-later"},
        },
        "paths": paths | _PLAIN_PATHS,
        "components": {"schemas": {name: components[name] for name in sorted(components) if name not in asked_only}},
    }


def text() -> str:
    """The document as it lies in ``docs/reference/openapi.json``."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def _operation(route: Route, asked: Json) -> Json:
    in_path = set(re.findall(r"{(\w+)}", route.path))
    fields: Json = asked.get("properties", {})
    rest = {name: schema for name, schema in fields.items() if name not in in_path}
    required = [name for name in asked.get("required", []) if name in rest]
    operation: Json = {
        "operationId": route.name,
        "summary": route.summary,
        "x-harp-verb": route.verb.value,
        "parameters": [_parameter(name, "path", fields[name], True) for name in fields if name in in_path],
        "responses": {"200": _answer(route), "default": _error()},
    }
    if route.method == "GET":
        operation["parameters"] += [_parameter(name, "query", rest[name], name in required) for name in rest]
    elif rest:
        schema: Json = {"type": "object", "properties": rest, "required": required}
        operation["requestBody"] = {"required": bool(required), "content": {"application/json": {"schema": schema}}}
    return operation


def _parameter(name: str, where: str, schema: Json, required: bool) -> Json:
    return {"name": name, "in": where, "required": required, "schema": schema}


def _answer(route: Route) -> Json:
    schema = {"$ref": _REFERENCE.format(name=route.answers.__name__)}
    if isinstance(route.how, Lines):
        kind = "application/x-ndjson"
        return {"description": "One object a line", "content": {kind: {"schema": schema}}}
    return {"description": "As asked", "content": {"application/json": {"schema": schema}}}


def _error() -> Json:
    schema = {"$ref": _REFERENCE.format(name="ErrorAnswer")}
    return {"description": "What is wrong, and what to do", "content": {"application/json": {"schema": schema}}}


def _plain(name: str, summary: str, kind: str, statuses: dict[str, str]) -> Json:
    responses = {status: {"description": words, "content": {kind: {}}} for status, words in statuses.items()}
    return {"get": {"operationId": name, "summary": summary, "responses": responses}}


_PLAIN_PATHS: dict[str, Json] = {
    "/v1/openapi.json": _plain("openapi", "This document", "application/json", {"200": "OpenAPI 3.1"}),
    "/healthz": _plain("healthz", "Whether the daemon answers", "text/plain", {"200": "It does"}),
    "/readyz": _plain(
        "readyz", "Whether it is ready for work", "text/plain", {"200": "It is", "503": "It is starting or stopping"}
    ),
    "/metrics": _plain("metrics", "The counters", "text/plain", {"200": "Prometheus text format 0.0.4"}),
}

if __name__ == "__main__":
    sys.stdout.write(text())
