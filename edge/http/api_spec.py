"""OpenAPI declarations of routes, next to their code. `edge.reference` builds the OpenAPI document from them.

    @keys.post("/api/chat/keys/")
    @describe_route("Create an API key", body=NewKey, responses={201: ResponseSpec(KEY, "The key.")}, errors=(InvalidRequest,))
    async def create_key_view() -> Response: …

Request bodies are types (`edge.http.body_types`). A response schema is JSON Schema (2020-12) as a dict. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, TypeVar

from edge.http.body_types import Body
from shared.core import errors

Schema = dict[str, Any]
View = TypeVar("View", bound=Callable[..., Any])
ErrorTypes = tuple[type[errors.YoutError], ...]

ANYBODY, KEY, ACCOUNT, WEB = (), ("key",), ("key", "session"), ("key", "session", "visitor")

STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
BOOLEAN: Schema = {"type": "boolean"}
ID: Schema = {"type": "string", "format": "uuid"}
TIMESTAMP: Schema = {"type": "string", "format": "date-time"}
DATE: Schema = {"type": "string", "format": "date"}
ANY: Schema = {}
OPEN_OBJECT: Schema = {"type": "object"}
JSON, EVENTS, HTML, PLAIN, CSV = "application/json", "text/event-stream", "text/html", "text/plain", "text/csv"
FORM = "multipart/form-data"

# Errors of every route that authenticates its caller.
AUTH_ERRORS: ErrorTypes = (errors.InvalidApiKey, errors.AccessDenied, errors.DatabaseUnavailable)
# Errors of every route with a query, which may have characters that cannot be stored.
QUERY_ERRORS: ErrorTypes = (errors.InvalidRequest,)
# Errors of every route that calls a model.
CALL_ERRORS: ErrorTypes = (
    *(errors.InvalidRequest, errors.UpstreamRejected, errors.RequestTooLarge, errors.InsufficientCredits, errors.ModelNotFound),
    *(
        errors.ModelShutDown,
        errors.CreditsHeld,
        errors.IdempotencyConflict,
        errors.RateLimited,
        errors.UpstreamTimeout,
        errors.UpstreamFailed,
        errors.NoAvailableChannel,
    ),
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
    body: type[Body] | None = None
    bodies: Mapping[str, type[Body]] | None = None
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
    """Attach a declaration to a view. Routes with `callers` get the errors in `AUTH_ERRORS` too, and those with a query 400."""
    of_query = QUERY_ERRORS if fields.get("query") and not set(QUERY_ERRORS) & set(errors) else ()
    made = RouteSpec(summary, callers, responses, (*errors, *of_query, *(AUTH_ERRORS if callers else ())), **fields)

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


def nullable(schema: Schema) -> Schema:
    """Return `schema`, made nullable."""
    if isinstance(schema.get("type"), str) and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]} if schema else schema


def described(schema: Schema, text: str, example: Any = None) -> Schema:
    """Return `schema` with the meaning of its value, which takes precedence over `edge.reference.field_meanings`.

    `example` is a typical value; None means one that the schema suggests.
    """
    return {**schema, "description": text} | ({"examples": [example]} if example is not None else {})


def array(items: Schema) -> Schema:
    """Return an array schema."""
    return {"type": "array", "items": items}


def integer(low: int, high: int) -> Schema:
    """Return an integer schema from `low` to `high`."""
    return {"type": "integer", "minimum": low, "maximum": high}


def enum(*values: str) -> Schema:
    """Return a string enum schema."""
    return {"type": "string", "enum": list(values)}


def page_of(name: str, item: Schema) -> Schema:
    """Return the schema of a page: its items, and the value of `after` for the next page."""
    return response_schema({name: array(item), "next": nullable(STRING)})


# The cost of the call and the remaining balance.
COST_SCHEMA = response_schema(
    {"credits_charged": INTEGER, "balance": INTEGER, "stopped": {"const": "credits"}}, optional=("stopped",)
)


def describe_model_call(summary: str, answer: ResponseSpec, body: type[Body], more: ErrorTypes = (), **fields: Any) -> RouteSpec:
    """Return the declaration of a route under `/v1` that calls a model. `more` are errors beyond the common ones."""
    return RouteSpec(summary, KEY, {200: answer}, (*CALL_ERRORS, *more, *AUTH_ERRORS), body=body, **fields)


PAGE: Mapping[str, Schema] = {"limit": integer(1, 100), "after": ID}
