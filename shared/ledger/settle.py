"""Settles holds: turns them into charges and releases the rest, for a batch of calls in one transaction.

Exactly once: a settled hold is deleted, so a second settlement of the same call finds none and changes nothing. Holds of visitors
are kept for a week instead: only they show which visitor made a call.

A crash of the database can lose a hold, because it is committed without waiting for the disk. Its call has neither a hold nor a
usage row, and is charged from the available credits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from hashlib import sha256
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from orjson import OPT_SORT_KEYS, dumps

from shared.billing.token_usage import TokenUsage
from shared.core.clock import id_time, new_id
from shared.ledger.allowances import Meter, MeterId, allowance_names, read_allowances, read_overages, write_meters
from shared.ledger.sql import (
    AccountState,
    as_number,
    as_uuid,
    change_accounts,
    difference,
    entry_month,
    execute,
    insert,
    lock_accounts,
    selected,
)
from shared.ledger.visitor_pool import MIN_CALL_CREDITS, POOL_ACCOUNT_ID
from shared.ledger.witness import NO_HEAD, TAG, new_salts, pack_entry

NO_USAGE = TokenUsage(0, 0)
MARGIN_PERCENT = 10  # maximum excess of a charge over its hold
MIN_MARGIN_CREDITS = 100
# Holds that can be settled are "held" or "expired", or were lost; only "held" ones still hold their credits.
_OPEN = "state IN ('held', 'expired')"


class UsageDetails(NamedTuple):
    """Usage columns that limit calls leave empty. They are written only if a call in the batch has one.

    asked_model      the requested model, if another one served the call
    failed_attempts  error codes of the failed attempts, separated by commas
    cut              how an answer that was cut off ended upstream, one of `shared.models.CUT_HANDLINGS`
    tag              the caller's label
    """

    asked_model: str | None = None
    failed_attempts: str | None = None
    cut: str | None = None
    tag: str | None = None


class FailedCost(NamedTuple):
    """Our cost, in credits, of a call's failed attempts at one channel."""

    channel: UUID
    credits: int


class Settlement(NamedTuple):
    """One finished call. `cost` is its full cost in credits, `cap` the caller's limit. Times in milliseconds.

    `provider_cost` is what the providers of all attempts charge us, in credits; None if it is unknown. `failed_costs` are the
    parts of it that channels other than `channel` caused. Neither affects a charge. `request_sha256` is of the body that
    `channel` got, `request_shape` the id of its shape (`shared.ledger.request_shapes`).

    `status` is one of `shared.models.USAGE_STATUSES`. None means that the call never started: no usage row is written.

    `held` is the number of credits that the call held. It limits the charge if the database lost the hold; 0 if it cannot.
    `is_ordinary` is that of its `HoldTaken`.
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
    usage: TokenUsage = NO_USAGE
    attempts: int = 0
    first_token_ms: int | None = None
    duration_ms: int = 0
    created_at: int = 0
    has_claim: bool = False
    details: UsageDetails | None = None
    provider_cost: int | None = None
    failed_costs: Sequence[FailedCost] = ()
    request_sha256: bytes | None = None
    held: int = 0
    request_shape: bytes | None = None
    is_ordinary: bool = False


class Settled(NamedTuple):
    """Result of a settlement: `credits` charged, the `balance` afterwards, and the part of the cost not charged (`overrun`).

    overage   credits charged to the subscription's overage, part of `credits`
    member    who called, unless it was the account's owner or a visitor
    balance   for a visitor, the rest of the daily allowance
    is_first  false if there was no open hold: nothing changed, and `credits` is the first settlement's charge
    """

    credits: int
    balance: int
    uncharged_cost: int = 0
    is_first: bool = True
    overage: int = 0
    member: UUID | None = None


class Hold(NamedTuple):
    """A hold's row: credits from the pool and of a subscription's overage; the names of its allowances; the member who called.

    Ids are as read (`as_uuid`).
    """

    amount: int
    state: str
    member: Any = None
    overage: int = 0
    subscription: Any = None
    allowance: str | None = None
    parent_allowance: str | None = None
    more_allowances: str | None = None

    @property
    def is_special(self) -> bool:
        """Whether it uses more than the pool. Most holds do not."""
        return bool(self.overage or self.allowance or self.parent_allowance or self.more_allowances)


class _ExtraHold(NamedTuple):
    """What a hold uses besides the pool: credits of a subscription's `overage`, and its full amount in each of `allowances`."""

    overage: int
    subscription: UUID | None
    allowances: tuple[str, ...]


