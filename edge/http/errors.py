"""The error table: maps domain errors to HTTP status, type and code, and renders them as JSON bodies and SSE frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from edge.http.content_coding import ACCEPTED
from shared.core import errors


class ErrorSpec(NamedTuple):
    """The status, type and code of an error. `may_retry` is sent as `x-should-retry` unless it is None.

    `retry_after_seconds` is sent as `Retry-After`; every 503 has it.
    """

    status: int
    type: str
    code: str
    may_retry: bool | None = None
    retry_after_seconds: int | None = None


RETRY_AFTER_SECONDS = 5  # roughly the duration of a restart or a database failover

# Looked up along the class's MRO. A code of "" means the error's own `code`.
ERROR_SPECS: dict[type[BaseException], ErrorSpec] = {
    errors.RequestTooLarge: ErrorSpec(413, "invalid_request_error", "request_too_large"),
    errors.UnsupportedContentCoding: ErrorSpec(415, "invalid_request_error", "unsupported_content_encoding"),
    errors.InvalidRequest: ErrorSpec(400, "invalid_request_error", ""),
    errors.UpstreamRejected: ErrorSpec(400, "invalid_request_error", ""),
    errors.InvalidSession: ErrorSpec(401, "authentication_error", "sign_in_required", may_retry=False),
    errors.InvalidApiKey: ErrorSpec(401, "authentication_error", "invalid_api_key", may_retry=False),
    errors.InsufficientCredits: ErrorSpec(402, "insufficient_credits", "insufficient_credits", may_retry=False),
    errors.CreditsHeld: ErrorSpec(429, "rate_limit_error", "credits_held"),
    errors.AccessDenied: ErrorSpec(403, "permission_error", "", may_retry=False),
    errors.ModelShutDown: ErrorSpec(404, "invalid_request_error", "model_shut_down", may_retry=False),
    errors.ModelNotFound: ErrorSpec(404, "invalid_request_error", "model_not_found", may_retry=False),
    errors.NotFound: ErrorSpec(404, "invalid_request_error", "not_found", may_retry=False),
    errors.PurgeRunning: ErrorSpec(409, "invalid_request_error", "purge_in_progress", may_retry=False),
    errors.ConversationChanged: ErrorSpec(409, "invalid_request_error", "conversation_changed", may_retry=False),
    errors.IdempotencyKeyReused: ErrorSpec(409, "invalid_request_error", "idempotency_key_reused", may_retry=False),
    errors.TooManyAbandonedCalls: ErrorSpec(429, "rate_limit_error", "too_many_abandoned_calls"),
    errors.RateLimited: ErrorSpec(429, "rate_limit_error", "rate_limit_exceeded"),
    errors.AlreadySubmitted: ErrorSpec(409, "invalid_request_error", "already_sent", may_retry=False),
    errors.TooManyAttempts: ErrorSpec(429, "rate_limit_error", "rate_limit_exceeded"),
    errors.DailyAllowanceExhausted: ErrorSpec(429, "rate_limit_error", "daily_allowance_exhausted"),
    errors.UpstreamTimeout: ErrorSpec(504, "upstream_error", "upstream_timeout"),
    errors.UpstreamFailed: ErrorSpec(502, "upstream_error", "upstream_error"),
    errors.NoAvailableChannel: ErrorSpec(503, "upstream_error", "no_upstream_available", retry_after_seconds=RETRY_AFTER_SECONDS),
    errors.SettlementPending: ErrorSpec(
        503, "service_unavailable", "settlement_pending", may_retry=False, retry_after_seconds=RETRY_AFTER_SECONDS
    ),
    errors.Unavailable: ErrorSpec(503, "service_unavailable", "service_unavailable", retry_after_seconds=RETRY_AFTER_SECONDS),
}
INTERNAL = ErrorSpec(500, "server_error", "internal_error")
CONFLICTS = {
    "in_progress": ErrorSpec(409, "invalid_request_error", "idempotency_in_progress", may_retry=False),
    "key_used": ErrorSpec(409, "invalid_request_error", "idempotency_key_used", may_retry=False),
    "key_reused": ErrorSpec(400, "invalid_request_error", "idempotency_key_reused", may_retry=False),
    "retry_of_running": ErrorSpec(409, "invalid_request_error", "retry_of_running_call", may_retry=False),
    "retry_of_charged": ErrorSpec(409, "invalid_request_error", "retry_of_charged_call", may_retry=False),
}


class RenderedError(NamedTuple):
    """A rendered error: HTTP status, headers and JSON body."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def error_spec(error: BaseException) -> ErrorSpec:
    """Return the table entry of `error`. Anything but a domain error is a generic 500."""
    if isinstance(error, errors.IdempotencyConflict):
        return CONFLICTS[error.code]
    for kind in type(error).__mro__:
        found = ERROR_SPECS.get(kind)
        if found is not None:
            return found if found.code else found._replace(code=getattr(error, "code", "invalid_request"))
    return INTERNAL


