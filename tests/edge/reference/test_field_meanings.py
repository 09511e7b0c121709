"""Every field and parameter of the API reference has a meaning, in every language, and every example answer fits its schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jsonschema
import pytest

from edge.app import ENDPOINTS, create_app
from edge.http.api_spec import EVENTS, JSON
from edge.media import requests
from edge.reference.document import openapi
from edge.reference.field_meanings import FIELDS, PARAMETERS, SAMPLES, STREAMS
from edge.v1 import completions, embeddings
from edge.web.docs.reference import sections
from shared.core.settings import Settings
from shared.text.translation import LANGUAGES, SOURCE_LANGUAGE, in_language


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


def described(operation: Mapping[str, Any], objects: Mapping[str, Any], field: str) -> str:
    """The description of a field of a request."""
    [schema] = [content["schema"] for content in operation["requestBody"]["content"].values()]
    return next(str(value["description"]) for path, value in fields(schema, objects, "") if path == f".{field}")


@pytest.mark.parametrize(
    ("operation", "field", "value"),
    [
        ("post_v1_completions", "max_tokens", completions.OUTPUT_TOKENS),
        ("post_v1_embeddings", "input", embeddings.MAX_INPUTS),
        ("post_v1_images_edits", "image[]", requests.MAX_INPUT_IMAGES),
        ("post_v1_audio_speech", "voice", f"`{requests.DEFAULT_VOICE}`"),
        ("post_v1_videos", "seconds", requests.DEFAULT_SECONDS),
    ],
)
def test_descriptions_have_the_values_of_the_code(document: dict[str, Any], operation: str, field: str, value: object) -> None:
    assert str(value) in described(operations(document)[operation], document["components"]["schemas"], field)


def texts(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """All texts of the reference in the current language, each with its place."""
    found = []
    for section in sections(document, {}):
        for entry in section.entries:
            found += [(f"{entry.anchor} summary", entry.summary), (f"{entry.anchor} notes", entry.description)]
            found += [(f"{entry.anchor} {field.name}", field.description) for field in (*entry.parameters, *entry.fields)]
            for answer in entry.answers:
                found.append((f"{entry.anchor} {answer.status}", answer.description))
                found += [(f"{entry.anchor} {answer.status} {field.name}", field.description) for field in answer.fields]
    return [(place, text) for place, text in found if text]


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != SOURCE_LANGUAGE])
def test_every_text_of_the_reference_is_translated(document: dict[str, Any], language: str) -> None:
    """If this fails for a new text, run `make messages`. If it does not list the text, see `DESCRIPTIONS` there."""
    english = texts(document)
    with in_language(language):
        translations = texts(document)
    assert len(english) > 1_000
    assert [place for (place, text), (_, other) in zip(english, translations, strict=True) if text == other] == []
