"""Visitors: people without an account, paid for from one pool that the operator fills anew each day.

The pool is an account of its own. Its whole balance is plan credits of one day: with the first call of a new UTC day, or when a
worker comes first, what is left expires and it is filled up to the size that the operator typed. So much is the most that
visitors can cost in a day, however many they are. Each of them has an allowance within it.
"""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from shared.clock import now_ms
from shared.database import is_sqlite
from shared.ledger.allowances import read_allowances, visitor_allowance
from shared.ledger.posting import post
from shared.ledger.rows import AccountState, execute
from shared.periods import day_end, day_of

# The greatest id there is: accounts are locked in the order of their ids, so that the pool can always be locked last.
POOL = UUID(int=2**128 - 1)
POOL_NAME = "visitors"  # in place of an e-mail: it has no @, so that nobody signs up, signs in or is found by it
ACTOR = "system"
# What a visitor's call costs at least, also on a model whose price is zero: without it nothing would bound their number.
LEAST_CREDITS = 10


class VisitorTerms(NamedTuple):
    """The operator's: credits of the pool a day (0 switches visitors off), and credits of each visitor a day."""

    pool_credits: int = 0
    daily_credits: int = 0


NO_VISITORS = VisitorTerms()


class Standing(NamedTuple):
    """What a visitor may still use today: credits, and the moment (ms UTC) at which the day ends."""

    daily_allowance: int
    used: int
    remaining: int
    resets_at: int


def standing(visitor: str, terms: VisitorTerms, now: int) -> Standing:
    """Where the visitor of this digest stands. What running calls hold counts as used. Changes nothing."""
    name = visitor_allowance(visitor, now)
    meter = read_allowances([(POOL, name)])().get((POOL, name))
    allowed = terms.daily_credits if terms.pool_credits else 0
    used = meter.used + meter.held if meter is not None else 0
    return Standing(allowed, used, max(0, allowed - used), day_end(day_of(now)))


def open_pool(terms: VisitorTerms, now: int) -> AccountState | None:
    """Lock the pool, renewed for the day of `now`; None while an operator has suspended it. Run inside a transaction."""
    status, pool, newest_day = _lock() or _create()
    if newest_day < day_of(now):
        pool = _renew(pool, terms, day_of(now))
    return pool if status == "active" else None


def renew_pool(terms: VisitorTerms, now: int) -> None:
    """Renew the pool for the day of `now` unless that was done; nothing where visitors were never let in."""
    locked = _lock()
    if locked is not None or terms.pool_credits:
        open_pool(terms, now)


def _lock() -> tuple[str, AccountState, int] | None:
    """The pool's status and credits, and the newest day that it was renewed for."""
    lock = "" if is_sqlite() else " FOR UPDATE"
    row = execute(f"SELECT status, balance, held, ledger_seq, plan_credits FROM account WHERE id = ?{lock}", [POOL]).fetchone()
    if row is None:
        return None
    day = execute("SELECT coalesce(max(day), -1) FROM visitor_pool_day", []).fetchone()[0]
    return row[0], AccountState(*row[1:]), day


def _create() -> tuple[str, AccountState, int]:
    # Two edges may make it at once, and either of its unique columns may be the one that tells.
    execute(
        "INSERT INTO account (id, email, name, status, balance, held, ledger_seq, created_at)"
        " VALUES (?, ?, 'Visitors without an account', 'active', 0, 0, 0, ?) ON CONFLICT DO NOTHING",
        [POOL, POOL_NAME, now_ms()],
    )
    locked = _lock()
    assert locked is not None  # noqa: S101  (by us, or by whom we waited for)
    return locked


def _renew(pool: AccountState, terms: VisitorTerms, day: int) -> AccountState:
    """What is free expires; what calls that run across midnight hold is the beginning of the new day's credits."""
    expired, granted = pool.free, max(0, terms.pool_credits - pool.held)
    reason = f"day {day}"
    if expired:
        post(POOL, "expiry", -expired, actor=ACTOR, reason=reason)
    if granted:
        post(POOL, "grant", granted, actor=ACTOR, reason=reason, plan=True)
    execute(
        "INSERT INTO visitor_pool_day (day, credits, expired, granted, created_at) VALUES (?, ?, ?, ?, ?)",
        [day, terms.pool_credits, expired, granted, now_ms()],
    )
    entries = bool(expired) + bool(granted)
    return AccountState(pool.held + granted, pool.held, pool.ledger_seq + entries, pool.held + granted)