def is_internal(error: BaseException) -> bool:
    """Return whether `error` is internal: callers get a generic 500, and the cause is logged."""
    return error_spec(error) is INTERNAL


def render_error(error: BaseException, _: str = "") -> RenderedError:
    """Render `error` as an HTTP response in OpenAI's format, which has no field for the request id."""
    spec = error_spec(error)
    return RenderedError(spec.status, error_headers(error, spec), orjson.dumps(error_document(error)))


def error_headers(error: BaseException, spec: ErrorSpec) -> list[tuple[bytes, bytes]]:
    """Return the content type and the retry headers of `error`."""
    headers = [(b"content-type", b"application/json")]
    if spec.may_retry is not None:
        headers.append((b"x-should-retry", b"true" if spec.may_retry else b"false"))
    if isinstance(error, errors.UnsupportedContentCoding):
        headers.append((b"accept-encoding", ACCEPTED.encode()))  # RFC 9110, section 15.5.16
    if spec.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % spec.retry_after_seconds))
    if isinstance(error, errors.TooManyAttempts):
        headers.append((b"retry-after", b"%d" % -(-error.wait_ms // 1000)))
    if isinstance(error, errors.RateLimited | errors.DailyAllowanceExhausted | errors.CreditsHeld):
        headers.append((b"retry-after", b"%d" % -(-error.retry_after_ms // 1000)))
        headers.append((b"retry-after-ms", b"%d" % error.retry_after_ms))
    return headers


def render_stream_error(error: BaseException) -> bytes:
    """Render `error` as the last event of a started stream, which then ends without `[DONE]`."""
    return b"data: " + orjson.dumps({"error": error_document(error)["error"]}) + b"\n\n"


def render_native_error(error: BaseException) -> bytes:
    """Render `error` as the last event of a native stream, with only its code and message."""
    full = error_document(error)["error"]
    return b"data: " + orjson.dumps({"error": {"code": full["code"], "message": full["message"]}}) + b"\n\n"


def error_document(error: BaseException) -> dict[str, Any]:
    """Return `error` in OpenAI's format, with our extra fields under `yout`."""
    spec = error_spec(error)
    message = str(error) if spec is not INTERNAL else "Internal server error. You were not charged."
    param = "model" if isinstance(error, errors.ModelNotFound) else getattr(error, "param", None)
    body = openai_error_body(message, spec.type, spec.code, param)
    extra = _extra(error)
    if extra:
        body["yout"] = extra
    return body


def openai_error_body(message: str, type: str, code: str, param: str | None = None) -> dict[str, Any]:
    """Return the body of an error in OpenAI's format."""
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def _extra(error: BaseException) -> dict[str, Any]:
    if isinstance(error, errors.InsufficientCredits):
        return {
            "required": error.required,
            **({"balance": error.balance} if error.balance is not None else {}),
            **({"max_credits": error.max_credits} if error.max_credits is not None else {}),
            "max_tokens_affordable": error.max_tokens_affordable,
            "cheaper_models": alternatives_document(error.alternatives),
        }
    if isinstance(error, errors.CreditsHeld):
        return {name: getattr(error, name) for name in ("required", "available", "held")}
    if isinstance(error, errors.ModelShutDown):
        return {"successor": error.successor} if error.successor else {}
    if isinstance(error, errors.IdempotencyConflict) and error.call_id is not None:
        extra: dict[str, Any] = {"request_id": request_id(error.call_id)}
        if error.credits_charged is not None:
            extra["credits_charged"] = error.credits_charged
        return extra
    return {}


def alternatives_document(alternatives: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    """Return alternative models in the format of a 402 error and a quote."""
    return [{"id": id, "worst": worst} for id, worst in alternatives]


def request_id(call: UUID) -> str:
    """Return the public id of a call, as in `x-request-id` and the logs."""
    return f"req_{call.hex}"
