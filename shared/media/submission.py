"""Submission: the hold and the job's row are one transaction. The message to the workers follows it, and may fail."""

from __future__ import annotations

import json
from typing import Any, NamedTuple
from uuid import UUID

from shared.errors import IdempotencyConflict, RequestRefused
from shared.ledger import Reservation, release, reserve
from shared.media.hands import RESEND_MS
from shared.models import MediaJob
from shared.providers.media import MediaCall
from shared.secrets import MEDIA_REQUEST, seal, unseal


class Wish(NamedTuple):
    """A media call with what is kept of it for the worker; `sealed_params` was made by `seal_body`."""

    call: MediaCall
    sealed_params: str
    deadline_at: int
    callback_url: str | None = None


class Submitted(NamedTuple):
    """The job. `fresh` is false for one that the same `Idempotency-Key` has made before: then nothing was held."""

    job: MediaJob
    fresh: bool


def seal_body(call: MediaCall, secret_key: str) -> str:
    """The fields for the vendor, encrypted: neither a dump of the database nor a backup of it shows a prompt."""
    return seal(json.dumps(call.body), secret_key, MEDIA_REQUEST)


def unseal_body(sealed: str, secret_key: str) -> dict[str, Any]:
    """What `seal_body` was given."""
    body: dict[str, Any] = json.loads(unseal(sealed, secret_key, MEDIA_REQUEST))
    return body


def submit(ask: Reservation, wish: Wish, now: int) -> Submitted:
    """Take the hold and write the job, or give the one that the key of `ask.claim` belongs to. Run inside a transaction.

    Raises what `reserve` decided. The claim stays with the job for its 24 hours, whatever becomes of it.
    """
    [result] = reserve([ask], now)
    if isinstance(result, IdempotencyConflict) and result.kind != "key_reused":
        earlier = MediaJob.get_or_none(MediaJob.id == result.call_id)
        if earlier is not None:
            return Submitted(earlier, fresh=False)
    if isinstance(result, RequestRefused):
        raise result
    job = MediaJob.create(
        id=ask.call,
        account=result.account,
        api_key=result.api_key,
        kind=wish.call.kind,
        model=wish.call.model,
        price=ask.quote.price.id,
        sealed_params=wish.sealed_params,
        options=dict(wish.call.options),
        due_at=now + RESEND_MS,
        deadline_at=wish.deadline_at,
        credits_held=result.amount,
        callback_url=wish.callback_url,
        created_at=now,
    )
    return Submitted(job, fresh=True)


def withdraw(job: UUID, now: int) -> bool:
    """Undo a submission whose message could not be sent; give whether it was undone. Run inside a transaction.

    It is not where a worker has the job in hand already: then all is well.
    """
    if not MediaJob.delete().where((MediaJob.id == job) & (MediaJob.status == "queued") & (MediaJob.attempts == 0)).execute():
        return False
    release([job], now)
    return True
