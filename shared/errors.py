"""All domain errors, independent of HTTP.

    YoutError
    ├── SettingsError          an invalid or dangerous setting; the process must not start
    ├── SchemaMismatch         the database is not at the schema this code knows
    ├── InvalidInput           an invalid value typed by staff or an operator
    ├── NotFound               no such row, or it belongs to another account
    ├── AlreadySent            a form was sent before; it takes effect once
    ├── TooManyAttempts        too many passwords, codes or sign-ups were tried
    ├── OutboundRefused        a user-supplied address that requests must not go to
    ├── OutboundFailed         such an address failed or sent an unusable answer
    │   └── OutboundTimeout
    ├── RequestRefused         the caller's request cannot be served as it is
    │   ├── InvalidRequest         malformed or out of range; names the field
    │   │   ├── RequestTooLarge
    │   │   └── UnsupportedContentCoding
    │   ├── InvalidKey             no, unknown, expired or revoked key, all alike
    │   │   └── InvalidSession         no web session, or one that has ended
    │   ├── AccessDenied           key, plan or account does not cover this
    │   ├── ModelNotFound
    │   ├── InsufficientCredits    the pool cannot cover the call
    │   ├── RateLimited            requests, tokens or concurrency
    │   │   ├── TooManyRefusedKeys     too many invalid keys from one network
    │   │   └── TooManyAbandonedCalls  a payer disconnects again and again before an answer
    │   ├── DailyAllowanceExhausted  a visitor, or all of them, used up the day's credits
    │   ├── IdempotencyConflict    the same key is running, was used, or had another body
    │   ├── PurgeRunning           the account is being emptied: nothing can be stored
    │   └── UpstreamRejected       the provider refused the request itself
    └── Unavailable            the request is fine, we cannot serve it now
        ├── DatabaseUnavailable
        ├── StorageUnavailable     the store of media outputs
        ├── QueueUnavailable       Redis did not take the message that a job needs
        ├── Busy                   too many people are signing in right now
        ├── Stopping               the process ends before the call does
        ├── SettlementPending      the answer is complete, but its charge is not recorded yet
        ├── NoUpstream             no channel of the model is in service
        ├── UpstreamFailed         every attempt failed
        └── UpstreamTimeout        no answer in time

`edge/errors.py` gives each its status, type and code.
"""

from __future__ import annotations

from uuid import UUID

from shared.limits import LONGEST_RETRY_MS, Standing
from shared.periods import moment_text
from shared.text import cut


class YoutError(Exception):
    """Root of all errors that this project raises on purpose. `str(error)` is fit for the person concerned.

    `standing` is where the caller stands with its rate limits, for a request that was refused when that was known already.
    """

    standing: Standing | None = None


class SettingsError(YoutError):
    """A wrong or dangerous setting. The message is one line that says what to change."""


class SchemaMismatch(YoutError):
    """The database's schema is older or newer than the code."""


class InvalidInput(YoutError):
    """A value typed by staff or an operator that cannot be used; the message says what to do."""


class NotFound(YoutError):
    """No such row, or one that belongs to somebody else: the two are told alike."""


class AlreadySent(YoutError):
    """The form was already submitted. `id` and `result` are those of the first submission; `same`: it had the same content."""

    def __init__(self, id: str, result: str, *, same: bool) -> None:
        super().__init__(
            "This form was submitted twice. It took effect once."
            if same
            else "This form was already used. Reload the page and fill it in again."
        )
        self.id = id
        self.result = result
        self.same = same


