"""All domain errors, independent of HTTP.

    YoutError
    ├── SettingsError          a setting is invalid or unsafe; the process must not start
    ├── SchemaMismatch         the database schema does not match this version of the code
    ├── InvalidInput           an invalid value, entered by a member, staff or an operator
    ├── NotFound               no such row, or it belongs to another account
    ├── LedgerBroken           ledger entries are not those that were written, so a purge must not replace them
    ├── AlreadySent            the form was already submitted
    ├── TooManyAttempts        too many password, code or sign-up attempts
    ├── OutboundRefused        requests to a user-supplied address are not allowed
    ├── OutboundFailed         a user-supplied address failed or sent an invalid response
    │   └── OutboundTimeout
    ├── RequestRefused         the request must be changed, or sent later
    │   ├── InvalidRequest         malformed or out of range; names the field
    │   │   ├── RequestTooLarge
    │   │   └── UnsupportedContentCoding
    │   ├── InvalidKey             missing, unknown, expired or revoked API key
    │   │   └── InvalidSession         missing, unknown or ended web session
    │   ├── AccessDenied           not allowed for this key, plan or account
    │   ├── ModelNotFound
    │   │   └── ModelShutDown          a deprecated name, after its shutdown
    │   ├── InsufficientCredits    the pool cannot cover the call
    │   ├── CreditsHeld            the pool can cover the call once other calls release their holds
    │   ├── RateLimited            too many requests, tokens or concurrent requests
    │   │   ├── TooManyInvalidKeys     too many invalid keys from one network
    │   │   └── TooManyAbandonedCalls  a payer keeps disconnecting before an answer
    │   ├── DailyAllowanceExhausted  the daily credits of a visitor, or of all visitors, are used up
    │   ├── IdempotencyConflict    the key's first call is running or done, or had another body
    │   ├── PurgeRunning           the account is being purged: nothing can be stored
    │   └── UpstreamRejected       the provider refused the request itself
    └── Unavailable            the request is valid but cannot be served now
        ├── DatabaseUnavailable
        ├── StorageUnavailable     where media outputs are stored
        ├── QueueUnavailable       Redis did not accept a job's message
        ├── Busy                   too many people are signing in right now
        ├── Stopping               the process is shutting down
        ├── SettlementPending      the answer is complete, but its charge is not recorded yet
        ├── NoUpstream             the model has no available channel
        ├── UpstreamFailed         every attempt failed
        └── UpstreamTimeout        no answer in time

`edge/http/errors.py` maps each to its status, type and code.
"""

from __future__ import annotations

from uuid import UUID

from shared.core.billing_periods import format_timestamp
from shared.core.token_bucket import MAX_RETRY_AFTER_MS, RateLimitState
from shared.text.plain_text import truncate
from shared.text.translation import lazy_gettext, lazy_ngettext


class YoutError(Exception):
    """Base class of all errors that this project raises on purpose. `str(error)` can be shown to the user.

    `standing` is the caller's rate limit state, if it was known when the request was refused.
    """

    rate_limit_state: RateLimitState | None = None


class SettingsError(YoutError):
    """An invalid or unsafe setting. The message is one line that says what to change."""


class SchemaMismatch(YoutError):
    """The database schema is older or newer than the code."""


class InvalidInput(YoutError):
    """An invalid value entered by a member, staff or an operator. The message says what to do."""


class NotFound(YoutError):
    """No such row, or it belongs to another account. The caller must not be able to tell which."""


class LedgerBroken(YoutError):
    """Ledger entries are not those that were written. The message names the first such entry."""


class AlreadySubmitted(YoutError):
    """The form was already submitted. `id` and `result` are the first submission's; `same` means with the same content."""

    def __init__(self, id: str, result: str, *, same: bool) -> None:
        super().__init__(
            lazy_gettext("This form was submitted twice. Only the first submission counts.")
            if same
            else lazy_gettext("This form was already used. Reload the page and fill it in again.")
        )
        self.id = id
        self.result = result
        self.same_content = same


