"""Submits media jobs. Hold and job row are one transaction; if the worker cannot be notified, both are rolled back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, cast

from quart import request

from edge.call.priced_fields import check_media_fields
from edge.http.headers import Scope, check_max_credits, idempotency_claim, parse_max_credits, read_headers
from edge.http.tags import parse_tag
from edge.request_context import AccountCaller, account_caller, find_model, key_caller, services, write
from shared import media
from shared.billing.pricing import Quote, media_quote
from shared.catalog.snapshot import CatalogModel
from shared.core.clock import new_id, now_ms
from shared.core.errors import (
    InsufficientCredits,
    InvalidRequest,
    ModelNotFound,
    NoAvailableChannel,
    OutboundRefused,
    QueueUnavailable,
    StorageUnavailable,
)
from shared.core.settings import Settings
from shared.core.token_bucket import RateLimitState
from shared.dialects.media import MediaCall
from shared.files.storage import Storage
from shared.job_queue import MEDIA_QUEUE
from shared.ledger import Claim, Reservation
from shared.media import REQUESTED_MODEL, JobRequest, Submitted, webhooks
from shared.safe_http import check_url, policy_from_settings

# the media sweep fails a job at its deadline, well before the hold sweep would release the job's credits
HOLD_GRACE_SECONDS = 120


class SubmissionContext(NamedTuple):
    """The caller and options of a submission, from the request's headers."""

    caller: AccountCaller
    claim: Claim | None = None
    max_credits: int | None = None
    idempotency_key: bytes | None = None
    tag: str | None = None

    def for_body(self, data: bytes) -> SubmissionContext:
        """Add the idempotency claim for this body. Raises `InvalidRequest` for an `Idempotency-Key` of invalid length."""
        return self._replace(claim=idempotency_claim(self.idempotency_key, data))


class SubmittedJob(NamedTuple):
    """A submitted job, and the caller's rate limit status."""

    submitted: Submitted
    rate_limit_state: RateLimitState


async def read_context(*, key_only: bool = False) -> SubmissionContext:
    """Authenticate the request and read its headers, before the body is received.

    Raises like `account_caller`, and `InvalidRequest` for an invalid header. `key_only` rejects web sessions, for OpenAI's paths.
    """
    sent = read_headers(cast(Scope, request.scope))
    caller = await (key_caller() if key_only else account_caller())
    return SubmissionContext(
        caller,
        max_credits=parse_max_credits(sent.max_credits),
        idempotency_key=sent.idempotency_key,
        tag=parse_tag(sent.tag),
    )


async def submit(call: MediaCall, terms: SubmissionContext, callback_url: str | None = None) -> SubmittedJob:
    """Submit `call` as a job, or return the job that its `Idempotency-Key` created before.

    Raises `ModelNotFound`, `InvalidRequest` (`unpriced_parameter`), `InsufficientCredits`, the errors of the ledger, and
    `QueueUnavailable` if the workers cannot be notified; in that case neither a hold nor a row remains.
    Raises `StorageUnavailable` if input images cannot be stored.
    """
    own = services()
    if terms.tag is not None:
        call = call._replace(tag=terms.tag)
    model = find_model(call.model)
    if model is None or model.kind != call.kind:
        raise ModelNotFound(call.model)
    if model.id != call.model:
        call = call._replace(model=model.id, options={**call.options, REQUESTED_MODEL: call.model})
    try:
        quote = _quote(model, call, terms.max_credits)
    except InsufficientCredits as refusal:
        refusal.balance = await own.balance_of(terms.caller.account)
        raise
    if not model.routes:
        raise NoAvailableChannel
    check_media_fields(call, model.routes)
    if callback_url is not None:
        _check_callback(callback_url)
    permit = await own.limiter.acquire(new_id(), terms.caller.limits, 0)
    own.limiter.release(permit, 0)
    if permit.local and not own.settings.uses_rabbitmq:  # Redis is down, so no worker would get the job
        raise QueueUnavailable
    async with _stored_inputs(call) as inputs:
        submitted = await write(partial(_submit, call, quote, terms, callback_url, inputs.key, own.settings))
        sent = not submitted.is_new or await asyncio.to_thread(
            own.job_queue.send, "make_media", str(submitted.job.id), queue=MEDIA_QUEUE
        )
        if not sent and await write(partial(media.undo_submission, terms.caller.account, submitted.job.id, now_ms())):
            raise QueueUnavailable
        inputs.has_job = submitted.is_new
    return SubmittedJob(submitted, permit.rate_limit_state)


@dataclass(slots=True)
class _Inputs:
    """The stored input images of a call, if it has any, and whether a job has been created that deletes them."""

    key: str | None
    has_job: bool = False


@asynccontextmanager
async def _stored_inputs(call: MediaCall) -> AsyncIterator[_Inputs]:
    """Store the input images before the transaction of the job, which must be short. Deletes them if no job needs them."""
    own = services()
    if not call.files:
        yield _Inputs(None)
        return
    key = await asyncio.to_thread(media.store_inputs, call.files, own.storage, own.settings.secret_key)
    inputs = _Inputs(key)
    try:
        yield inputs
    finally:
        if not inputs.has_job:
            own.spawn(asyncio.to_thread(_discard, own.storage, key))


def _discard(storage: Storage, key: str) -> None:
    with suppress(StorageUnavailable):  # the worker deletes files without a row after a day
        storage.delete(key)


def _submit(
    call: MediaCall,
    quote: Quote,
    terms: SubmissionContext,
    callback_url: str | None,
    input_key: str | None,
    settings: Settings,
) -> Submitted:
    """Create hold and job. Runs in the ledger thread, in a transaction."""
    now = now_ms()
    deadline_at = now + settings.media_job_seconds * 1000
    ask = Reservation(
        call=new_id(),
        model=call.model,
        quote=quote,
        expires_at=deadline_at + HOLD_GRACE_SECONDS * 1000,
        payer=terms.caller.row.payer,
        address=terms.caller.address,
        claim=terms.claim,
        account=terms.caller.account,
    )
    sealed = media.encrypt_body(call, settings.secret_key)
    submitted = media.submit(ask, JobRequest(call, sealed, deadline_at, callback_url, input_key), now)
    if callback_url is not None:
        webhooks.get_or_create_secret(terms.caller.account, settings.secret_key)  # creates the secret on first use
    return submitted


def _quote(model: CatalogModel, call: MediaCall, cap: int | None) -> Quote:
    price = model.price_at(now_ms())
    if price is None:
        raise ModelNotFound(model.id)
    quote = media_quote(price, call.units, cap)
    check_max_credits(quote.bound, cap)
    return quote


def _check_callback(url: str) -> None:
    try:
        check_url(url, policy_from_settings(services().settings))
    except OutboundRefused as refusal:
        raise InvalidRequest(f"'callback_url' is not allowed. {refusal}", "callback_url") from None
