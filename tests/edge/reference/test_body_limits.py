"""Every documented type and limit of a request body is enforced by its route, with an error that names the field."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any
from uuid import UUID

import pytest

from edge.app import ENDPOINTS, create_app
from edge.http.body_types import Body, body_schemas
from edge.reference.document import routes_of
from shared.core.clock import new_id
from shared.core.settings import Settings
from shared.identity.admin_scopes import ALL
from shared.operations.admin_keys import create_admin_key
from tests.edge.shared_edge import Sandbox, read
from tests.factories import ORIGIN
from tests.upstream_responses import WAIT_SECONDS

Json = dict[str, Any]
REF = "#/components/schemas/"
# These routes ignore their bodies.
WITHOUT_BODY = {
    "/api/admin/accounts/{account_id}/members/{member_id}/transfer/",
    "/api/chat/keys/{key_id}/revoke/",
    "/api/chat/purge/",
    "/api/media/jobs/{id}/cancel/",
    "/api/media/webhook-secret/",
    "/v1/responses/{id}/cancel",
}
VALUES: tuple[tuple[str, Any], ...] = (("boolean", True), ("number", 1.5), ("string", "x"), ("array", []), ("object", {}))


def test_every_body_has_a_type_and_every_field_a_description(make_settings: Any) -> None:
    settings: Settings = make_settings()
    routes = [route for route in routes_of(create_app(settings), ENDPOINTS) if route.method in ("POST", "PUT", "PATCH")]
    assert {route.path for route in routes if route.body is None} == WITHOUT_BODY
    declared = {route.body for route in routes if route.body is not None}
    assert all(issubclass(body, Body) for body in declared)
    bodies, objects = body_schemas(declared, REF + "{name}")
    for schema in (*bodies.values(), *objects.values()):
        for name, field in schema["properties"].items():
            assert field["description"].endswith("."), (schema["title"], name)


def invalid(schema: Json, objects: Mapping[str, Json]) -> Iterator[tuple[Any, str]]:
    """Values that just miss a schema, with the path of what is wrong in them."""
    choices = schema.get("anyOf", [schema])
    allowed = {kind for choice in choices for kind in types_of(choice)}
    if allowed:
        yield next(value for kind, value in VALUES if kind not in allowed), ""
    for choice in choices:
        if "enum" in choice:
            yield "none of these", ""
        for limit, change in (("minimum", -1), ("maximum", 1)):
            if limit in choice:
                yield choice[limit] + change, ""
        if "maxLength" in choice:
            yield "x" * (choice["maxLength"] + 1), ""
        if choice.get("minLength") or "pattern" in choice:
            yield "", ""
        if "maxItems" in choice:
            yield [valid(choice.get("items", {}), objects)] * (choice["maxItems"] + 1), ""
        if choice.get("minItems"):
            yield [], ""
        if "$ref" in choice:
            yield from in_object(objects[choice["$ref"].removeprefix(REF)], objects)
        elif "$ref" in choice.get("items", {}):
            for value, path in in_object(objects[choice["items"]["$ref"].removeprefix(REF)], objects):
                yield [value], f"[0]{path}"


def in_object(schema: Json, objects: Mapping[str, Json]) -> Iterator[tuple[Json, str]]:
    whole = valid(schema, objects)
    for name, field in schema["properties"].items():
        for value, path in invalid(field, objects):
            yield {**whole, name: value}, f".{name}{path}"
    for name in schema.get("required", ()):
        yield {key: value for key, value in whole.items() if key != name}, f".{name}"
    if schema.get("additionalProperties") is False:
        yield {**whole, "unheard_of": 1}, ".unheard_of"


def types_of(schema: Json) -> set[str]:
    if "$ref" in schema:
        return {"object"}
    if "enum" in schema:
        return {"string"}
    return {"integer": {"number"}}.get(schema.get("type", ""), {schema["type"]} if "type" in schema else set())


def valid(schema: Json, objects: Mapping[str, Json]) -> Any:
    """A small value that matches a schema."""
    if "examples" in schema:
        return schema["examples"][0]
    choice = schema.get("anyOf", [schema])[0]
    if "$ref" in choice:
        return valid(objects[choice["$ref"].removeprefix(REF)], objects)
    if "properties" in choice:
        return {name: valid(choice["properties"][name], objects) for name in choice.get("required", ())}
    if "enum" in choice:
        return choice["enum"][0]
    return {"integer": choice.get("minimum", 1), "number": 0, "boolean": False, "array": []}.get(choice.get("type", ""), "x")


@pytest.mark.parametrize("part", ["/v1/", "/api/"])
def test_every_documented_limit_is_enforced(sandbox: Sandbox, part: str) -> None:
    document = sandbox.get("/openapi.json").json
    objects = document["components"]["schemas"]
    admin_key = create_admin_key(f"limits-{new_id()}", [ALL], origin=ORIGIN).secret
    tried: set[str] = set()
    wrong = []
    with closing(http.client.HTTPConnection("127.0.0.1", sandbox.edge.port, timeout=WAIT_SECONDS)) as connection:
        for path, method, schema in json_bodies(document):
            if not path.startswith(part):
                continue
            for body, param in in_object(schema, objects):
                tried.add(path)
                secret = admin_key if path.startswith("/api/admin/") else sandbox.secret
                headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
                connection.request(method, path.replace("{key_id}", str(UUID(int=1))), json.dumps(body), headers)
                reply = read(connection.getresponse())
                error = reply.json["error"]
                if (reply.status, error["param"]) != (400, param[1:]) or f"'{param[1:]}'" not in error["message"]:
                    wrong.append((path, param, reply.status, error))
    assert wrong == []
    assert tried == {path for path, *_ in json_bodies(document) if path.startswith(part)}
    assert len(tried) >= 6


def json_bodies(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" in content:
                yield path, method.upper(), content["application/json"]["schema"]
