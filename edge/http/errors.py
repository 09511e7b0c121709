"""The error table: what each domain error looks like over HTTP, as a JSON body and as an SSE frame. The only place for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from edge.http.content_coding import ACCEPTED
from shared.core import errors


class Face(NamedTuple):
    """The status, type and code of an error. `may_retry` None leaves the decision to the client.

    `retry_after_seconds` is sent as `Retry-After`; every 503 has it.
    """

    status: int
    type: str
    code: str
    may_retry: bool | None = None
    retry_after_seconds: int | None = None


RETRY_AFTER_SECONDS = 5  # default: about the time that a restart or a failover takes

# Looked up along the class's MRO; a code of "" is the error's own `code`.
FACES: dict[type[BaseException], Face] = {
    errors.RequestTooLarge: Face(413, "invalid_request_error", "request_too_large"),
    errors.UnsupportedContentCoding: Face(415, "invalid_request_error", "unsupported_content_encoding"),
    errors.InvalidRequest: Face(400, "invalid_request_error", ""),
    errors.UpstreamRejected: Face(400, "invalid_request_error", ""),
    errors.InvalidKey: Face(401, "authentication_error", "invalid_api_key", may_retry=False),
    errors.InsufficientCredits: Face(402, "insufficient_credits", "insufficient_credits", may_retry=False),
    errors.AccessDenied: Face(403, "permission_error", "", may_retry=False),
    errors.ModelNotFound: Face(404, "invalid_request_error", "model_not_found", may_retry=False),
    errors.NotFound: Face(404, "invalid_request_error", "not_found", may_retry=False),
    errors.PurgeRunning: Face(409, "invalid_request_error", "purge_in_progress", may_retry=False),
    errors.TooManyAbandonedCalls: Face(429, "rate_limit_error", "too_many_abandoned_calls"),
    errors.RateLimited: Face(429, "rate_limit_error", "rate_limit_exceeded"),
    errors.AlreadySent: Face(409, "invalid_request_error", "already_sent", may_retry=False),
    errors.TooManyAttempts: Face(429, "rate_limit_error", "rate_limit_exceeded"),
    errors.DailyAllowanceExhausted: Face(429, "rate_limit_error", "daily_allowance_exhausted"),
    errors.UpstreamTimeout: Face(504, "upstream_error", "upstream_timeout"),
    errors.UpstreamFailed: Face(502, "upstream_error", "upstream_error"),
    errors.NoUpstream: Face(503, "upstream_error", "no_upstream_available", retry_after_seconds=RETRY_AFTER_SECONDS),
    errors.SettlementPending: Face(
        503, "service_unavailable", "settlement_pending", may_retry=False, retry_after_seconds=RETRY_AFTER_SECONDS
    ),
    errors.Unavailable: Face(503, "service_unavailable", "service_unavailable", retry_after_seconds=RETRY_AFTER_SECONDS),
}
INTERNAL = Face(500, "server_error", "internal_error")
CONFLICTS = {
    "in_progress": Face(409, "invalid_request_error", "idempotency_in_progress", may_retry=False),
    "key_used": Face(409, "invalid_request_error", "idempotency_key_used", may_retry=False),
    "key_reused": Face(400, "invalid_request_error", "idempotency_key_reused", may_retry=False),
}


class Problem(NamedTuple):
    """A rendered error: HTTP status, headers of its own, and the JSON body."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def face(error: BaseException) -> Face:
    """The face of `error`; anything that is no domain error is a 500 that tells nothing."""
    if isinstance(error, errors.IdempotencyConflict):
        return CONFLICTS[error.kind]
    for kind in type(error).__mro__:
        found = FACES.get(kind)
        if found is not None:
            return found if found.code else found._replace(code=getattr(error, "code", "invalid_request"))
    return INTERNAL


def is_internal(error: BaseException) -> bool:
    """Whether `error` is an internal error: callers get a 500, and the reason is logged."""
    return face(error) is INTERNAL


def render(error: BaseException, _: str = "") -> Problem:
    """`error` as a whole HTTP answer in OpenAI's shape, which has no place for the request's id."""
    look = face(error)
    return Problem(look.status, own_headers(error, look), orjson.dumps(document(error)))


def own_headers(error: BaseException, look: Face) -> list[tuple[bytes, bytes]]:
    """The headers that tell a client what to do after `error`."""
    headers = [(b"content-type", b"application/json")]
    if look.may_retry is not None:
        headers.append((b"x-should-retry", b"true" if look.may_retry else b"false"))
    if isinstance(error, errors.UnsupportedContentCoding):
        headers.append((b"accept-encoding", ACCEPTED.encode()))  # RFC 9110, section 15.5.16
    if look.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % look.retry_after_seconds))
    if isinstance(error, errors.TooManyAttempts):
        headers.append((b"retry-after", b"%d" % -(-error.wait_ms // 1000)))
    if isinstance(error, errors.RateLimited | errors.DailyAllowanceExhausted):
        headers.append((b"retry-after", b"%d" % -(-error.retry_after_ms // 1000)))
        headers.append((b"retry-after-ms", b"%d" % error.retry_after_ms))
    return headers


def render_frame(error: BaseException) -> bytes:
    """`error` as the last event of a stream that has begun. The stream ends after it without `[DONE]`."""
    return b"data: " + orjson.dumps({"error": document(error)["error"]}) + b"\n\n"


def render_event(error: BaseException) -> bytes:
    """`error` as the last event of a native stream: its code and message alone."""
    told = document(error)["error"]
    return b"data: " + orjson.dumps({"error": {"code": told["code"], "message": told["message"]}}) + b"\n\n"


def document(error: BaseException) -> dict[str, Any]:
    """`error` in OpenAI's shape: what it says, and under `yout` what only we know."""
    look = face(error)
    message = str(error) if look is not INTERNAL else "The server had an error. Nothing was charged."
    param = "model" if isinstance(error, errors.ModelNotFound) else getattr(error, "param", None)
    told: dict[str, Any] = {"error": {"message": message, "type": look.type, "param": param, "code": look.code}}
    extra = _extra(error)
    if extra:
        told["yout"] = extra
    return told


def _extra(error: BaseException) -> dict[str, Any]:
    if isinstance(error, errors.InsufficientCredits):
        return {
            "required": error.required,
            "balance": error.balance,
            "max_tokens_affordable": error.max_tokens_affordable,
            "cheaper_models": cheaper_document(error.cheaper),
        }
    if isinstance(error, errors.IdempotencyConflict) and error.call_id is not None:
        extra: dict[str, Any] = {"request_id": request_id(error.call_id)}
        if error.credits_charged is not None:
            extra["credits_charged"] = error.credits_charged
        return extra
    return {}


def cheaper_document(cheaper: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    """Models that would do for a call, as a 402 and a quote tell them."""
    return [{"id": id, "worst": worst} for id, worst in cheaper]


def request_id(call: UUID) -> str:
    """The public name of a call: what `x-request-id`, support, ledger and logs know it by."""
    return f"req_{call.hex}"
