"""Visitors: people without an account, whose calls are paid from one pool that is refilled each day.

The pool is an account whose whole balance is plan credits of one day. At the first call of a UTC day, or when a worker runs
first, the rest expires and the pool is refilled to the configured size. That is the most that all visitors together can cost in
a day. Each visitor also has a daily allowance.
"""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from shared.core.billing_periods import day_of, next_day_start
from shared.core.clock import now_ms
from shared.core.database import is_sqlite
from shared.ledger.allowances import read_allowances, visitor_allowance
from shared.ledger.entries import post_entry
from shared.ledger.sql import AccountState, execute

# The greatest possible id: accounts are locked in the order of their ids, so the pool is always locked last.
POOL_ACCOUNT_ID = UUID(int=2**128 - 1)
POOL_NAME = "visitors"  # instead of an email address; without an @ it cannot be used to sign up or sign in
ACTOR = "system"
# Minimum cost of a visitor's call, also for a free model: otherwise the number of calls would be unlimited.
MIN_CALL_CREDITS = 10


class VisitorSettings(NamedTuple):
    """Settings for visitors: daily credits of the pool (0 disables visitors), and of each visitor."""

    pool_credits: int = 0
    daily_credits: int = 0


VISITORS_DISABLED = VisitorSettings()


class VisitorAllowance(NamedTuple):
    """A visitor's allowance of today in credits, and the end of the day in milliseconds UTC."""

    daily_allowance: int
    used: int
    remaining: int
    resets_at: int


def visitor_allowance_state(visitor: str, terms: VisitorSettings, now: int) -> VisitorAllowance:
    """Return the allowance state of the visitor with this digest. Credits held by running calls count as used."""
    name = visitor_allowance(visitor, now)
    meter = read_allowances([(POOL_ACCOUNT_ID, name)])().get((POOL_ACCOUNT_ID, name))
    allowed = terms.daily_credits if terms.pool_credits else 0
    used = meter.used + meter.held if meter is not None else 0
    return VisitorAllowance(allowed, used, max(0, allowed - used), next_day_start(day_of(now)))


def lock_pool(terms: VisitorSettings, now: int) -> AccountState | None:
    """Lock the pool and renew it for the day of `now`. Returns None if it is suspended. Run inside a transaction."""
    status, pool, newest_day = _lock() or _create()
    if newest_day < day_of(now):
        pool = _renew(pool, terms, day_of(now))
    return pool if status == "active" else None


def renew_pool(terms: VisitorSettings, now: int) -> None:
    """Renew the pool for the day of `now` if that is still to be done. Does nothing if visitors were never enabled."""
    locked = _lock()
    if locked is not None or terms.pool_credits:
        lock_pool(terms, now)


def _lock() -> tuple[str, AccountState, int] | None:
    """Lock the pool. Returns its status, its credits, and the latest day for which it was renewed."""
    lock = "" if is_sqlite() else " FOR NO KEY UPDATE"
    row = execute(
        f"SELECT status, balance, held, ledger_seq, plan_credits FROM account WHERE id = ?{lock}", [POOL_ACCOUNT_ID]
    ).fetchone()
    if row is None:
        return None
    day = execute("SELECT coalesce(max(day), -1) FROM visitor_pool_day", []).fetchone()[0]
    return row[0], AccountState(*row[1:]), day


def _create() -> tuple[str, AccountState, int]:
    # Two edge processes may insert it at once, and the conflict may be on either of its unique columns.
    execute(
        "INSERT INTO account (id, email, name, status, balance, held, ledger_seq, created_at)"
        " VALUES (?, ?, 'Visitors without an account', 'active', 0, 0, 0, ?) ON CONFLICT DO NOTHING",
        [POOL_ACCOUNT_ID, POOL_NAME, now_ms()],
    )
    locked = _lock()
    assert locked is not None  # noqa: S101  (inserted here or by another process)
    return locked


def _renew(pool: AccountState, terms: VisitorSettings, day: int) -> AccountState:
    """Expire available credits and fill up the pool. Credits held by calls that run past midnight count toward the new day."""
    expired, granted = pool.available, max(0, terms.pool_credits - pool.held)
    reason = f"day {day}"
    if expired:
        post_entry(POOL_ACCOUNT_ID, "expiry", -expired, actor=ACTOR, reason=reason)
    if granted:
        post_entry(POOL_ACCOUNT_ID, "grant", granted, actor=ACTOR, reason=reason, plan=True)
    execute(
        "INSERT INTO visitor_pool_day (day, credits, expired, granted, created_at) VALUES (?, ?, ?, ?, ?)",
        [day, terms.pool_credits, expired, granted, now_ms()],
    )
    entries = bool(expired) + bool(granted)
    return AccountState(pool.held + granted, pool.held, pool.ledger_seq + entries, pool.held + granted)
