"""Posts ledger entries other than the charges of calls: grants, purchases, refunds, expiries and adjustments."""

from __future__ import annotations

from uuid import UUID

from shared.core.clock import now_ms
from shared.core.errors import InvalidInput, NotFound
from shared.ledger.sql import AccountState, change_accounts, entry_month, execute, lock_accounts
from shared.ledger.witness import NO_HEAD, entry_details, witness_entry
from shared.models import LedgerEntry
from shared.text.translation import lazy_gettext

MAX_CREDITS = 10**15  # per entry; far below BIGINT, so that a typo cannot overflow a sum
SIGNS = {"grant": 1, "purchase": 1, "refund": 1, "expiry": -1, "adjustment": 0}
_WRONG_AMOUNT = {
    1: lazy_gettext("The amount must be a positive whole number of credits, at most {maximum}.", maximum=MAX_CREDITS),
    -1: lazy_gettext("The amount must be a negative whole number of credits, at least {minimum}.", minimum=-MAX_CREDITS),
    0: lazy_gettext("The amount must be a whole number of credits other than zero, at most {maximum}.", maximum=MAX_CREDITS),
}


def post_entry(
    account: UUID, kind: str, amount: int, *, actor: str, reason: str, call: UUID | None = None, plan: bool = False
) -> LedgerEntry:
    """Add `amount` credits (signed) to an account and return the entry. Run inside a transaction.

    kind    grant, purchase or refund (positive), expiry (negative), or adjustment (either)
    plan    a grant of plan credits, which may expire; all other grants never expire
    call    for a refund: plan credits in the call's charge are refunded as plan credits

    A negative amount uses plan credits first; an expiry uses nothing else. Raises `NotFound` for an unknown account. Raises
    `InvalidInput` for an amount of zero, with the wrong sign, beyond `MAX_CREDITS` or beyond the available credits, and for an
    expiry beyond the plan credits.
    """
    if amount == 0 or amount * SIGNS[kind] < 0 or abs(amount) > MAX_CREDITS:
        raise InvalidInput(_WRONG_AMOUNT[SIGNS[kind]])
    pool = lock_accounts([account])().get(account)
    if pool is None:
        raise NotFound(lazy_gettext("No such account."))
    if pool.available + amount < 0:
        raise InvalidInput(
            lazy_gettext(
                "Only {available} of the account's {balance} credits are available; {held} are held.",
                available=pool.available,
                balance=pool.balance,
                held=pool.held,
            )
        )
    if kind == "expiry" and pool.plan_credits + amount < 0:
        raise InvalidInput(
            lazy_gettext(
                "Only {part} of the account's {balance} credits are plan credits, which expire.",
                part=pool.plan_credits,
                balance=pool.balance,
            )
        )
    plan_amount = _plan_part(pool, kind, amount, account, call, plan)
    seq, balance, now = pool.ledger_seq + 1, pool.balance + amount, now_ms()
    details = entry_details(actor, reason, call, None)
    witness = witness_entry(pool.head or NO_HEAD, account, seq, kind, (amount, balance, plan_amount), now, details)
    change_accounts({account: (amount, 0, 1, plan_amount)}, {account: witness.entry_hash})
    return LedgerEntry.create(
        account=account,
        seq=seq,
        kind=kind,
        amount=amount,
        balance_after=balance,
        call=call,
        actor=actor,
        reason=reason,
        created_at=now,
        plan_amount=plan_amount,
        month=entry_month(call, now),
        **witness._asdict(),
    )


def _plan_part(pool: AccountState, kind: str, amount: int, account: UUID, call: UUID | None, plan: bool) -> int:
    """Return the plan credits in an entry's `amount`."""
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
