"""The API reference in sections, from the OpenAPI document: each operation with its fields, answers and code. Pure.

Texts are in the language of the request. They are found in the sources as those of pages are (`shared/locale/extraction.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from typing import Any, NamedTuple

from edge.http.api_spec import EVENTS, FORM, JSON
from edge.reference.examples import ADMIN_KEY, API_KEY, Call, examples, fill_models
from shared.core.formats import format_credits, with_decimal_symbol
from shared.text.translation import LazyText, gettext, lazy_gettext, translated

_QUOTES = lazy_gettext("Quotes, receipts and usage")
# The tag of operations → the slug and the title of their section.
SECTIONS = {
    "v1/chat": ("chat-completions", "Chat completions"),
    "v1/responses": ("responses", "Responses"),
    "v1/messages": ("messages", "Messages"),
    "v1/embeddings": ("embeddings", "Embeddings"),
    "v1/completions": ("completions", lazy_gettext("Completions (legacy)")),
    "v1/images": ("images", lazy_gettext("Images")),
    "v1/audio": ("audio", lazy_gettext("Speech and transcription")),
    "v1/videos": ("videos", lazy_gettext("Videos")),
    "v1/moderations": ("moderation", lazy_gettext("Moderation")),
    "v1/rerank": ("rerank", "Rerank"),
    "v1/models": ("models", lazy_gettext("Models")),
    "api/chat": ("native", lazy_gettext("Native API")),
    "api/key": ("native", lazy_gettext("Native API")),
    "api/media": ("media-jobs", lazy_gettext("Media jobs")),
    "api/quote": ("quotes-and-receipts", _QUOTES),
    "api/receipts": ("quotes-and-receipts", _QUOTES),
    "api/admin": ("administration", lazy_gettext("Administration API")),
    "api/usage": ("quotes-and-receipts", _QUOTES),
}
OTHER_SECTION = ("other", lazy_gettext("Other endpoints"))
# The section that describes the main call of a kind of model.
SECTION_OF_KIND = {
    "chat": "chat-completions",
    "embedding": "embeddings",
    "image": "images",
    "video": "videos",
    "speech": "audio",
    "transcription": "audio",
    "moderation": "moderation",
    "rerank": "rerank",
}
MAX_SHOWN_BOUND = 10**12  # a larger bound is only that of the integer type
CALLERS = {
    "key": lazy_gettext("an API key"),
    "admin_key": lazy_gettext("an admin key"),
    "session": lazy_gettext("a web session"),
    "visitor": lazy_gettext("anyone"),
}
_FORMATS = {"uuid": lazy_gettext("id"), "date-time": lazy_gettext("time, ISO 8601"), "date": lazy_gettext("date")}


class Field(NamedTuple):
    """A field of a request or an answer. Fields of nested objects have a path, such as `messages[].role`."""

    name: str
    type: str
    required: bool
    description: str = ""


class Answer(NamedTuple):
    """A response by status. `codes` are error codes; `example` is JSON or server-sent events as text, "" if there is none."""

    status: str
    description: str
    codes: list[str]
    fields: list[Field]
    examples: list[str]


class Entry(NamedTuple):
    """An operation."""

    anchor: str
    method: str
    path: str
    summary: str
    description: str
    callers: str
    parameters: list[Field]
    fields: list[Field]
    answers: list[Answer]
    code: dict[str, str]


class Section(NamedTuple):
    """A page of the reference."""

    slug: str
    title: str
    entries: list[Entry]


def sections(document: Mapping[str, Any], models: Mapping[str, str]) -> list[Section]:
    """Return all sections in order. `models` has a model of the catalog per kind, for the examples."""
    slugs = dict.fromkeys((*SECTIONS.values(), OTHER_SECTION))
    found: dict[str, list[Entry]] = {slug: [] for slug, _ in slugs}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            slug, _ = SECTIONS.get(operation["tags"][0], OTHER_SECTION) if path != "/v2/rerank" else SECTIONS["v1/rerank"]
            found[slug].append(_entry(document, method.upper(), path, operation, models))
    return [Section(slug, title, found[slug]) for slug, title in slugs if found[slug]]


def _entry(document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any], models: Mapping[str, str]) -> Entry:
    content = operation.get("requestBody", {}).get("content", {})
    schema = next((one["schema"] for one in content.values()), None)
    objects = document["components"]["schemas"]
    return Entry(
        anchor=operation["operationId"],
        method=method,
        path=path,
        summary=_shown(operation["summary"]),
        description=_shown(operation.get("description", "")),
        callers=_callers(operation["security"]),
        parameters=[
            Field(one["name"], type_name(one["schema"]), one["required"], _shown(one.get("description", "")))
            for one in operation.get("parameters", ())
        ],
        fields=list(_fields(schema, objects)) if schema else [],
        answers=[_answer(status, one, objects) for status, one in operation["responses"].items()],
        code={} if FORM in content else _code(document["servers"][0]["url"], method, path, operation, schema, models),
    )


def _answer(status: str, answer: Mapping[str, Any], objects: Mapping[str, Any]) -> Answer:
    content = answer.get("content", {})
    if status >= "400" and answer["description"].startswith("`"):  # error codes
        return Answer(status, "", [code.strip(" `") for code in answer["description"].split(",")], [], [])
    schema = content.get(JSON, {}).get("schema")
    samples = [content[kind].get("example") for kind in (JSON, EVENTS) if kind in content]
    shown = [one if isinstance(one, str) else json.dumps(one, indent=2, ensure_ascii=False) for one in samples if one]
    return Answer(status, _shown(answer["description"]), [], list(_fields(schema, objects)) if schema else [], shown)


def _shown(text: str) -> str:
    """Return a text of the OpenAPI document, which is in English, in the language of the request."""
    return translated(text) if isinstance(text, LazyText) or not text else gettext(text)


def _callers(security: list[dict[str, Any]]) -> str:
    names = _alternatives(translated(CALLERS[name]) for one in security for name in one)
    if {} in security:
        return gettext("{callers}; without authentication within a daily allowance", callers=names) if names else gettext("none")
    return names


def _alternatives(names: Iterable[str]) -> str:
    """Return different names as "a or b", in the language of the request; "" for none."""
    found = list(dict.fromkeys(names))
    return reduce(lambda first, second: gettext("{first} or {second}", first=first, second=second), found) if found else ""


def _fields(schema: Mapping[str, Any], objects: Mapping[str, Any], path: str = "", seen: tuple[str, ...] = ()) -> Iterator[Field]:
    """Yield the fields of a schema, each followed by those of the objects in it. A field that alternatives share appears once."""
    known = set()
    for properties, required, inside in _objects(schema, objects, seen):
        for name, value in properties.items():
            if name in known:
                continue
            known.add(name)
            described = _shown(value.get("description", ""))
            yield Field(path + name, type_name(value), name in required, described)
            yield from _fields(value, objects, f"{path}{name}{'[]' if _is_array(value) else ''}.", inside)


def _objects(
    schema: Mapping[str, Any], objects: Mapping[str, Any], seen: tuple[str, ...]
) -> Iterator[tuple[Mapping[str, Any], list[str], tuple[str, ...]]]:
    """Yield the properties and the required names of each object that a value may be, or may contain as an array."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name not in seen:
            yield from _objects(objects[name], objects, (*seen, name))
        return
    for one in schema.get("anyOf", ()):
        yield from _objects(one, objects, seen)
    if isinstance(schema.get("items"), dict):
        yield from _objects(schema["items"], objects, seen)
    if "properties" in schema:
        yield schema["properties"], schema.get("required", []), seen


