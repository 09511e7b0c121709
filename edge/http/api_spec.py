"""OpenAPI declarations of routes, next to their code. `edge.reference` builds the OpenAPI document from them.

    @keys.post("/api/chat/keys/")
    @declare("Create an API key", body=REQUEST, answers={201: Answer(KEY, "The key.")}, refusals=(InvalidRequest, RateLimited))
    async def make_key() -> Response: …

A schema is JSON Schema (2020-12) as a dict. Its limits are the constants that the route's validation uses. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, TypeVar

from shared.core import errors

Schema = dict[str, Any]
View = TypeVar("View", bound=Callable[..., Any])
Refusals = tuple[type[errors.YoutError], ...]

ANYBODY, KEY, ACCOUNT, WEB = (), ("key",), ("key", "session"), ("key", "session", "visitor")

STRING: Schema = {"type": "string"}
TEXT: Schema = {"type": "string", "minLength": 1}
INTEGER: Schema = {"type": "integer"}
BOOLEAN: Schema = {"type": "boolean"}
ID: Schema = {"type": "string", "format": "uuid"}
MOMENT: Schema = {"type": "string", "format": "date-time"}
ANY: Schema = {}
OPEN: Schema = {"type": "object"}
JSON, EVENTS, HTML, PLAIN = "application/json", "text/event-stream", "text/html", "text/plain"
FORM = "multipart/form-data"
FILE: Schema = {"type": "string", "format": "binary"}

# Errors of every route that authenticates its caller.
IDENTITY: Refusals = (errors.InvalidKey, errors.AccessDenied, errors.DatabaseUnavailable)
# Errors of every route that calls a model.
CALL: Refusals = (
    *(errors.InvalidRequest, errors.UpstreamRejected, errors.RequestTooLarge, errors.InsufficientCredits, errors.ModelNotFound),
    *(errors.IdempotencyConflict, errors.RateLimited, errors.UpstreamTimeout, errors.UpstreamFailed, errors.NoUpstream),
)


class Answer(NamedTuple):
    """A success response: its description (`says`) and its media types, with a `schema` if it is JSON."""

    schema: Schema | None = None
    says: str = ""
    types: tuple[str, ...] = (JSON,)


class Declaration(NamedTuple):
    """What the API reference says about a route. `bodies` maps a path parameter's values to their request bodies."""

    summary: str
    callers: tuple[str, ...]
    answers: Mapping[int, Answer]
    refusals: Refusals = ()
    body: Schema | None = None
    bodies: Mapping[str, Schema] | None = None
    query: Mapping[str, Schema] | None = None
    path: Mapping[str, Schema] | None = None
    notes: str = ""
    shape: str = "openai"  # of its errors: `openai`, or `messages` for Anthropic's
    takes: str = JSON  # media type of the request body


def declare(
    summary: str,
    *,
    callers: tuple[str, ...] = ACCOUNT,
    answers: Mapping[int, Answer],
    refusals: Refusals = (),
    **fields: Any,
) -> Callable[[View], View]:
    """Attach a declaration to a view. Routes with `callers` get the errors in `IDENTITY` too."""
    made = Declaration(summary, callers, answers, (*refusals, *(IDENTITY if callers else ())), **fields)

    def mark(view: View) -> View:
        view.declaration = made  # type: ignore[attr-defined]  # read by `declaration_of`
        return view

    return mark


def declaration_of(view: object) -> Declaration | None:
    """Return the declaration of a view, or None."""
    found: Declaration | None = getattr(view, "declaration", None)
    return found


def record(properties: Mapping[str, Schema], optional: Collection[str] = ()) -> Schema:
    """Return the schema of a response object. All properties but the `optional` ones are required; more may be added later."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required}


def wish(properties: Mapping[str, Schema], required: Collection[str]) -> Schema:
    """Return the schema of a request object without other properties. Properties that are not `required` may be null."""
    fields = {name: schema if name in required else or_null(schema) for name, schema in properties.items()}
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


def open_wish(properties: Mapping[str, Schema], required: Collection[str]) -> Schema:
    """Return the schema of a request object whose unknown fields are forwarded to the provider."""
    return {**wish(properties, required), "additionalProperties": True}


def or_null(schema: Schema) -> Schema:
    """Return `schema`, made nullable."""
    if isinstance(schema.get("type"), str) and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]} if schema else schema


def array(items: Schema, least: int = 0, most: int | None = None) -> Schema:
    """Return an array schema with `least` to `most` items."""
    limits = {"minItems": least} if least else {}
    return {"type": "array", "items": items, **limits, **({"maxItems": most} if most is not None else {})}


def text(most: int, least: int = 1) -> Schema:
    """Return a string schema with `least` to `most` characters."""
    return {"type": "string", "minLength": least, "maxLength": most}


def whole(low: int, high: int) -> Schema:
    """Return an integer schema from `low` to `high`."""
    return {"type": "integer", "minimum": low, "maximum": high}


def number(low: float, high: float) -> Schema:
    """Return a number schema from `low` to `high`."""
    return {"type": "number", "minimum": low, "maximum": high}


def one_of(*values: str) -> Schema:
    """Return a string enum schema."""
    return {"type": "string", "enum": list(values)}


def example(schema: Schema, value: Any) -> Schema:
    """Return `schema` with an example, in which `$model` stands for a model that the edge serves."""
    return {**schema, "examples": [value]}


def page_of(name: str, item: Schema) -> Schema:
    """Return the schema of a page: its items, and the value of `after` for the next page."""
    return record({name: array(item), "next": or_null(STRING)})


SPENT = record({"credits_charged": INTEGER, "balance": INTEGER})  # the cost of a call and the remaining balance


def declare_call(summary: str, answer: Answer, body: Schema, more: Refusals = (), **fields: Any) -> Declaration:
    """Return the declaration of a route under `/v1` that calls a model. `more` are errors beyond the common ones."""
    return Declaration(summary, KEY, {200: answer}, (*CALL, *more, *IDENTITY), body=body, **fields)


PAGE: Mapping[str, Schema] = {"limit": whole(1, 100), "after": ID}
