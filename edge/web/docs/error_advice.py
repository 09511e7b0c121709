"""What callers can do about each error code, for the guide."""

from __future__ import annotations

from typing import NamedTuple

from edge.http.errors import CONFLICTS, ERROR_SPECS
from edge.reference.document import OWN_CODES
from shared.text.translation import lazy_gettext

ADVICE = {
    "account_suspended": lazy_gettext("The account is suspended. Contact the operator of this service."),
    "already_sent": lazy_gettext("The form was already submitted. Nothing was done twice."),
    "content_filter": lazy_gettext("The provider blocked the prompt."),
    "context_length_exceeded": lazy_gettext("Shorten the messages, or choose a model with a larger context window."),
    "conversation_changed": lazy_gettext("The stored conversation changed since you read it. Read it again, then save."),
    "credits_held": lazy_gettext("Running calls hold the credits. Wait for `retry-after`."),
    "csrf_failed": lazy_gettext("A call with a session cookie also needs the page's `x-csrf-token`."),
    "daily_allowance_exhausted": lazy_gettext("Today's visitor credits are used up. Sign up to continue."),
    "foreign_origin": lazy_gettext("Pages of other sites need an API key; cookies are refused."),
    "idempotency_in_progress": lazy_gettext("The first call with this `Idempotency-Key` is still running."),
    "idempotency_key_reused": lazy_gettext("A new body needs a new `Idempotency-Key`."),
    "idempotency_key_used": lazy_gettext("The call was already made. The error has its `request_id` and `credits_charged`."),
    "insufficient_credits": lazy_gettext("Add credits or request less. `yout` has the required credits and cheaper models."),
    "insufficient_scope": lazy_gettext(
        "Managing keys and deleting data require a key with `can_manage`; an admin key needs the scope in the message."
    ),
    "internal_error": lazy_gettext("The server failed. Nothing was charged."),
    "invalid_api_key": lazy_gettext("Check the key: it is missing, wrong, revoked or expired."),
    "invalid_request": lazy_gettext("Correct the field that `param` names."),
    "ip_not_allowed": lazy_gettext("The key may not be used from this address."),
    "item_not_found": lazy_gettext("The stored item does not exist."),
    "method_not_allowed": lazy_gettext("The URL does not accept this method."),
    "method_not_implemented": lazy_gettext("The server does not support this method."),
    "model_not_allowed": lazy_gettext("The key or the plan does not include this model."),
    "model_not_found": lazy_gettext("Use an id from `GET /v1/models`."),
    "model_shut_down": lazy_gettext("Use the successor that `yout.successor` names."),
    "no_matching_provider": lazy_gettext("No channel of the model matches the `provider` options."),
    "no_upstream_available": lazy_gettext("No channel serves the model at the moment. Nothing was charged."),
    "not_found": lazy_gettext("The URL or the object does not exist."),
    "plan_required": lazy_gettext("The account's plan does not include this."),
    "retry_of_charged_call": lazy_gettext(
        "The first attempt was cut off and charged. Send a new request, or use `x-yout-safe-retries`."
    ),
    "retry_of_running_call": lazy_gettext("The first attempt is still running. A retry would be charged, too."),
    "role_not_allowed": lazy_gettext("Your role in the account does not allow this. Ask an admin of the account."),
    "member_suspended": lazy_gettext("You are suspended in this account. Ask an admin of the account."),
    "previous_response_not_found": lazy_gettext("The stored response does not exist."),
    "purge_in_progress": lazy_gettext("Nothing can be stored or shared until the purge is done."),
    "rate_limit_exceeded": lazy_gettext("Wait for `retry-after`, at most 60 seconds."),
    "request_too_large": lazy_gettext("Send a smaller body."),
    "service_unavailable": lazy_gettext("Wait for `retry-after`. Nothing was charged."),
    "settlement_pending": lazy_gettext("The answer is complete, but its charge is not recorded yet. Do not repeat the request."),
    "sign_in_required": lazy_gettext("The session has ended. Sign in again."),
    "too_many_abandoned_calls": lazy_gettext("Your client closed too many calls before their answers began. Raise its timeout."),
    "unpriced_parameter": lazy_gettext("The model's price does not cover what `param` may cost. Omit it."),
    "unsupported_content_encoding": lazy_gettext("Use an encoding that the response's `Accept-Encoding` header lists, or none."),
    "unsupported_parameter": lazy_gettext("No channel of the model supports the field that `param` names."),
    "upgrade_required": lazy_gettext("Use HTTP. WebSockets are not supported."),
    "upstream_error": lazy_gettext("The provider failed. Nothing was charged, and the call can be repeated."),
    "upstream_timeout": lazy_gettext("The provider did not answer in time. Nothing was charged, and the call can be repeated."),
}


# Codes of HTTP itself, which are not raised by the API.
_HTTP_CODES = ((405, "method_not_allowed"), (426, "upgrade_required"), (500, "internal_error"), (501, "method_not_implemented"))


class ErrorRow(NamedTuple):
    """An error code with its status. `may_retry` is None if it depends on the error."""

    status: int
    code: str
    may_retry: bool | None
    advice: str


def error_rows() -> list[ErrorRow]:
    """Return all error codes of the API, sorted by status and code."""
    specs = [(spec, (spec.code,) if spec.code else OWN_CODES[kind]) for kind, spec in ERROR_SPECS.items()]
    specs += [(spec, (spec.code,)) for spec in CONFLICTS.values()]
    found = {
        (spec.status, code): ErrorRow(spec.status, code, spec.may_retry, ADVICE.get(code, ""))
        for spec, codes in specs
        for code in codes
    }
    found |= {(status, code): ErrorRow(status, code, None, ADVICE[code]) for status, code in _HTTP_CODES}
    return [found[key] for key in sorted(found)]