def _is_array(schema: Mapping[str, Any]) -> bool:
    return "items" in schema or any(_is_array(one) for one in schema.get("anyOf", ()))


def type_name(schema: Mapping[str, Any]) -> str:
    """Describe a schema in a few words, in the language of the request. Names of JSON types are not translated."""
    if "anyOf" in schema:
        return _alternatives(kind for one in schema["anyOf"] if (kind := type_name(one)) != "null")
    if "$ref" in schema:
        return "object"
    if len(schema.get("enum", ())) == 1:
        return gettext("always {value}", value=schema["enum"][0])
    if "enum" in schema:
        return gettext("one of {values}", values=", ".join(map(str, schema["enum"])))
    if "const" in schema:
        return gettext("always {value}", value=schema["const"])
    kinds = schema.get("type") or gettext("any JSON")
    kind = ", ".join(one for one in ([kinds] if isinstance(kinds, str) else kinds) if one != "null") or "null"
    if schema.get("format"):
        kind = translated(_FORMATS.get(schema["format"], kind))
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None and high <= MAX_SHOWN_BOUND:
        return gettext("{kind} between {low} and {high}", kind=kind, low=_number(low), high=_number(high))
    if schema.get("maxLength"):
        return gettext("{kind}, max {count} characters", kind=kind, count=_number(schema["maxLength"]))
    if schema.get("items"):
        items = _item_name(schema["items"])
        return (
            gettext("{kind} of objects", kind=kind) if items == "object" else gettext("{kind} of {items}", kind=kind, items=items)
        )
    return kind


def _item_name(schema: Mapping[str, Any]) -> str:
    """Describe the items of an array: an only value as itself, since "array of always text" would not be English."""
    values = schema["enum"] if len(schema.get("enum", ())) == 1 else [schema["const"]] if "const" in schema else []
    return f'"{values[0]}"' if values else type_name(schema)


def _number(value: float) -> str:
    return format_credits(value) if isinstance(value, int) else with_decimal_symbol(f"{value:g}")


def _code(
    url: str, method: str, path: str, operation: Mapping[str, Any], schema: Mapping[str, Any] | None, models: Mapping[str, str]
) -> dict[str, str]:
    body = fill_models(schema["examples"][0], models) if schema and schema.get("examples") else None
    answers = operation["responses"].get("200", {}).get("content", {})
    caller = next(iter(*operation["security"][:1]), None)
    variable = {None: "", "admin_key": ADMIN_KEY}.get(caller, API_KEY)
    return examples(Call(method, url + path, body, variable, list(answers) == [EVENTS]))
