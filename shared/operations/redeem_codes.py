"""Redeem codes: create and void batches, redeem a code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from peewee import fn

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.models import CodeBatch, RedeemCode
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.keys import YEAR_10000
from shared.operations.validation import MAX_AMOUNT, check_integer, check_text
from shared.payments import record_payment
from shared.payments.collect import RecordedPayment
from shared.payments.redeem_codes import RedeemCodeProvider, new_code
from shared.text.translation import lazy_gettext

MAX_CODES = 10_000  # of one batch
COUNT_BATCH_SIZE = 500  # batches
_CODES = RedeemCodeProvider()


@dataclass(frozen=True, slots=True)
class CreatedBatch:
    """A new batch. Only here are the `codes` available: the database stores their digests."""

    row: CodeBatch
    codes: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """A batch, and how many of its codes are redeemed, voided and still usable."""

    row: CodeBatch
    redeemed: int
    voided: int
    open: int


def create_codes(credits: int, count: int = 1, *, note: str = "", expires_at: int | None = None, origin: Origin) -> CreatedBatch:
    """Create `count` codes of `credits` each. `expires_at` is in ms UTC and must be in the future; None means no expiry."""
    check_integer("number of credits", credits, 1, MAX_AMOUNT)
    check_integer("number of codes", count, 1, MAX_CODES)
    note = check_text("note", note, 200, empty=True)
    if expires_at is not None and not now_ms() < expires_at < YEAR_10000:
        raise InvalidInput(lazy_gettext("The expiry must be in the future; omit it for codes that never expire."))
    fresh = [new_code() for _ in range(count)]
    with transaction():
        batch = CodeBatch.create(credits=credits, count=count, note=note, expires_at=expires_at, created_by=origin.actor[:254])
        for code in fresh:
            RedeemCode.create(batch=batch, digest=code.digest, prefix=code.prefix)
        after = {"credits": credits, "count": count, "note": note, "expires_at": expires_at}
        record_audit_entry(origin, "codes.create", batch.id, after=after)
        return CreatedBatch(batch, tuple(code.text for code in fresh))


def void_codes(id: str | UUID, *, origin: Origin) -> int:
    """Void a code, or all codes of a batch, unless redeemed. Returns how many were voided. Raises `NotFound`."""
    try:
        id = id if isinstance(id, UUID) else UUID(id)
    except ValueError:
        raise NotFound(lazy_gettext("{id!r} is not the id of a code or batch. List them with `yout code list`.", id=id)) from None
    with transaction():
        if not (CodeBatch.select().where(CodeBatch.id == id).exists() or RedeemCode.select().where(RedeemCode.id == id).exists()):
            raise NotFound(lazy_gettext("No code or batch {id}. List them with `yout code list`.", id=id))
        unused = RedeemCode.redeemed_at.is_null() & RedeemCode.voided_at.is_null()
        voided = (
            RedeemCode.update(voided_at=now_ms()).where(((RedeemCode.batch == id) | (RedeemCode.id == id)) & unused).execute()
        )
        if voided:
            record_audit_entry(origin, "codes.void", id, after={"voided": voided})
        return int(voided)


def list_batches() -> list[BatchStatus]:
    """Return all batches, newest first, with the states of their codes."""
    rows = list(CodeBatch.select().order_by(CodeBatch.id.desc()))
    firsts = range(0, len(rows), COUNT_BATCH_SIZE)
    return [standing for first in firsts for standing in batch_statuses(rows[first : first + COUNT_BATCH_SIZE])]


def batch_statuses(batches: Sequence[CodeBatch]) -> list[BatchStatus]:
    """Count the codes in each state, by batch."""
    counted: Any = (
        RedeemCode.select(RedeemCode.batch, fn.COUNT(RedeemCode.redeemed_at), fn.COUNT(RedeemCode.voided_at))
        .where(RedeemCode.batch.in_([row.id for row in batches]))
        .group_by(RedeemCode.batch)
        .tuples()
    )
    used = {batch: (redeemed, voided) for batch, redeemed, voided in counted}
    now, found = now_ms(), []
    for row in batches:
        redeemed, voided = used.get(row.id, (0, 0))
        expired = row.expires_at is not None and row.expires_at <= now
        found.append(BatchStatus(row, redeemed, voided, 0 if expired else row.count - redeemed - voided))
    return found


def redeem(account: UUID, code: str, *, origin: Origin) -> RecordedPayment:
    """Grant the account the credits of a code, once. Raises `InvalidInput` with a message for the user if it is not usable.

    Codes have 100 random bits, but a public form should still limit attempts.
    """
    with transaction():
        collected = record_payment(_CODES, account, code, actor=origin.actor)
        payment = collected.payment
        after = {"credits": payment.credits, "code": payment.reference, "balance": collected.balance}
        record_audit_entry(origin, "codes.redeem", account, after=after)
        return collected
