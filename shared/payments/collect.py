"""Collect: book a confirmed payment as a purchase, once."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

import peewee

from shared import models
from shared.clock import now_ms
from shared.database import transaction
from shared.errors import InvalidInput, NotFound
from shared.ledger import post
from shared.ledger.rows import lock_accounts
from shared.ledger.visitors import POOL
from shared.payments.base import Payment, Provider


class Collected(NamedTuple):
    """What was booked, and the balance after it, in credits."""

    payment: Payment
    balance: int


def collect(provider: Provider, account: UUID, proof: str, *, actor: str) -> Collected:
    """Let `provider` confirm `proof` and give the account what was paid for: a `purchase`, which never expires.

    Raises `NotFound` for an unknown account, and `InvalidInput` for one that is not active, for a proof that is no good, and for
    a payment that was booked already. One transaction: either all of it stays, or nothing.
    """
    now = now_ms()
    with transaction():
        if account == POOL or account not in lock_accounts([account])():
            raise NotFound("There is no such account.")
        if models.Account.get_by_id(account).status != "active":
            raise InvalidInput("This account is suspended. Contact support.")
        payment = provider.confirm(account, proof, now)
        try:
            with transaction():  # a savepoint, so that the outer transaction can still say why
                models.Payment.create(
                    provider=provider.name, reference=payment.reference, account=account, credits=payment.credits, created_at=now
                )
        except peewee.IntegrityError:
            raise InvalidInput("This payment was booked already.") from None
        entry = post(account, "purchase", payment.credits, actor=actor, reason=payment.reason)
        return Collected(payment, entry.balance_after)
