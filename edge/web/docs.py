"""`/docs`: the API reference as a page, built from the same declarations as `/openapi.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from quart import Blueprint, Response, current_app

from edge.http.api_spec import EVENTS, FORM
from edge.http.public_url import edge_url
from edge.reference.document import openapi
from edge.reference.examples import Call, examples, fill_models
from edge.request_context import services
from edge.web.pages import page
from shared.core.clock import now_ms

docs = Blueprint("docs", __name__)
SECTIONS = {
    "v1/chat": "Chat completions",
    "v1/responses": "Responses",
    "v1/messages": "Messages",
    "v1/embeddings": "Embeddings",
    "v1/completions": "Completions (legacy)",
    "v1/images": "Images",
    "v1/audio": "Speech and transcription",
    "v1/videos": "Videos",
    "v1/moderations": "Moderation",
    "v1/rerank": "Rerank",
    "v2/rerank": "Rerank",
    "v1/models": "Models",
    "api/chat": "Native API",
    "api/media": "Media jobs",
    "api/quote": "Quotes and receipts",
    "api/receipts": "Quotes and receipts",
}
OTHER_SECTION = "Other endpoints"
CALLERS = {"key": "an API key", "session": "a web session", "visitor": "anyone"}


class Field(NamedTuple):
    """A field of a request, as the page shows it."""

    name: str
    type: str
    required: bool
    description: str = ""


class Entry(NamedTuple):
    """An operation of the OpenAPI document, as the page shows it."""

    anchor: str
    method: str
    path: str
    operation: Mapping[str, Any]
    callers: str
    fields: list[Field]
    examples: dict[str, str]


@docs.get("/docs")
async def show_docs() -> Response:
    document = openapi(current_app, current_app.extensions["endpoints"], edge_url())
    entries = list(_entries(document, _models()))
    sections: dict[str, list[Entry]] = {title: [] for title in (*SECTIONS.values(), OTHER_SECTION)}
    for entry in entries:
        sections[SECTIONS.get(entry.operation["tags"][0], OTHER_SECTION)].append(entry)
    return await page("docs.html", edge=edge_url(), sections={title: found for title, found in sections.items() if found})


def _models() -> dict[str, str]:
    """Return one model per kind, for the examples."""
    now = now_ms()
    models = sorted(services().catalog.models.values(), key=lambda model: (not model.is_free, model.id), reverse=True)
    return {model.kind: model.id for model in models if model.price_at(now) is not None}


def _entries(document: Mapping[str, Any], models: Mapping[str, str]) -> Iterator[Entry]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            schema = next((one["schema"] for one in content.values()), None)
            yield Entry(
                anchor=operation["operationId"],
                method=method.upper(),
                path=path,
                operation=operation,
                callers=_callers(operation["security"]),
                fields=[*_parameters(operation), *_fields(schema)],
                examples=_examples(document["servers"][0]["url"], method.upper(), path, operation, schema, models)
                if FORM not in content
                else {},
            )


def _callers(security: list[dict[str, Any]]) -> str:
    names = [CALLERS[name] for one in security for name in one]
    if {} in security:
        return "no authentication" if not names else f"{' or '.join(names)}; without authentication within a daily allowance"
    return " or ".join(names)


def _parameters(operation: Mapping[str, Any]) -> list[Field]:
    return [
        Field(f"{one['name']} ({one['in']})", _type(one["schema"]), one["required"]) for one in operation.get("parameters", ())
    ]


def _fields(schema: Mapping[str, Any] | None) -> list[Field]:
    if not schema:
        return []
    return [
        Field(name, _type(one), name in schema["required"], one.get("description", ""))
        for name, one in schema["properties"].items()
    ]


def _type(schema: Mapping[str, Any]) -> str:
    """Describe a schema in a few words."""
    if "anyOf" in schema:
        return " or ".join(kind for one in schema["anyOf"] if (kind := _type(one)) != "null")
    if "$ref" in schema:
        return "object"
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    kinds = schema.get("type", "any JSON")
    kind = ", ".join(one for one in ([kinds] if isinstance(kinds, str) else kinds) if one != "null") or "null"
    kind = {"integer": "integer", "boolean": "boolean", "array": "array"}.get(kind, kind)
    if schema.get("format"):
        kind = {"uuid": "id", "date-time": "time, ISO 8601"}.get(schema["format"], kind)
    low, high = schema.get("minimum"), schema.get("maximum")
    if high is not None:
        return f"{kind} between {low} and {high}"
    if schema.get("maxLength"):
        return f"{kind}, max {schema['maxLength']} characters"
    if schema.get("items"):
        items = _type(schema["items"])
        return f"{kind} of {'objects' if items == 'object' else items}"
    return kind


def _examples(
    url: str, method: str, path: str, operation: Mapping[str, Any], schema: Mapping[str, Any] | None, models: Mapping[str, str]
) -> dict[str, str]:
    body = fill_models(schema["examples"][0], models) if schema and schema.get("examples") else None
    answers = operation["responses"].get("200", {}).get("content", {})
    call = Call(method, url + path, body, bool(operation["security"][:1] and operation["security"][0]), list(answers) == [EVENTS])
    return examples(call)
