"""Declarations: what a route says of itself, beside its code; `edge.reference` makes the API's document and its page of them.

    @keys.post("/api/chat/keys/")
    @declare("Make a key", body=REQUEST, answers={201: Answer(KEY, "The key.")}, refusals=(InvalidRequest, RateLimited))
    async def make_key() -> Response: …

A schema is JSON Schema (2020-12) as a dict. Limits come from the constants that the route's own checks use. Pure.
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

# Who may not: told by every route that asks who is calling. What may go wrong before a route has begun.
IDENTITY: Refusals = (errors.InvalidKey, errors.AccessDenied, errors.DatabaseUnavailable)
# Of a route that calls a model.
CALL: Refusals = (
    *(errors.InvalidRequest, errors.UpstreamRejected, errors.RequestTooLarge, errors.InsufficientCredits, errors.ModelNotFound),
    *(errors.IdempotencyConflict, errors.RateLimited, errors.UpstreamTimeout, errors.UpstreamFailed, errors.NoUpstream),
)


class Answer(NamedTuple):
    """An answer that is no error: its `schema` under each of `types`; what is no JSON has none."""

    schema: Schema | None = None
    says: str = ""
    types: tuple[str, ...] = (JSON,)


class Declaration(NamedTuple):
    """See the module. `bodies` is for a route whose path holds a choice: the body of each."""

    summary: str
    callers: tuple[str, ...]
    answers: Mapping[int, Answer]
    refusals: Refusals = ()
    body: Schema | None = None
    bodies: Mapping[str, Schema] | None = None
    query: Mapping[str, Schema] | None = None
    path: Mapping[str, Schema] | None = None
    notes: str = ""
    shape: str = "openai"  # of its errors: `openai` or `messages`
    takes: str = JSON  # the body's type


def declare(
    summary: str,
    *,
    callers: tuple[str, ...] = ACCOUNT,
    answers: Mapping[int, Answer],
    refusals: Refusals = (),
    **fields: Any,
) -> Callable[[View], View]:
    """Put a declaration on a view. `IDENTITY` is added to the refusals of routes that ask who is calling."""
    made = Declaration(summary, callers, answers, (*refusals, *(IDENTITY if callers else ())), **fields)

    def mark(view: View) -> View:
        view.declaration = made  # type: ignore[attr-defined]  # found by `declaration_of`
        return view

    return mark


def declaration_of(view: object) -> Declaration | None:
    """What `declare` put on a view."""
    found: Declaration | None = getattr(view, "declaration", None)
    return found


def record(properties: Mapping[str, Schema], optional: Collection[str] = ()) -> Schema:
    """An answer's object with these properties, all but the `optional` always there. Later versions may have more."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required}


def wish(properties: Mapping[str, Schema], required: Collection[str]) -> Schema:
    """A request's object: no other properties, and null is as good as left out for those that are not `required`."""
    fields = {name: schema if name in required else or_null(schema) for name, schema in properties.items()}
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


def open_wish(properties: Mapping[str, Schema], required: Collection[str]) -> Schema:
    """The same, of a route that passes unknown fields on."""
    return {**wish(properties, required), "additionalProperties": True}


def or_null(schema: Schema) -> Schema:
    """`schema`, or null."""
    if isinstance(schema.get("type"), str) and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]} if schema else schema


def array(items: Schema, least: int = 0, most: int | None = None) -> Schema:
    """A list."""
    limits = {"minItems": least} if least else {}
    return {"type": "array", "items": items, **limits, **({"maxItems": most} if most is not None else {})}


def text(most: int, least: int = 1) -> Schema:
    """Text of so many characters."""
    return {"type": "string", "minLength": least, "maxLength": most}


def whole(low: int, high: int) -> Schema:
    """A whole number."""
    return {"type": "integer", "minimum": low, "maximum": high}


def number(low: float, high: float) -> Schema:
    """A number."""
    return {"type": "number", "minimum": low, "maximum": high}


def one_of(*values: str) -> Schema:
    """One of these words."""
    return {"type": "string", "enum": list(values)}


def example(schema: Schema, value: Any) -> Schema:
    """`schema` with an example; `$model` in it is a model that the edge serves."""
    return {**schema, "examples": [value]}


def page_of(name: str, item: Schema) -> Schema:
    """A page of a list: the items, and what to send as `after` for the next page."""
    return record({name: array(item), "next": or_null(STRING)})


SPENT = record({"credits_charged": INTEGER, "balance": INTEGER})  # what a call cost, and what is left


def declare_call(summary: str, answer: Answer, body: Schema, more: Refusals = (), **fields: Any) -> Declaration:
    """The `Declaration` of a route under `/v1` that calls a model: it may refuse as all of them do, and with `more`."""
    return Declaration(summary, KEY, {200: answer}, (*CALL, *more, *IDENTITY), body=body, **fields)


PAGE: Mapping[str, Schema] = {"limit": whole(1, 100), "after": ID}