class TooManyAttempts(YoutError):
    """Too many passwords, codes or sign-ups were tried; `wait_ms` until the next attempt may begin."""

    def __init__(self, wait_ms: int) -> None:
        minutes = -(-wait_ms // 60_000)
        super().__init__(f"Too many attempts. Try again in {minutes} minute{'s' if minutes > 1 else ''}.")
        self.wait_ms = wait_ms


class OutboundRefused(YoutError):
    """An address that a provider or customer gave must not be sought; trying again is no use. The message names no address."""


class OutboundFailed(YoutError):
    """Such an address gave no answer that can be used; trying again may help. The message names no address."""

    def __init__(self, message: str = "The address could not be reached, or broke off.") -> None:
        super().__init__(message)


class OutboundTimeout(OutboundFailed):
    """Such an address did not answer in time."""

    def __init__(self) -> None:
        super().__init__("The address did not answer in time.")


class RequestRefused(YoutError):
    """The caller's request cannot be served as it is. Nothing was charged."""


class InvalidRequest(RequestRefused):
    """A malformed body, or a field that is missing, mistyped or out of range."""

    def __init__(self, message: str, param: str | None = None, code: str = "invalid_request") -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class RequestTooLarge(InvalidRequest):
    """The body is over `max_body_bytes`."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"The request body is larger than {limit_bytes} bytes.", code="request_too_large")


class UnsupportedContentCoding(InvalidRequest):
    """The body has an unsupported `Content-Encoding`."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "Content-Encoding", code="unsupported_content_encoding")


class InvalidKey(RequestRefused):
    """No, unknown, expired or revoked key: never said which."""

    def __init__(self) -> None:
        super().__init__("Incorrect API key provided. Create or check your key in your account, and send it as a bearer token.")


class InvalidSession(InvalidKey):
    """No session, or one that has ended: expired, revoked or unknown, all alike."""

    def __init__(self) -> None:
        words = "You are not signed in, or your session has ended. Sign in, or send an API key as a bearer token."
        RequestRefused.__init__(self, words)


class AccessDenied(RequestRefused):
    """The key, plan or account does not cover this. `code` says which rule."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class ModelNotFound(RequestRefused):
    """Unknown, inactive or unpriced model."""

    def __init__(self, model: str) -> None:
        shown = cut(model, 101, "…")
        super().__init__(f"The model '{shown}' does not exist or is not available to this key. GET /v1/models lists yours.")


class InsufficientCredits(RequestRefused):
    """The pool (or the caller's own cap) cannot cover the call. All amounts in credits.

    `held` is what running calls have reserved of `balance`; `max_tokens_affordable` is how many output tokens the free rest
    would buy after the input is paid. `free` is what a call could take, where that is not `balance` less `held`. `cheaper` are
    models that would do for it, each with what the call could cost there at most.
    """

    cheaper: tuple[tuple[str, int], ...] = ()

    def __init__(
        self,
        *,
        required: int,
        balance: int,
        held: int = 0,
        max_tokens_affordable: int = 0,
        message: str = "",
        free: int | None = None,
    ) -> None:
        left = f"{balance - held} are free" + (f" ({held} are held by running calls)" if held else "")
        super().__init__(message or f"This call needs at least {required} credits and {left}. Add credits, or ask for less.")
        self.required = required
        self.free = balance - held if free is None else free
        self.balance = balance
        self.max_tokens_affordable = max_tokens_affordable


class RateLimited(RequestRefused):
    """A request, token or concurrency limit is reached. `retry_after_ms` is 60,000 at most."""

    def __init__(self, what: str, limit: int, retry_after_ms: int, standing: Standing | None = None) -> None:
        super().__init__(f"Rate limit reached: {limit} {what}. Try again in {retry_after_ms / 1000:.3g} s.")
        self.what = what
        self.standing = standing
        self.retry_after_ms = retry_after_ms


class TooManyRefusedKeys(RateLimited):
    """The caller's network sent too many invalid keys. Valid keys from there still work."""

    def __init__(self, retry_after_ms: int) -> None:
        RequestRefused.__init__(
            self,
            "Too many requests with an invalid API key came from your network. Check your key; valid keys still work."
            f" Try again in {retry_after_ms / 1000:.3g} s.",
        )
        self.what = "refused keys"
        self.retry_after_ms = retry_after_ms


class TooManyAbandonedCalls(RateLimited):
    """The caller disconnected from too many calls before anything was delivered."""

    def __init__(self, retry_after_ms: int) -> None:
        RequestRefused.__init__(
            self,
            "Too many of your calls were abandoned before their answer began. Wait for answers, or raise your client's timeout."
            f" Try again in {retry_after_ms / 1000:.3g} s.",
        )
        self.what = "abandoned calls"
        self.retry_after_ms = retry_after_ms


class DailyAllowanceExhausted(RequestRefused):
    """A visitor's daily allowance, or the pool of all visitors, is used up. Times in milliseconds UTC.

    `retry_after_ms` is the time until `resets_at`, but never more than the longest that a client is told to wait.
    """

    def __init__(self, whose: str, resets_at: int, now: int) -> None:
        super().__init__(
            f"{whose} cannot cover this call. The next day's credits come at {moment_text(resets_at)}; with an account you can go"
            " on now."
        )
        self.resets_at = resets_at
        self.retry_after_ms = min(LONGEST_RETRY_MS, max(1, resets_at - now))


class IdempotencyConflict(RequestRefused):
    """The idempotency key is running (`in_progress`), was used (`key_used`) or came with another body (`key_reused`)."""

    MESSAGES = {
        "in_progress": "A request with this Idempotency-Key is still running.",
        "key_used": "This Idempotency-Key was used. Its answer is not kept; the first call's id and charge are under 'yout'.",
        "key_reused": "This Idempotency-Key was used with another request body. Use a new key for a new request.",
    }

    def __init__(self, kind: str, call_id: UUID | None = None, credits_charged: int | None = None) -> None:
        super().__init__(self.MESSAGES[kind])
        self.kind = kind
        self.call_id = call_id
        self.credits_charged = credits_charged


class PurgeRunning(RequestRefused):
    """The account is being emptied: nothing new can be stored or shared until that is done."""

    def __init__(self) -> None:
        super().__init__("A purge of this account is running. Nothing can be stored or shared until it is done.")


class UpstreamRejected(RequestRefused):
    """The vendor refused the request itself (context too long, bad image). The message is already scrubbed."""

    def __init__(self, message: str, param: str | None, code: str | None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code or "invalid_request"


class Unavailable(YoutError):
    """The request is fine, we cannot serve it now. Nothing was charged."""


class DatabaseUnavailable(Unavailable):
    """The database did not answer."""

    def __init__(self) -> None:
        super().__init__("The service cannot reach its database. Nothing was charged; try again shortly.")


class StorageUnavailable(Unavailable):
    """The store of media outputs did not answer, or refused us."""

    def __init__(self) -> None:
        super().__init__("The service cannot reach its media storage. Try again shortly.")


class QueueUnavailable(Unavailable):
    """Redis did not take a message. What it was about was undone."""

    def __init__(self) -> None:
        super().__init__("The service cannot take new jobs at the moment. Nothing was charged; try again shortly.")


class Overloaded(Unavailable):
    """The limit on request bytes being received is reached, in total or for the caller's address."""

    def __init__(self) -> None:
        super().__init__("The server is receiving too much data right now. Nothing was charged; try again shortly.")


class NoUpstream(Unavailable):
    """No channel of the model is in service."""

    def __init__(self) -> None:
        super().__init__("No upstream for this model is available at the moment. Nothing was charged.")


class UpstreamFailed(Unavailable):
    """Every attempt at every channel failed, or a running answer broke off."""

    def __init__(self, message: str = "The upstream failed to answer.") -> None:
        super().__init__(message)


class UpstreamTimeout(UpstreamFailed):
    """The upstream gave no answer in time."""

    def __init__(self, message: str = "The upstream did not answer in time.") -> None:
        super().__init__(message)


class Busy(Unavailable):
    """Too many passwords are waiting to be checked."""

    def __init__(self) -> None:
        super().__init__("Too many people are signing in right now. Try again in a few seconds.")


class Stopping(Unavailable):
    """The process must stop and the call had not ended when its time to drain was over."""

    def __init__(self) -> None:
        super().__init__("The server is restarting and had to end this call. Send it again.")


class SettlementPending(Unavailable):
    """The answer is complete, but the call had to end before its charge was recorded; a retry could be charged twice."""

    def __init__(self) -> None:
        super().__init__(
            "The answer is complete, but its charge is not recorded yet. Do not send the request again: the credits will"
            " be charged or released."
        )
