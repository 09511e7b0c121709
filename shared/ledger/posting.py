"""Post: every movement of credits that is not the charge of a call."""

from __future__ import annotations

from uuid import UUID

from shared.clock import now_ms
from shared.errors import InvalidInput, NotFound
from shared.ledger.rows import AccountState, change_accounts, execute, lock_accounts
from shared.models import LedgerEntry

MOST_CREDITS = 10**15  # one movement; far inside BIGINT, so that a slip of the finger cannot overflow a sum
SIGNS = {"grant": 1, "purchase": 1, "refund": 1, "expiry": -1, "adjustment": 0}


def post(
    account: UUID, kind: str, amount: int, *, actor: str, reason: str, call: UUID | None = None, plan: bool = False
) -> LedgerEntry:
    """Move `amount` credits (signed) into or out of an account and give the entry. Run inside a transaction.

    `kind` is grant, purchase, refund (above zero), expiry (below zero) or adjustment (either). A grant with `plan` gives plan
    credits, which may expire; all others give credits that stay, but for the refund of a call, which gives back what its charge
    took. What goes out takes plan credits first, and an expiry takes no others. Raises `NotFound` for an unknown account and
    `InvalidInput` for a wrong sign, a zero, an amount beyond `MOST_CREDITS`, one that running calls hold, or an expiry of
    credits that do not expire.
    """
    if amount == 0 or amount * SIGNS[kind] < 0 or abs(amount) > MOST_CREDITS:
        sign = {1: "above zero", -1: "below zero", 0: "not zero"}[SIGNS[kind]]
        raise InvalidInput(f"The amount of a {kind} must be a whole number of credits, {sign}, at most {MOST_CREDITS}.")
    pool = lock_accounts([account])().get(account)
    if pool is None:
        raise NotFound("There is no such account.")
    if pool.free + amount < 0:
        raise InvalidInput(f"Only {pool.free} of the account's {pool.balance} credits are free; {pool.held} are held.")
    if kind == "expiry" and pool.plan_credits + amount < 0:
        raise InvalidInput(f"Only {pool.plan_credits} of the account's {pool.balance} credits can expire; the others stay.")
    plan_amount = _plan_part(pool, kind, amount, account, call, plan)
    change_accounts({account: (amount, 0, 1, plan_amount)})
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
        plan_amount=plan_amount,
    )


def _plan_part(pool: AccountState, kind: str, amount: int, account: UUID, call: UUID | None, plan: bool) -> int:
    """How much of a movement is plan credits."""
    if amount < 0:
        return max(amount, -pool.plan_credits)
    if kind == "grant":
        return amount if plan else 0
    if kind == "refund" and call is not None:
        charged = execute(
            "SELECT -plan_amount FROM ledger_entry WHERE account_id = ? AND call = ? AND kind = 'charge'", [account, call]
        ).fetchone()
        return min(amount, charged[0]) if charged else 0
    return 0
