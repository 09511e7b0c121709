"""Post: every movement of credits that is not the charge of a call."""

from __future__ import annotations

from uuid import UUID

from shared.clock import now_ms
from shared.errors import InvalidInput, NotFound
from shared.ledger.rows import change_accounts, lock_accounts
from shared.models import LedgerEntry

MOST_CREDITS = 10**15  # one movement; far inside BIGINT, so that a slip of the finger cannot overflow a sum
SIGNS = {"grant": 1, "purchase": 1, "refund": 1, "expiry": -1, "adjustment": 0}


def post(account: UUID, kind: str, amount: int, *, actor: str, reason: str, call: UUID | None = None) -> LedgerEntry:
    """Move `amount` credits (signed) into or out of an account and give the entry. Run inside a transaction.

    `kind` is grant, purchase, refund (above zero), expiry (below zero) or adjustment (either). Raises `NotFound` for an unknown
    account and `InvalidInput` for a wrong sign, a zero, an amount beyond `MOST_CREDITS` or one that running calls hold.
    """
    if amount == 0 or amount * SIGNS[kind] < 0 or abs(amount) > MOST_CREDITS:
        sign = {1: "above zero", -1: "below zero", 0: "not zero"}[SIGNS[kind]]
        raise InvalidInput(f"The amount of a {kind} must be a whole number of credits, {sign}, at most {MOST_CREDITS}.")
    pool = lock_accounts([account])().get(account)
    if pool is None:
        raise NotFound("There is no such account.")
    if pool.free + amount < 0:
        raise InvalidInput(f"Only {pool.free} of the account's {pool.balance} credits are free; {pool.held} are held.")
    change_accounts({account: (amount, 0, 1)})
    return LedgerEntry.create(
        account=account,
        seq=pool.ledger_seq + 1,
        kind=kind,
        amount=amount,
        balance_after=pool.balance + amount,
        call=call,
        actor=actor,
        reason=reason,
        created_at=now_ms(),
    )