class TooManyAttempts(YoutError):
    """Too many password, code or sign-up attempts. The next one is allowed after `wait_ms`."""

    def __init__(self, wait_ms: int) -> None:
        minutes = -(-wait_ms // 60_000)
        super().__init__(
            lazy_ngettext(
                "Too many attempts. Try again in {count} minute.", "Too many attempts. Try again in {count} minutes.", minutes
            )
        )
        self.wait_ms = wait_ms


class SignInFailed(YoutError):
    """A sign-in through an OpenID provider failed or was refused. The message says why."""


class OutboundRefused(YoutError):
    """Requests to this user-supplied address are not allowed. Retrying does not help. The message omits the address."""


class OutboundFailed(YoutError):
    """A user-supplied address failed or sent an invalid response. Retrying may help. The message omits the address."""

    def __init__(self, message: str = "The address could not be reached, or the connection was lost.") -> None:
        super().__init__(message)


class OutboundTimeout(OutboundFailed):
    """A user-supplied address did not respond in time."""

    def __init__(self) -> None:
        super().__init__(lazy_gettext("The address did not respond in time."))


class OutboundTooLarge(OutboundFailed):
    """The response of a user-supplied address exceeds the size limit."""


class RequestRefused(YoutError):
    """The request is refused. Nothing was charged."""


class InvalidRequest(RequestRefused):
    """A malformed body, or a field that is missing, of the wrong type or out of range. `param` is the field."""

    def __init__(self, message: str, param: str | None = None, code: str = "invalid_request") -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class RequestTooLarge(InvalidRequest):
    """The body exceeds `max_body_bytes`."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            lazy_gettext("The request body is larger than {maximum} bytes.", maximum=limit_bytes),
            code="request_too_large",
        )


class UnsupportedContentCoding(InvalidRequest):
    """The body has an unsupported `Content-Encoding`."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "Content-Encoding", code="unsupported_content_encoding")


class InvalidApiKey(RequestRefused):
    """Missing, unknown, expired or revoked API key. The message does not reveal which."""

    def __init__(self) -> None:
        super().__init__(
            lazy_gettext("Incorrect API key provided. Find or create your key in your account, and send it as a bearer token.")
        )


class InvalidAdminKey(InvalidApiKey):
    """Missing, unknown, expired or revoked admin key. The message does not reveal which."""

    def __init__(self) -> None:
        RequestRefused.__init__(
            self,
            "Incorrect admin key provided. Send a key of `yout admin-key create`, which begins with 'yout-admin-', as a bearer"
            " token.",
        )


class InvalidSession(InvalidApiKey):
    """Missing, unknown, expired or revoked session. The message does not reveal which."""

    def __init__(self) -> None:
        message = "You are not signed in, or your session has ended. Sign in, or send an API key as a bearer token."
        RequestRefused.__init__(self, message)


class AccessDenied(RequestRefused):
    """This key, plan or account is not allowed to do this. `code` identifies the rule."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class ModelNotFound(RequestRefused):
    """Unknown, inactive or unpriced model."""

    def __init__(self, model: str) -> None:
        shown = truncate(model, 101, "…")
        super().__init__(
            lazy_gettext(
                "The model '{model}' does not exist or you do not have access to it. GET /v1/models lists yours.", model=shown
            )
        )


class ModelShutDown(ModelNotFound):
    """A model or an alias, after its shutdown at `shutdown_at` (milliseconds UTC).

    `successor` is the name to use instead; "" if there is none.
    """

    def __init__(self, name: str, shutdown_at: int, successor: str) -> None:
        values = {"model": truncate(name, 101, "…"), "day": format_timestamp(shutdown_at)[:10], "successor": successor}
        message = (
            lazy_gettext("The model '{model}' was shut down on {day}. Use '{successor}' instead.", **values)
            if successor
            else lazy_gettext("The model '{model}' was shut down on {day}.", **values)
        )
        RequestRefused.__init__(self, message)
        self.successor = successor


class InsufficientCredits(RequestRefused):
    """The credit pool (or the caller's own cap) cannot cover the call. All amounts are in credits.

    required               the call's minimum
    balance                the account's balance; None if it was not read, because `max_credits` refused the call
    max_credits            the caller's own limit, if that refused the call
    available              available to the call: `max_credits`, or else `balance` less `held`, unless given
    held                   reserved by running calls, part of `balance`
    max_tokens_affordable  output tokens that the free credits can pay for, after the input
    alternatives           models that can serve the call for the free credits, with the maximum cost at each
    """

    alternatives: tuple[tuple[str, int], ...] = ()

    def __init__(
        self,
        *,
        required: int,
        balance: int | None = None,
        held: int = 0,
        max_tokens_affordable: int = 0,
        message: str = "",
        free: int | None = None,
        max_credits: int | None = None,
    ) -> None:
        available = max_credits if max_credits is not None else (balance or 0) - held
        left = f"{available} are available" + (f" ({held} are held by running calls)" if held else "")
        super().__init__(
            message
            or lazy_gettext(
                "This call needs at least {required} credits; {left}. Add credits or lower max_tokens.",
                required=required,
                left=left,
            )
        )
        self.required = required
        self.available = available if free is None else free
        self.balance = balance
        self.max_credits = max_credits
        self.max_tokens_affordable = max_tokens_affordable


class CreditsHeld(RequestRefused):
    """The pool covers the call, but running calls hold the credits. Amounts are in credits.

    required   what the call would hold
    available  what it can hold now
    held       what running calls hold of the rest

    A retry after `retry_after_ms` may succeed.
    """

    def __init__(self, *, required: int, available: int, held: int) -> None:
        super().__init__(
            lazy_gettext(
                "This call needs {required} credits; {available} are available, and running calls hold {held} more."
                " Try again shortly.",
                required=required,
                available=available,
                held=held,
            )
        )
        self.required = required
        self.available = available
        self.held = held
        self.retry_after_ms = 1_000


class RateLimited(RequestRefused):
    """A limit on requests, tokens or concurrent requests is reached. `retry_after_ms` is at most 60,000."""

    def __init__(self, what: str, limit: int, retry_after_ms: int, standing: RateLimitState | None = None) -> None:
        seconds = f"{retry_after_ms / 1000:.3g}"
        super().__init__(
            lazy_gettext(
                "Rate limit reached: {limit} {what}. Try again in {seconds} s.",
                limit=limit,
                what=what,
                seconds=seconds,
            )
        )
        self.limit_name = what
        self.rate_limit_state = standing
        self.retry_after_ms = retry_after_ms


class TooManyInvalidKeys(RateLimited):
    """Too many invalid keys came from the caller's network. Valid keys still work."""

    def __init__(self, retry_after_ms: int) -> None:
        RequestRefused.__init__(
            self,
            "Too many requests with an invalid API key came from your network. Check your key; valid keys still work."
            f" Try again in {retry_after_ms / 1000:.3g} s.",
        )
        self.limit_name = "refused keys"
        self.retry_after_ms = retry_after_ms


class TooManyAbandonedCalls(RateLimited):
    """The caller disconnected from too many calls before any output was delivered."""

    def __init__(self, retry_after_ms: int) -> None:
        RequestRefused.__init__(
            self,
            "Too many of your calls were abandoned before their answer began. Wait for answers, or raise your client's timeout."
            f" Try again in {retry_after_ms / 1000:.3g} s.",
        )
        self.limit_name = "abandoned calls"
        self.retry_after_ms = retry_after_ms


class DailyAllowanceExhausted(RequestRefused):
    """A visitor's daily allowance, or the pool of all visitors, is used up. Times in milliseconds UTC.

    `retry_after_ms` is the time until `resets_at`, limited to `MAX_RETRY_AFTER_MS`.
    """

    def __init__(self, allowance: str, resets_at: int, now: int) -> None:
        super().__init__(
            lazy_gettext(
                "{allowance} cannot cover this call. It resets at {time}. Sign up to continue now.",
                allowance=allowance,
                time=format_timestamp(resets_at),
            )
        )
        self.resets_at = resets_at
        self.retry_after_ms = min(MAX_RETRY_AFTER_MS, max(1, resets_at - now))


class IdempotencyKeyReused(RequestRefused):
    """A request of the administration API has the `Idempotency-Key` of another one."""

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used for another request. Use a new key for a new request.")


class IdempotencyConflict(RequestRefused):
    """The key's first call is running (`in_progress`) or done (`key_used`), or had another body (`key_reused`).

    Without a key: the call that a client library repeats is running (`retry_of_running`), or was cut off and charged
    (`retry_of_charged`).
    """

    MESSAGES = {
        "in_progress": "A request with this Idempotency-Key is still running.",
        "key_used": "This Idempotency-Key was already used. Its response is not stored; see 'yout' for the first call's id.",
        "key_reused": "This Idempotency-Key was used with a different request body. Use a new key for a new request.",
        "retry_of_running": "The request that this one retries is still running. It would be charged twice.",
        "retry_of_charged": "The request that this one retries was charged; see 'yout'. Its response is not stored. Send a new"
        " request to pay for another one. With 'x-yout-safe-retries: true', a retry receives the first response.",
    }

    def __init__(self, kind: str, call_id: UUID | None = None, credits_charged: int | None = None) -> None:
        super().__init__(self.MESSAGES[kind])
        self.code = kind
        self.call_id = call_id
        self.credits_charged = credits_charged


class PurgeRunning(RequestRefused):
    """The account is being purged: nothing new can be stored or shared until the purge is done."""

    def __init__(self) -> None:
        super().__init__(lazy_gettext("This account is being purged. Nothing can be stored or shared until the purge is done."))


class ConversationChanged(RequestRefused):
    """A stored conversation was changed since the caller read it."""

    def __init__(self) -> None:
        super().__init__(
            "This conversation was changed since you read it. Retrieve it, and send your changes with its 'updated'."
        )


class UpstreamRejected(RequestRefused):
    """The provider refused the request itself (context too long, invalid image). The message has no secrets or provider names."""

    def __init__(self, message: str, param: str | None, code: str | None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code or "invalid_request"


class Unavailable(YoutError):
    """The request is valid but cannot be served now. Nothing was charged."""


class DatabaseUnavailable(Unavailable):
    """The database did not respond."""

    def __init__(self) -> None:
        super().__init__(lazy_gettext("The service cannot reach its database. Nothing was charged; try again shortly."))


class StorageUnavailable(Unavailable):
    """The media storage did not respond, or refused access."""

    def __init__(self) -> None:
        super().__init__(lazy_gettext("The service cannot reach its media storage. Try again shortly."))


class QueueUnavailable(Unavailable):
    """Redis did not accept a job's message. The job was undone."""

    def __init__(self) -> None:
        super().__init__(
            lazy_gettext("The service cannot accept new jobs at the moment. Nothing was charged; try again shortly.")
        )


class Overloaded(Unavailable):
    """Too many request bytes are being received, in total or from the caller's address."""

    def __init__(self) -> None:
        super().__init__(lazy_gettext("The server is receiving too much data right now. Nothing was charged; try again shortly."))


class NoAvailableChannel(Unavailable):
    """The model has no available channel."""

    def __init__(self) -> None:
        super().__init__(lazy_gettext("This model is temporarily unavailable. Nothing was charged; try again shortly."))


class UpstreamFailed(Unavailable):
    """Every attempt on every channel failed, or the upstream stopped mid-answer."""

    def __init__(self, message: str = "The model failed to respond.") -> None:
        super().__init__(message)


class UpstreamTimeout(UpstreamFailed):
    """The upstream did not respond in time."""

    def __init__(self, message: str = "The model did not respond in time.") -> None:
        super().__init__(message)


class SignInQueueFull(Unavailable):
    """The queue of passwords to check is full."""

    def __init__(self) -> None:
        super().__init__(lazy_gettext("Too many people are signing in right now. Try again in a few seconds."))


class OpenIdUnavailable(Unavailable):
    """The OpenID provider did not respond, or not as the specification requires."""

    def __init__(self) -> None:
        super().__init__(lazy_gettext("The identity provider is not responding. Try again in a minute."))


class ServerStopping(Unavailable):
    """The process is shutting down, and the call did not finish within the time to drain."""

    def __init__(self) -> None:
        super().__init__(lazy_gettext("The server is restarting and had to stop this call. Send it again."))


class SettlementPending(Unavailable):
    """The answer is complete, but the call had to end before its charge was recorded. A retry could be charged twice."""

    def __init__(self) -> None:
        super().__init__(
            lazy_gettext(
                "The answer is complete, but its charge is not recorded yet."
                " Do not retry: the credits will be charged or released."
            )
        )
