"""Errors as the Messages API tells them: its types by status, our code and field beside its message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from edge.http.errors import Problem, document, face, own_headers

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
    """What stands under `error`."""
    return _typed(face(error).status, document(error)["error"])


def problem(error: BaseException, request_id: str) -> Problem:
    """`error` as a whole answer."""
    look = face(error)
    told = document(error)
    body = plain_body(look.status, told["error"], request_id)
    if "yout" in told:
        body["yout"] = told["yout"]
    return Problem(look.status, own_headers(error, look), orjson.dumps(body))


def plain_body(status: int, told: Mapping[str, Any], request_id: str) -> dict[str, Any]:
    """The body for an error that was told in OpenAI's shape."""
    return {"type": "error", "error": _typed(status, told), "request_id": request_id}


def _typed(status: int, told: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": _TYPES.get(status, "api_error"), **{name: told[name] for name in ("message", "code", "param")}}
