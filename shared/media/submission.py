"""Submits media jobs: the hold and the job's row in one transaction. The message to the workers is sent afterwards."""

from __future__ import annotations

import json
from typing import Any, NamedTuple
from uuid import UUID

from shared.core.errors import IdempotencyConflict, RequestRefused
from shared.core.secrets import MEDIA_REQUEST, seal, unseal
from shared.dialects.media import MediaCall
from shared.ledger import Reservation, release, reserve
from shared.media.leases import RESEND_MS
from shared.models import MediaJob

REQUESTED_MODEL = "requested_model"  # in a job's options: the alias by which the caller named the model


class JobRequest(NamedTuple):
    """A media call, with what is stored for the worker: results of `encrypt_body` and, for input images, of `store_inputs`."""

    call: MediaCall
    sealed_params: str
    deadline_at: int
    callback_url: str | None = None
    input_key: str | None = None


class Submitted(NamedTuple):
    """The submitted job. `fresh` is false if an earlier request with the same `Idempotency-Key` created it; no hold was taken."""

    job: MediaJob
    is_new: bool


def encrypt_body(call: MediaCall, secret_key: str) -> str:
    """Encrypt the request body for the provider: a database dump or backup does not reveal the prompt."""
    return seal(json.dumps(call.body), secret_key, MEDIA_REQUEST)


def decrypt_body(sealed: str, secret_key: str) -> dict[str, Any]:
    """Decrypt what `encrypt_body` returned."""
    body: dict[str, Any] = json.loads(unseal(sealed, secret_key, MEDIA_REQUEST))
    return body


def submit(reservation: Reservation, request: JobRequest, now: int) -> Submitted:
    """Take the hold and insert the job, or return the job of the same `Idempotency-Key`. Run inside a transaction.

    Raises the error that `reserve` returned. The idempotency claim lasts 24 hours, even if the job fails.
    """
    [result] = reserve([reservation], now)
    if isinstance(result, IdempotencyConflict) and result.code != "key_reused":
        earlier = MediaJob.get_or_none(MediaJob.id == result.call_id)
        if earlier is not None:
            return Submitted(earlier, is_new=False)
    if isinstance(result, RequestRefused):
        raise result
    job = MediaJob.create(
        id=reservation.call,
        account=result.account,
        api_key=result.api_key,
        kind=request.call.kind,
        model=request.call.model,
        price=reservation.quote.price.id,
        sealed_params=request.sealed_params,
        options=dict(request.call.options),
        tag=request.call.tag,
        due_at=now + RESEND_MS,
        deadline_at=request.deadline_at,
        credits_held=result.amount,
        callback_url=request.callback_url,
        input_key=request.input_key,
        created_at=now,
    )
    return Submitted(job, is_new=True)


def undo_submission(account: UUID, job: UUID, now: int) -> bool:
    """Undo an account's submission whose message could not be sent. Returns whether it was undone. Run inside a transaction.

    A job that a worker has leased already is not undone: it will run.
    """
    own = (MediaJob.id == job) & (MediaJob.account == account)
    if not MediaJob.delete().where(own & (MediaJob.status == "queued") & (MediaJob.attempts == 0)).execute():
        return False
    release([job], now, [account])
    return True
