"""Renders errors in the format of the Messages API, with our `code` and `param`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from edge.http.errors import RenderedError, error_document, error_headers, error_spec

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_object(error: BaseException) -> dict[str, Any]:
    """Return the `error` object."""
    return _typed(error_spec(error).status, error_document(error)["error"])


def render_error(error: BaseException, request_id: str) -> RenderedError:
    """Render `error` as a complete response."""
    spec = error_spec(error)
    openai_body = error_document(error)
    body = error_body(spec.status, openai_body["error"], request_id)
    if "yout" in openai_body:
        body["yout"] = openai_body["yout"]
    return RenderedError(spec.status, error_headers(error, spec), orjson.dumps(body))


def error_body(status: int, openai_error: Mapping[str, Any], request_id: str) -> dict[str, Any]:
    """Convert an error object in OpenAI's format to a body of the Messages API."""
    return {"type": "error", "error": _typed(status, openai_error), "request_id": request_id}


def _typed(status: int, openai_error: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": _TYPES.get(status, "api_error"), **{name: openai_error[name] for name in ("message", "code", "param")}}