# A new ledger entry: the call and its result, the entry's number, amount, balance and plan credits.
_Charge = tuple[Settlement, Settled, int, int, int, int]
# A call and its account, as numbers: their hashes are computed in C, but those of `UUID` in Python.
CallId = tuple[int, int]


def settle(items: Sequence[Settlement], now: int) -> list[Settled]:
    """Settle every item in order. Run inside a transaction. Raises only database errors."""
    read_pools, read_holds = lock_accounts(item.account for item in items), _take_holds(items)
    pools, holds = read_pools(), read_holds()
    before = dict(pools)
    extra_holds, meters = _read_meters(holds)
    read = dict(meters)
    charges, results, was_expired = [], [], []
    charged: dict[CallId, int] = {}
    has_others = len(holds) < len(items)  # calls that were settled before, or more than once here, or whose hold was lost
    if has_others:
        charged = _read_charges(items, holds)
        holds |= _lost_holds(items, pools, holds, charged)
    for item in items:
        id = item.call.int, item.account.int
        hold = holds.pop(id, None)
        pool = pools.get(item.account, _NO_POOL)
        if hold is None:
            results.append(Settled(charged.get(id, 0), pool.balance, is_first=False))
            continue
        if hold.state == "expired" and item.status:
            was_expired.append(item)
        if hold.is_special:
            settled, after = _charge_special(item, pool, hold, extra_holds[id], meters)
        else:
            settled, after = charge(item, pool, hold)
        if hold.member is not None:
            settled = settled._replace(member=as_uuid(hold.member))
        if has_others:
            charged[id] = settled.credits
        pools[item.account] = after
        if after.ledger_seq != pool.ledger_seq:
            amount, plan = after.balance - pool.balance, after.plan_credits - pool.plan_credits
            charges.append((item, settled, after.ledger_seq, amount, after.balance, plan))
        results.append(settled)
    _forget_expiry(was_expired)
    _write(items, results, charges, before, pools, now)
    write_meters(read, meters)
    _write_overage(items, results, extra_holds, now)
    return results


_UNFINISHED = 2**62  # later than any call
_NO_POOL, _EMPTY_METER = AccountState(0, 0, 0), Meter(0)


def release(calls: Sequence[UUID], now: int, accounts: Iterable[UUID]) -> None:
    """Release the holds of `calls` of these accounts, if they exist, without a usage row.

    For reservations whose commit was not confirmed. Locking the accounts first waits for a commit that is still running, so its
    holds are found.
    """
    owners = sorted(set(accounts))
    if not owners:
        return
    lock_accounts(owners)
    rows = execute(
        "SELECT id, account_id FROM hold WHERE id IN ? AND account_id IN ? AND state = 'held'", [list(calls), owners]
    ).fetchall()
    if rows:
        settle([Settlement(as_uuid(call), as_uuid(account), 0, has_claim=True) for call, account in rows], now)


def charge(item: Settlement, pool: AccountState, hold: Hold) -> tuple[Settled, AccountState]:
    """Charge `item` against its hold and, within the margin, against available credits; never more."""
    amount = hold.amount if hold.state == "held" else 0
    limit = min(amount + pool.available, hold.amount + overrun_margin(hold.amount))
    if item.cap is not None:
        limit = min(limit, item.cap)
    credits = min(item.cost, limit)
    after = _after(pool, amount, credits)
    return Settled(credits, after.balance, item.cost - credits), after


