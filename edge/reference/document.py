"""Builds the OpenAPI 3.1 document from the declarations of the routes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from quart import Quart
from werkzeug.routing import Rule

from edge.call.endpoint_adapter import EndpointAdapter
from edge.http.api_spec import EVENTS, JSON, ErrorTypes, ResponseSpec, RouteSpec, Schema, nullable, response_schema, route_spec
from edge.http.body_types import Body, body_schemas
from edge.http.errors import CONFLICTS, ERROR_SPECS, ErrorSpec
from edge.reference.field_meanings import PARAMETERS, describe, sample, stream_sample
from shared.core import errors
from shared.text.translation import lazy_gettext

# HTML pages and their assets are not part of the API.
HIDDEN_BLUEPRINTS = ("web", "assets", "languages", "stripe_webhook")
VERSION = "1"
_DONE = lazy_gettext("Done.")  # the description of an answer that has none
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_ANY_OF = re.compile(r"<any\(([^)]*)\):(\w+)>")
_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")
# The codes of errors whose table entry has none.
OWN_CODES: Mapping[type[BaseException], tuple[str, ...]] = {
    errors.InvalidRequest: (
        *("invalid_request", "context_length_exceeded", "unsupported_parameter", "unpriced_parameter", "no_matching_provider"),
        *("item_not_found", "previous_response_not_found"),
    ),
    errors.UpstreamRejected: ("invalid_request", "content_filter"),
    errors.AccessDenied: (
        *("model_not_allowed", "plan_required", "ip_not_allowed", "account_suspended", "insufficient_scope"),
        *("member_suspended", "role_not_allowed"),
        *("csrf_failed", "foreign_origin"),
    ),
}
_MESSAGE = {
    "message": {"type": "string", "description": "Human-readable message."},
    "type": {"type": "string", "description": "Type of the error, as in OpenAI's or Anthropic's API."},
    "param": {**nullable({"type": "string"}), "description": "The invalid field; null if the error is not about a field."},
}
_CODE = {"type": "string", "description": "Machine-readable code of the error."}
_DETAILS = {"type": "object", "description": "Details of some errors, such as the missing credits and cheaper models."}
_ERROR = {**response_schema({**_MESSAGE, "code": _CODE}), "description": "The error."}
ERRORS: Mapping[str, Schema] = {
    "openai": response_schema({"error": _ERROR, "yout": _DETAILS}, optional=("yout",)),
    "messages": response_schema(
        {
            "type": {"const": "error", "description": "Type of the object."},
            "error": _ERROR,
            "request_id": {"type": "string", "description": "Id of the call."},
            "yout": _DETAILS,
        },
        optional=("yout",),
    ),
}
_SECURITY = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key: `yout-…`. `x-api-key` works too."},
    "admin_key": {"type": "http", "scheme": "bearer", "description": "An admin key: `yout-admin-…`. `x-api-key` works too."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "yout_session",
        "description": "A member's web session.",
    },
}


class Route(NamedTuple):
    """A method of a path, with its declaration if it has one."""

    method: str
    path: str
    declaration: RouteSpec | None
    path_value: str = ""  # the value of a path parameter with an enumerated type
    name: str = ""

    @property
    def body(self) -> type[Body] | None:
        """The type of the request body."""
        declared = self.declaration
        if declared is None or not declared.bodies:
            return declared and declared.body
        return declared.bodies[self.path_value]


def routes_of(app: Quart, adapters: Mapping[str, EndpointAdapter]) -> Iterator[Route]:
    """Yield all routes of the API: those of Quart and the raw ASGI ones."""
    for path, adapter in adapters.items():
        yield Route("POST", path + ("/" if path.startswith("/api/") else ""), adapter.declaration, name=path.strip("/"))
    for rule in app.url_map.iter_rules():
        if rule.endpoint.split(".")[0] in HIDDEN_BLUEPRINTS or rule.endpoint == "static":
            continue
        found = route_spec(app.view_functions[rule.endpoint])
        for path, choice in _paths(rule):
            for method in METHODS:
                if method in (rule.methods or ()):
                    yield Route(method, path, found, choice, rule.endpoint)


def openapi(app: Quart, adapters: Mapping[str, EndpointAdapter], url: str) -> dict[str, Any]:
    """Return the OpenAPI document for the base URL `url`."""
    paths: dict[str, dict[str, Any]] = {}
    routes = sorted(routes_of(app, adapters), key=lambda route: (route.path, METHODS.index(route.method)))
    bodies, objects = body_schemas({route.body for route in routes if route.body is not None}, "#/components/schemas/{name}")
    for route in routes:
        if route.declaration is not None:
            body = bodies[route.body] if route.body is not None else None
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, route.declaration, body)
    return {
        "openapi": "3.1.0",
        "info": {"title": "yout", "version": VERSION, "description": "Every major model, one key, one pool of credits."},
        "servers": [{"url": url}],
        "paths": paths,
        "components": {
            "schemas": {**{f"Error_{shape}": schema for shape, schema in ERRORS.items()}, **objects},
            "securitySchemes": _SECURITY,
        },
    }


def _paths(rule: Rule) -> list[tuple[str, str]]:
    choice = _ANY_OF.search(rule.rule)
    if choice is None:
        return [(_PARAMETER.sub(r"{\1}", rule.rule), "")]
    values = [value.strip() for value in choice[1].split(",")]
    return [(_PARAMETER.sub(r"{\1}", rule.rule.replace(choice[0], value)), value) for value in values]


def _operation(route: Route, declared: RouteSpec, body: Schema | None) -> dict[str, Any]:
    id = re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_")
    operation: dict[str, Any] = {
        "operationId": id,
        "summary": declared.summary,
        "tags": [tag_of(route.path)],
        "security": [{caller: []} for caller in declared.callers if caller in _SECURITY],
        "responses": _responses(id, declared),
    }
    if declared.notes:
        operation["description"] = declared.notes
    if "visitor" in declared.callers or not declared.callers:
        operation["security"].append({})
    parameters = [_parameter(name, "path", declared.path) for name in re.findall(r"{(\w+)}", route.path)]
    parameters += [_parameter(name, "query", declared.query) for name in declared.query or ()]
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {declared.body_type: {"schema": body}}}
    return operation


def tag_of(path: str) -> str:
    """Return the tag that groups a path."""
    parts = path.strip("/").split("/")
    return "/".join(parts[:2]) if parts[0] in ("v1", "api") else "other"


def _parameter(name: str, place: str, schemas: Mapping[str, Schema] | None) -> dict[str, Any]:
    schema = (schemas or {}).get(name, {"type": "string", "minLength": 1})
    text = schema.get("description") or PARAMETERS.get(name)
    meaning = {"description": text} if text else {}
    plain = {key: value for key, value in schema.items() if key != "description"}
    return {"name": name, "in": place, **meaning, "required": place == "path", "schema": plain}


def _responses(operation: str, declared: RouteSpec) -> dict[str, Any]:
    found = {str(status): _answer(operation, answer) for status, answer in declared.responses.items()}
    for status, codes in sorted(error_codes(declared.errors).items()):
        described = {"description": ", ".join(f"`{code}`" for code in codes)}
        schema = {"$ref": f"#/components/schemas/Error_{declared.error_format}"}
        content = {**found.get(str(status), {}).get("content", {}), JSON: {"schema": schema}}
        found[str(status)] = {**described, "content": content}
    return found


def _answer(operation: str, answer: ResponseSpec) -> dict[str, Any]:
    content: dict[str, dict[str, Any]] = {kind: {} for kind in answer.media_types}
    if answer.schema is not None and JSON in content:
        content[JSON] = {"schema": describe(answer.schema), "example": sample(operation, answer.schema)}
    if EVENTS in content and (events := stream_sample(operation)):
        content[EVENTS] = {"example": events}
    return {"description": answer.description or _DONE, **({"content": content} if content else {})}


def error_codes(refusals: ErrorTypes) -> dict[int, list[str]]:
    """Return the error codes by status, from the error table."""
    found: dict[int, list[str]] = {}
    for kind in refusals:
        for face in _error_specs(kind):
            for code in (face.code,) if face.code else OWN_CODES[kind]:
                codes = found.setdefault(face.status, [])
                if code not in codes:
                    codes.append(code)
    return found


def _error_specs(kind: type[BaseException]) -> tuple[ErrorSpec, ...]:
    if kind is errors.IdempotencyConflict:
        return tuple(CONFLICTS.values())
    return (next(ERROR_SPECS[base] for base in kind.__mro__ if base in ERROR_SPECS),)
