"""Every field and parameter of the API reference has a meaning, and every example answer fits its schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jsonschema
import pytest

from edge.app import ENDPOINTS, create_app
from edge.http.api_spec import EVENTS, JSON
from edge.reference.document import openapi
from edge.reference.field_meanings import FIELDS, PARAMETERS, SAMPLES, STREAMS
from shared.core.settings import Settings


@pytest.fixture
def document(make_settings: Callable[..., Settings]) -> dict[str, Any]:
    return openapi(create_app(make_settings()), ENDPOINTS, "https://edge.example")


def operations(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {operation["operationId"]: operation for methods in document["paths"].values() for operation in methods.values()}


def fields(
    schema: Mapping[str, Any], objects: Mapping[str, Any], path: str, seen: tuple[str, ...] = ()
) -> Iterator[tuple[str, Any]]:
    """All fields of a schema with their paths, including those of nested objects."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name not in seen:
            yield from fields(objects[name], objects, path, (*seen, name))
    for inner in (*schema.get("anyOf", ()), *([schema["items"]] if isinstance(schema.get("items"), dict) else [])):
        yield from fields(inner, objects, path, seen)
    for name, value in schema.get("properties", {}).items():
        yield f"{path}.{name}", value
        yield from fields(value, objects, f"{path}.{name}", seen)


def test_every_field_has_a_meaning(document: dict[str, Any]) -> None:
    objects = document["components"]["schemas"]
    missing, names = [], set()
    for id, operation in operations(document).items():
        contents = [operation.get("requestBody", {}), *operation["responses"].values()]
        schemas = [content["schema"] for one in contents for content in one.get("content", {}).values() if "schema" in content]
        found = [field for schema in schemas for field in fields(schema, objects, id)]
        names |= {path.rpartition(".")[2] for path, _ in found}
        missing += [path for path, schema in found if "description" not in schema]
        for parameter in operation.get("parameters", ()):
            names.add(parameter["name"])
            if "description" not in parameter:
                missing.append(f"{id}: {parameter['name']}")
    assert missing == []
    assert names >= FIELDS.keys() | PARAMETERS.keys()
    assert operations(document).keys() >= SAMPLES.keys() | STREAMS.keys()


def test_every_example_answer_fits_its_schema(document: dict[str, Any]) -> None:
    for operation in operations(document).values():
        for answer in operation["responses"].values():
            content = answer.get("content", {}).get(JSON, {})
            if "example" in content:
                jsonschema.validate(content["example"], content["schema"])


def test_streams_have_examples(document: dict[str, Any]) -> None:
    chat = operations(document)["post_v1_chat_completions"]["responses"]["200"]["content"]
    assert chat[EVENTS]["example"].endswith("data: [DONE]\n\n")