def overrun_margin(amount: int) -> int:
    """Return the maximum excess of a charge over a hold of `amount` credits: providers may count tokens differently.

    The platform pays for the rest.
    """
    return max(amount * MARGIN_PERCENT // 100, MIN_MARGIN_CREDITS)


def _after(pool: AccountState, released: int, credits: int) -> AccountState:
    """Return the pool after a hold was released and a charge taken, from plan credits first."""
    plan = min(pool.plan_credits, credits)
    return AccountState(
        pool.balance - credits, pool.held - released, pool.ledger_seq + (1 if credits else 0), pool.plan_credits - plan
    )


def _charge_special(
    item: Settlement, pool: AccountState, hold: Hold, extra_hold: _ExtraHold, meters: dict[MeterId, Meter]
) -> tuple[Settled, AccountState]:
    """Like `charge`, for a hold with allowances or overage. The pool is used first.

    An expired hold has released its credits, so its charge is limited to what is available now.
    """
    visitor, running = item.account == POOL_ACCOUNT_ID, hold.state == "held"
    cost, total = item.cost, hold.amount + extra_hold.overage
    if visitor and item.usage.total_tokens:
        cost = max(cost, MIN_CALL_CREDITS)
    amount = hold.amount if running else 0
    overage = extra_hold.overage
    if extra_hold.subscription is not None:
        meter = meters[item.account, extra_hold.subscription]
        overage = overage if running else min(overage, meter.available)
    limit = min(amount + pool.available + overage, total + overrun_margin(total))
    if visitor:
        limit = min(limit, total)
    for name in extra_hold.allowances:
        allowance = meters.get((item.account, name), _EMPTY_METER)  # the row of that day was deleted
        limit = min(limit, allowance.available + (total if running else 0))
    if item.cap is not None:
        limit = min(limit, item.cap)
    credits = min(cost, limit)
    beyond = max(0, credits - amount - pool.available)
    if extra_hold.subscription is not None:
        meters[item.account, extra_hold.subscription] = meter.settle(extra_hold.overage if running else 0, beyond)
    after = _after(pool, amount, credits - beyond)
    balance = after.balance
    for name in extra_hold.allowances:
        allowance = meters.get((item.account, name), _EMPTY_METER).settle(total if running else 0, credits)
        meters[item.account, name] = allowance
        balance = allowance.allowed - allowance.used if visitor else balance
    return Settled(credits, balance, cost - credits, overage=beyond), after


_HOLD = "id, account_id, amount, state, member, overage, subscription, allowance, parent_allowance, more_allowances"


def _take_holds(items: Sequence[Settlement]) -> Callable[[], dict[CallId, Hold]]:
    """Delete the open holds of these calls, and return a function that reads them. Those of visitors are kept, and only read."""
    calls = [item.call for item in items if item.account != POOL_ACCOUNT_ID]
    accounts = sorted({item.account for item in items if item.account != POOL_ACCOUNT_ID})
    cursors = []
    if calls:
        taken, values = f"DELETE FROM hold WHERE id IN ? AND account_id IN ? AND {_OPEN}", [calls, accounts]
        if len(accounts) > 1:  # a call that an item attributes to another account keeps its hold
            pairs, parameters = selected(
                ("id", "account_id"), [(item.call, item.account) for item in items if item.account != POOL_ACCOUNT_ID]
            )
            taken, values = f"{taken} AND (id, account_id) IN ({pairs})", [*values, *parameters]
        cursors.append(execute(f"{taken} RETURNING {_HOLD}", values))
    if len(calls) < len(items):
        visits = [item.call for item in items if item.account == POOL_ACCOUNT_ID]
        cursors.append(
            execute(f"SELECT {_HOLD} FROM hold WHERE id IN ? AND account_id = ? AND {_OPEN}", [visits, POOL_ACCOUNT_ID])
        )
    return lambda: {(as_number(id), as_number(account)): Hold(*rest) for cursor in cursors for id, account, *rest in cursor}


def _read_meters(holds: dict[CallId, Hold]) -> tuple[dict[CallId, _ExtraHold], dict[MeterId, Meter]]:
    """Return what special holds use besides the pool, and read the meters that count it. Most batches have none."""
    extra_holds = {
        id: _ExtraHold(
            hold.overage,
            as_uuid(hold.subscription) if hold.subscription else None,
            allowance_names(hold.allowance, hold.parent_allowance, hold.more_allowances),
        )
        for id, hold in holds.items()
        if hold.is_special
    }
    if not extra_holds:
        return {}, {}
    used = [(UUID(int=account), extra_hold) for (_, account), extra_hold in extra_holds.items()]
    read_allowed = read_allowances({(account, name) for account, extra_hold in used for name in extra_hold.allowances})
    read_overdrawn = read_overages({(account, one.subscription) for account, one in used if one.subscription})
    return extra_holds, read_allowed() | read_overdrawn()


def _read_charges(items: Sequence[Settlement], holds: Container[CallId]) -> dict[CallId, int]:
    """Return the charges of calls that were settled before: their first commit may not have been confirmed."""
    again = [item for item in items if (item.call.int, item.account.int) not in holds]
    if not again:
        return {}
    scope = [sorted({item.account for item in again}), [item.call for item in again]]
    rows = execute(
        "SELECT call, account_id, sum(credits) FROM"
        " (SELECT call, account_id, -amount AS credits FROM ledger_entry WHERE account_id IN ? AND call IN ? AND kind = 'charge'"
        " UNION ALL SELECT call, account_id, amount FROM overage_entry WHERE account_id IN ? AND call IN ?) t"
        " GROUP BY call, account_id",
        [*scope, *scope],
    )
    return {(as_number(call), as_number(account)): int(credits) for call, account, credits in rows}


def _lost_holds(
    items: Sequence[Settlement], accounts_found: Container[UUID], holds: Container[CallId], charged: Container[CallId]
) -> dict[CallId, Hold]:
    """Return the holds that a crash of the database lost: of calls that were never settled, so they have no usage row either.

    A purge deletes the usage rows and expired holds of calls that began before its end, so those are never charged again; neither
    are calls of a deleted account.
    """
    missing = {}
    for item in items:
        id = item.call.int, item.account.int
        if item.held and item.status and item.account != POOL_ACCOUNT_ID and id not in holds and id not in charged:
            missing[id] = item
    if not missing:
        return {}
    calls, accounts = [item.call for item in missing.values()], sorted({item.account for item in missing.values()})
    rows = execute("SELECT id, account_id FROM usage_ledger WHERE id IN ? AND account_id IN ?", [calls, accounts]).fetchall()
    settled = {(as_number(id), as_number(account)) for id, account in rows}
    purges = execute(
        "SELECT account_id, max(boundary), max(coalesce(finished_at, ?)) FROM purge_job WHERE account_id IN ?"
        " GROUP BY account_id",
        [_UNFINISHED, accounts],
    ).fetchall()
    purged = {as_uuid(account): max(int(boundary), int(finished)) for account, boundary, finished in purges}
    return {
        id: Hold(item.held, "lost")
        for id, item in missing.items()
        if item.account in accounts_found and id not in settled and id_time(item.call) > purged.get(item.account, -1)
    }


def _forget_expiry(was_expired: Sequence[Settlement]) -> None:
    """Delete the usage rows that the sweep wrote for these calls, to make room for the real ones."""
    if was_expired:
        execute(
            "DELETE FROM usage_ledger WHERE id IN ? AND account_id IN ? AND status = 'expired'",
            [[item.call for item in was_expired], sorted({item.account for item in was_expired})],
        )


ENTRY_COLUMNS = (
    *("account_id", "seq", "kind", "amount", "balance_after", "call", "actor", "reason", "created_at", "plan_amount", "month"),
    *("entry_hash", "commitment", "salt"),
)
USAGE_COLUMNS = (
    *("id", "account_id", "api_key", "model", "channel", "price", "status", "error_code", "streamed", "estimated"),
    *("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "credits", "overrun_credits"),
    *("attempts", "first_token_ms", "duration_ms", "created_at", "provider_cost", "request_sha256", "request_shape"),
)
_ALL_COLUMNS = (*USAGE_COLUMNS, "overage_credits", "cache_write_tokens", "extra_usage", "member", *UsageDetails._fields)
_FAILOVER_COLUMNS = ("id", "created_at", "model", "channel", "last_channel", "provider_cost")
_OVERAGE_COLUMNS = ("id", "account_id", "subscription", "kind", "amount", "call", "created_at")


def _write(
    items: Sequence[Settlement],
    results: Sequence[Settled],
    charges: Sequence[_Charge],
    before: dict[UUID, AccountState],
    after: dict[UUID, AccountState],
    now: int,
) -> None:
    fresh = [(item, settled) for item, settled in zip(items, results, strict=True) if settled.is_first]
    visits = [(item, settled) for item, settled in fresh if item.account == POOL_ACCOUNT_ID]
    _close_visits([item.call for item, settled in visits if settled.credits], "settled", now)
    _close_visits([item.call for item, settled in visits if not settled.credits], "released", now)
    heads: dict[UUID, bytes | bytearray] = {}
    entries = entry_rows(charges, before, heads, now)
    change_accounts({id: difference(pool, after[id]) for id, pool in before.items() if after[id] is not pool}, heads)
    insert("ledger_entry", ENTRY_COLUMNS, entries)
    recorded = [(item, settled) for item, settled in fresh if item.status]
    if any(is_rare(item, settled) for item, settled in recorded):
        insert("usage_ledger", _ALL_COLUMNS, [usage_row(item, settled) + _rare_row(item, settled) for item, settled in recorded])
    else:
        insert("usage_ledger", USAGE_COLUMNS, [usage_row(item, settled) for item, settled in recorded])
    _write_failed_costs([item for item, _ in recorded])
    _close_claims([(item, settled) for item, settled in fresh if item.has_claim])


def entry_rows(
    charges: Sequence[_Charge], pools: Mapping[UUID, AccountState], heads: dict[UUID, bytes | bytearray], now: int
) -> list[tuple[object, ...]]:
    """Return the rows of new entries, and put the hash of each account's last one into `heads`.

    Each entry follows that of its account in `heads`, or else in `pools`.
    """
    rows: list[tuple[object, ...]] = []
    last: UUID | None = None
    owner: bytes = b""
    head: bytes | bytearray = b""
    # Written out like `hash_entry`, and hashes are bytearrays like the salts: otherwise each call would cost 2 us more.
    for charge, salt in zip(charges, new_salts(len(charges)), strict=True):
        item, settled, seq, amount, balance, plan = charge
        account, call = item.account, item.call
        if account is not last:  # usually all charges of a batch are of few accounts
            if last is not None:
                heads[last] = head
            last, owner, head = account, account.bytes, heads.get(account) or pools[account].head or NO_HEAD
        commitment = bytearray(sha256(salt + _charge_details(item, settled)).digest())
        packed = pack_entry(TAG, head, owner, seq, b"charge", amount, balance, plan, now, commitment)
        head = bytearray(sha256(packed).digest())
        month = entry_month(call, now)
        rows.append((account, seq, "charge", amount, balance, call, "edge", "", now, plan, month, head, commitment, salt))
    if last is not None:
        heads[last] = head
    return rows


_committed = itemgetter(
    *map(Settlement._fields.index, ("model", "price", "status", "created_at", "request_sha256", "request_shape", "usage"))
)


def _charge_details(item: Settlement, settled: Settled) -> bytes:
    """Return what a charge's entry commits to, like `shared.ledger.witness.entry_details`."""
    model, price, status, created_at, request, shape, usage = _committed(item)
    input_tokens, output_tokens, cached, reasoning, estimated, cache_write, extra = usage
    credits, _, uncharged, _, overage, _ = settled
    details = [
        model,
        price,
        status,
        input_tokens,
        cached,
        cache_write,
        output_tokens,
        reasoning,
        estimated,
        None if extra is None else _extra_counts(usage),
        credits,
        overage,
        uncharged,
        created_at,
        None if request is None else request.hex(),
    ]
    if shape is not None:
        details.append(shape.hex())
    return dumps(("edge", "", item.call, details), option=OPT_SORT_KEYS)


def _close_visits(calls: list[UUID], state: str, now: int) -> None:
    """Keep the holds of visitors' calls, with their result."""
    if calls:
        execute(
            "UPDATE hold SET state = ?, closed_at = ? WHERE id IN ? AND account_id = ? AND state IN ('held', 'expired')",
            [state, now, calls, POOL_ACCOUNT_ID],
        )


def usage_row(item: Settlement, settled: Settled) -> tuple[object, ...]:
    usage = item.usage
    return (
        *(item.call, item.account, item.api_key, item.model, item.channel, item.price, item.status, item.error_code),
        *(item.streamed, usage.estimated, usage.input_tokens, usage.cached_tokens, usage.output_tokens),
        *(usage.reasoning_tokens, settled.credits, settled.uncharged_cost, item.attempts, item.first_token_ms),
        *(item.duration_ms, item.created_at, item.provider_cost, item.request_sha256, item.request_shape),
    )


def is_rare(item: Settlement, settled: Settled) -> bool:
    usage = item.usage
    return bool(
        item.details is not None or usage.cache_write_tokens or usage.extra is not None or settled.overage or settled.member
    )


def _rare_row(item: Settlement, settled: Settled) -> tuple[object, ...]:
    extra = _extra_counts(item.usage)
    written = None if extra is None else json.dumps(extra)
    return (settled.overage, item.usage.cache_write_tokens, written, settled.member, *(item.details or UsageDetails()))


def _extra_counts(usage: TokenUsage) -> dict[str, int | str] | None:
    """Return the counts other than text that are not zero, and the service tier."""
    return None if usage.extra is None else {name: value for name, value in usage.extra._asdict().items() if value}


def _write_failed_costs(items: Sequence[Settlement]) -> None:
    rows = [
        (new_id(), item.created_at, item.model, failed.channel, item.channel, failed.credits)
        for item in items
        for failed in item.failed_costs
    ]
    insert("failover_cost", _FAILOVER_COLUMNS, rows)


def _write_overage(
    items: Sequence[Settlement], results: Sequence[Settled], extra_holds: dict[CallId, _ExtraHold], now: int
) -> None:
    rows = [
        (
            new_id(),
            item.account,
            extra_holds[item.call.int, item.account.int].subscription,
            "charge",
            settled.overage,
            item.call,
            now,
        )
        for item, settled in zip(items, results, strict=True)
        if settled.overage
    ]
    insert("overage_entry", _OVERAGE_COLUMNS, rows)


def _close_claims(finished: Sequence[tuple[Settlement, Settled]]) -> None:
    """Record the charge of calls with an Idempotency-Key. If a call failed without a charge, free its key for a retry.

    A call whose caller disconnected before any output also frees its key, even if the prompt was charged.
    """
    for item, settled in finished:
        if item.status == "completed" or (settled.credits and item.first_token_ms is not None):
            execute(
                "UPDATE idempotency_claim SET state = 'done', credits = ? WHERE account_id = ? AND call = ?",
                [settled.credits, item.account, item.call],
            )
        else:
            execute("DELETE FROM idempotency_claim WHERE account_id = ? AND call = ?", [item.account, item.call])
