"""Settle: turn holds into charges, for a batch of calls in one transaction; the rest of each hold goes back to the pool.

Exactly once: the hold's state is the lock. A second settlement of the same call finds it closed and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple
from uuid import UUID

from shared.ledger.rows import AccountState, as_uuid, change_accounts, execute, insert, lock_accounts
from shared.usage import Usage

NO_USAGE = Usage(0, 0)


class Rare(NamedTuple):
    """What most calls have nothing to tell of: columns that are written only for a batch in which a call has any.

    asked_model      the caller's first choice, where another model served
    failed_attempts  why each attempt before the last failed, codes with commas
    cut              what was done with an answer that was cut off, one of `shared.models.CUTS`
    """

    asked_model: str | None = None
    failed_attempts: str | None = None
    cut: str | None = None


class Settlement(NamedTuple):
    """One finished call. `cost` is what it should cost in credits, `cap` the caller's own limit; times in milliseconds.

    `status` is one of `shared.models.USAGE_STATUSES`; None takes the hold back without a usage row, for a call that never began.
    """

    call: UUID
    account: UUID
    cost: int
    status: str | None = None
    api_key: UUID | None = None
    model: str = ""
    price: UUID | None = None
    channel: UUID | None = None
    cap: int | None = None
    error_code: str | None = None
    streamed: bool = False
    usage: Usage = NO_USAGE
    attempts: int = 0
    first_token_ms: int | None = None
    duration_ms: int = 0
    created_at: int = 0
    claimed: bool = False
    rare: Rare | None = None


class Settled(NamedTuple):
    """What a settlement did: `credits` charged, the `balance` after it, and what the call cost above that (`overrun`).

    `fresh` is false when the call had been settled before, or has no hold: then nothing was changed, and `credits` is what it was
    charged the first time.
    """

    credits: int
    balance: int
    overrun: int = 0
    fresh: bool = True


def settle(items: Sequence[Settlement], now: int) -> list[Settled]:
    """Settle every item, in order. Run inside a transaction; raises only what the database raises."""
    read_pools, read_holds = lock_accounts(item.account for item in items), _find_holds(items)
    pools, holds = read_pools(), read_holds()
    changes: dict[UUID, tuple[int, int, int]] = {}
    entries, results, late = [], [], []
    charged = _read_charges(items, holds)
    for item in items:
        amount, state = holds.get((item.call, item.account), (0, "none"))
        pool = pools.get(item.account, AccountState(0, 0, 0))
        if state not in ("held", "expired"):
            results.append(Settled(charged.get((item.call, item.account), 0), pool.balance, fresh=False))
            continue
        if state == "expired" and item.status:
            late.append(item)
        settled, after = _charge(item, pool, amount if state == "held" else 0)
        holds[item.call, item.account] = (amount, "closed")
        charged[item.call, item.account] = settled.credits
        pools[item.account] = after
        balance, held, seq = changes.get(item.account, (0, 0, 0))
        changes[item.account] = (
            balance + after.balance - pool.balance,
            held + after.held - pool.held,
            seq + after.ledger_seq - pool.ledger_seq,
        )
        if settled.credits:
            entries.append((item.account, after.ledger_seq, "charge", -settled.credits, after.balance, item.call, now))
        results.append(settled)
    _forget_expiry(late)
    _write(items, results, changes, entries, now)
    return results


def release(calls: Sequence[UUID], now: int) -> None:
    """Give back the holds of `calls`, where they exist, without a usage row: for reservations whose commit got no answer."""
    rows = execute("SELECT id, account_id FROM hold WHERE id IN ? AND state = 'held'", [list(calls)]).fetchall()
    if rows:
        settle([Settlement(as_uuid(call), as_uuid(account), 0, claimed=True) for call, account in rows], now)


def _charge(item: Settlement, pool: AccountState, amount: int) -> tuple[Settled, AccountState]:
    """Charge `item` against its own hold of `amount` and, above that, against what is free; never more."""
    most = amount + pool.free
    if item.cap is not None:
        most = min(most, item.cap)
    credits = min(item.cost, most)
    after = AccountState(pool.balance - credits, pool.held - amount, pool.ledger_seq + (1 if credits else 0))
    return Settled(credits, after.balance, item.cost - credits), after


def _find_holds(items: Sequence[Settlement]) -> Callable[[], dict[tuple[UUID, UUID], tuple[int, str]]]:
    accounts = sorted({item.account for item in items})
    calls = [item.call for item in items]
    cursor = execute("SELECT id, account_id, amount, state FROM hold WHERE id IN ? AND account_id IN ?", [calls, accounts])
    return lambda: {(as_uuid(id), as_uuid(account)): (amount, state) for id, account, amount, state in cursor}


def _read_charges(items: Sequence[Settlement], holds: dict[tuple[UUID, UUID], tuple[int, str]]) -> dict[tuple[UUID, UUID], int]:
    """What calls that were settled before were charged then: their commit may have got no answer."""
    again = [item for item in items if holds.get((item.call, item.account), (0, "none"))[1] == "settled"]
    if not again:
        return {}
    accounts = sorted({item.account for item in again})
    rows = execute(
        "SELECT call, account_id, -amount FROM ledger_entry WHERE account_id IN ? AND call IN ? AND kind = 'charge'",
        [accounts, [item.call for item in again]],
    )
    return {(as_uuid(call), as_uuid(account)): credits for call, account, credits in rows}


def _forget_expiry(late: Sequence[Settlement]) -> None:
    """Make room for the real usage rows of calls that the sweeper had given up."""
    if late:
        execute(
            "DELETE FROM usage_ledger WHERE id IN ? AND account_id IN ? AND status = 'expired'",
            [[item.call for item in late], sorted({item.account for item in late})],
        )


_ENTRY_COLUMNS = ("account_id", "seq", "kind", "amount", "balance_after", "call", "actor", "reason", "created_at")
_USAGE_COLUMNS = (
    *("id", "account_id", "api_key", "model", "channel", "price", "status", "error_code", "streamed", "estimated"),
    *("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "credits", "overrun_credits"),
    *("attempts", "first_token_ms", "duration_ms", "created_at"),
)
_ALL_COLUMNS = (*_USAGE_COLUMNS, "cache_write_tokens", *Rare._fields)


def _write(
    items: Sequence[Settlement],
    results: Sequence[Settled],
    changes: dict[UUID, tuple[int, int, int]],
    entries: Sequence[tuple[UUID, int, str, int, int, UUID, int]],
    now: int,
) -> None:
    fresh = [(item, settled) for item, settled in zip(items, results, strict=True) if settled.fresh]
    _close_holds([item for item, settled in fresh if settled.credits], "settled", now)
    _close_holds([item for item, settled in fresh if not settled.credits], "released", now)
    change_accounts(changes)
    insert("ledger_entry", _ENTRY_COLUMNS, [(*entry[:6], "edge", "", entry[6]) for entry in entries])
    told = [(item, settled) for item, settled in fresh if item.status]
    if any(item.rare is not None or item.usage.cache_write_tokens for item, _ in told):
        insert("usage_ledger", _ALL_COLUMNS, [_usage_row(item, settled) + _rare_row(item) for item, settled in told])
    else:
        insert("usage_ledger", _USAGE_COLUMNS, [_usage_row(item, settled) for item, settled in told])
    _close_claims([(item, settled) for item, settled in fresh if item.claimed])


def _close_holds(items: Sequence[Settlement], state: str, now: int) -> None:
    if not items:
        return
    accounts = sorted({item.account for item in items})
    execute(
        "UPDATE hold SET state = ?, closed_at = ? WHERE id IN ? AND account_id IN ? AND state IN ('held', 'expired')",
        [state, now, [item.call for item in items], accounts],
    )


def _usage_row(item: Settlement, settled: Settled) -> tuple[object, ...]:
    usage = item.usage
    return (
        *(item.call, item.account, item.api_key, item.model, item.channel, item.price, item.status, item.error_code),
        *(item.streamed, usage.estimated, usage.input_tokens, usage.cached_tokens, usage.output_tokens),
        *(usage.reasoning_tokens, settled.credits, settled.overrun, item.attempts, item.first_token_ms),
        *(item.duration_ms, item.created_at),
    )


def _rare_row(item: Settlement) -> tuple[object, ...]:
    return (item.usage.cache_write_tokens, *(item.rare or Rare()))


def _close_claims(finished: Sequence[tuple[Settlement, Settled]]) -> None:
    """Remember what a claimed call cost; a call that failed and cost nothing gives its key back, so that a retry may run."""
    for item, settled in finished:
        if item.status == "completed" or settled.credits:
            execute(
                "UPDATE idempotency_claim SET state = 'done', credits = ? WHERE account_id = ? AND call = ?",
                [settled.credits, item.account, item.call],
            )
        else:
            execute("DELETE FROM idempotency_claim WHERE account_id = ? AND call = ?", [item.account, item.call])
