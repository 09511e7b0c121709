"""Records a confirmed payment as a purchase, once."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

import peewee

from shared import models
from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.ledger import post_entry
from shared.ledger.sql import lock_accounts
from shared.ledger.visitor_pool import POOL_ACCOUNT_ID
from shared.payments.base import Payment, Provider
from shared.text.translation import lazy_gettext


class RecordedPayment(NamedTuple):
    """A recorded payment, and the balance afterwards in credits."""

    payment: Payment
    balance: int


def record_payment(provider: Provider, account: UUID, proof: str, *, actor: str) -> RecordedPayment:
    """Have `provider` confirm `proof` and add the purchased credits, which never expire, to the account. One transaction.

    Raises `NotFound` for an unknown account. Raises `InvalidInput` if the account is not active, the proof is not valid, or the
    payment was already recorded.
    """
    now = now_ms()
    with transaction():
        if account == POOL_ACCOUNT_ID or account not in lock_accounts([account])():
            raise NotFound(lazy_gettext("No such account."))
        if models.Account.get_by_id(account).status != "active":
            raise InvalidInput(lazy_gettext("This account is suspended. Contact support."))
        payment = provider.confirm(account, proof, now)
        try:
            with transaction():  # a savepoint, so that the outer transaction survives an error
                models.Payment.create(
                    provider=provider.name, reference=payment.reference, account=account, credits=payment.credits, created_at=now
                )
        except peewee.IntegrityError:
            raise InvalidInput(lazy_gettext("This payment was already recorded.")) from None
        entry = post_entry(account, "purchase", payment.credits, actor=actor, reason=payment.reason)
        return RecordedPayment(payment, entry.balance_after)
