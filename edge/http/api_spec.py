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
ErrorTypes = tuple[type[errors.YoutError], ...]

ANYBODY, KEY, ACCOUNT, WEB = (), ("key",), ("key", "session"), ("key", "session", "visitor")

STRING: Schema = {"type": "string"}
TEXT: Schema = {"type": "string", "minLength": 1}
INTEGER: Schema = {"type": "integer"}
BOOLEAN: Schema = {"type": "boolean"}
ID: Schema = {"type": "string", "format": "uuid"}
TIMESTAMP: Schema = {"type": "string", "format": "date-time"}
ANY: Schema = {}
OPEN_OBJECT: Schema = {"type": "object"}
JSON, EVENTS, HTML, PLAIN = "application/json", "text/event-stream", "text/html", "text/plain"
FORM = "multipart/form-data"
FILE: Schema = {"type": "string", "format": "binary"}

# Errors of every route that authenticates its caller.
AUTH_ERRORS: ErrorTypes = (errors.InvalidApiKey, errors.AccessDenied, errors.DatabaseUnavailable)
# Errors of every route that calls a model.
CALL_ERRORS: ErrorTypes = (
    *(errors.InvalidRequest, errors.UpstreamRejected, errors.RequestTooLarge, errors.InsufficientCredits, errors.ModelNotFound),
    *(errors.IdempotencyConflict, errors.RateLimited, errors.UpstreamTimeout, errors.UpstreamFailed, errors.NoAvailableChannel),
)


class ResponseSpec(NamedTuple):
    """A success response: its description (`says`) and its media types, with a `schema` if it is JSON."""

    schema: Schema | None = None
    description: str = ""
    media_types: tuple[str, ...] = (JSON,)


class RouteSpec(NamedTuple):
    """What the API reference says about a route. `bodies` maps a path parameter's values to their request bodies."""

    summary: str
    callers: tuple[str, ...]
    responses: Mapping[int, ResponseSpec]
    errors: ErrorTypes = ()
    body: Schema | None = None
    bodies: Mapping[str, Schema] | None = None
    query: Mapping[str, Schema] | None = None
    path: Mapping[str, Schema] | None = None
    notes: str = ""
    error_format: str = "openai"  # of its errors: `openai`, or `messages` for Anthropic's
    body_type: str = JSON  # media type of the request body


def describe_route(
    summary: str,
    *,
    callers: tuple[str, ...] = ACCOUNT,
    responses: Mapping[int, ResponseSpec],
    errors: ErrorTypes = (),
    **fields: Any,
) -> Callable[[View], View]:
    """Attach a declaration to a view. Routes with `callers` get the errors in `AUTH_ERRORS` too."""
    made = RouteSpec(summary, callers, responses, (*errors, *(AUTH_ERRORS if callers else ())), **fields)

    def mark(view: View) -> View:
        view.declaration = made  # type: ignore[attr-defined]  # read by `route_spec`
        return view

    return mark


def route_spec(view: object) -> RouteSpec | None:
    """Return the declaration of a view, or None."""
    found: RouteSpec | None = getattr(view, "declaration", None)
    return found


def response_schema(properties: Mapping[str, Schema], optional: Collection[str] = ()) -> Schema:
    """Return the schema of a response object. All properties but the `optional` ones are required; more may be added later."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required}


def request_schema(properties: Mapping[str, Schema], required: Collection[str]) -> Schema:
    """Return the schema of a request object that rejects other properties. Properties that are not `required` may be null."""
    fields = {name: schema if name in required else nullable(schema) for name, schema in properties.items()}
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


def open_request_schema(properties: Mapping[str, Schema], required: Collection[str]) -> Schema:
    """Return the schema of a request object whose unknown fields are forwarded to the provider."""
    return {**request_schema(properties, required), "additionalProperties": True}


def nullable(schema: Schema) -> Schema:
    """Return `schema`, made nullable."""
    if isinstance(schema.get("type"), str) and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]} if schema else schema


def array(items: Schema, min_items: int = 0, max_items: int | None = None) -> Schema:
    """Return an array schema with `min_items` to `max_items` items."""
    limits = {"minItems": min_items} if min_items else {}
    return {"type": "array", "items": items, **limits, **({"maxItems": max_items} if max_items is not None else {})}


def string(max_length: int, min_length: int = 1) -> Schema:
    """Return a string schema with `min_length` to `max_length` characters."""
    return {"type": "string", "minLength": min_length, "maxLength": max_length}


def integer(low: int, high: int) -> Schema:
    """Return an integer schema from `low` to `high`."""
    return {"type": "integer", "minimum": low, "maximum": high}


def number(low: float, high: float) -> Schema:
    """Return a number schema from `low` to `high`."""
    return {"type": "number", "minimum": low, "maximum": high}


def enum(*values: str) -> Schema:
    """Return a string enum schema."""
    return {"type": "string", "enum": list(values)}


def example(schema: Schema, value: Any) -> Schema:
    """Return `schema` with an example, in which `$model` stands for a model that the edge serves."""
    return {**schema, "examples": [value]}


def page_of(name: str, item: Schema) -> Schema:
    """Return the schema of a page: its items, and the value of `after` for the next page."""
    return response_schema({name: array(item), "next": nullable(STRING)})


USAGE_OPTIONS = open_request_schema({"include": BOOLEAN}, required=())  # whether the answer's usage has the cost in USD
COST_SCHEMA = response_schema({"credits_charged": INTEGER, "balance": INTEGER})  # the cost of the call and the remaining balance


def describe_model_call(summary: str, answer: ResponseSpec, body: Schema, more: ErrorTypes = (), **fields: Any) -> RouteSpec:
    """Return the declaration of a route under `/v1` that calls a model. `more` are errors beyond the common ones."""
    return RouteSpec(summary, KEY, {200: answer}, (*CALL_ERRORS, *more, *AUTH_ERRORS), body=body, **fields)


PAGE: Mapping[str, Schema] = {"limit": integer(1, 100), "after": ID}
