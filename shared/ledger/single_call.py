"""Takes the hold of a single ordinary call in one statement, and charges the call in another. PostgreSQL only.

Each is a transaction of its own in one round trip; `reserve` and `settle` take two round trips, and six or eight statements. A
call is ordinary if its payer is an API key without credit limits or a member, its pool is rich enough for its bound, and it has
no Idempotency-Key or fallbacks. For any other call, and while another transaction locks the account, nothing is written and the
result is None: then use `reserve` or `settle`.

A charge depends on its account's state, such as the hash of the latest entry. It is computed from the state that the last
statement read, and written only if that is still the state.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from shared.billing.elastic_hold import RICH_FACTOR
from shared.core.database import is_sqlite
from shared.core.shards import is_distributed
from shared.identity.payer import KeyPayer
from shared.identity.roles import OWNER
from shared.ledger.payers import SELECT_KEYS, read_payers
from shared.ledger.reserve import HOLD_COLUMNS, HoldTaken, Reservation, hold_row
from shared.ledger.settle import (
    ENTRY_COLUMNS,
    USAGE_COLUMNS,
    Hold,
    Settled,
    Settlement,
    charge,
    entry_rows,
    is_rare,
    usage_row,
)
from shared.ledger.sql import AccountState, execute, placeholders
from shared.ledger.visitor_pool import POOL_ACCOUNT_ID

MAX_REMEMBERED = 10_000  # accounts, and keys; above it all are forgotten
RETRY_SECONDS = 10.0  # how long a key whose call was not ordinary is not tried again

# `SKIP LOCKED`: the statement never waits for a lock, so it needs no timeouts. The last column ends the wait for the disk, as in
# `batch_transaction(durable=False)`.
_RESERVE = f"""
WITH payer AS MATERIALIZED ({SELECT_KEYS} FOR NO KEY UPDATE OF a SKIP LOCKED),
taken AS (
    INSERT INTO hold ({", ".join(HOLD_COLUMNS)})
    SELECT ?::uuid, payer.account, payer.key, {placeholders(HOLD_COLUMNS[3:])} FROM payer
    WHERE payer.status = 'active' AND payer.revoked_at IS NULL AND (payer.expires_at IS NULL OR payer.expires_at > ?)
    AND (payer.member IS NULL OR (payer.member = payer.account AND payer.role = '{OWNER}'))
    AND (payer.plan_models IS NULL OR payer.plan_models::jsonb @> to_jsonb(?::text))
    AND (payer.allowed_models IS NULL OR payer.allowed_models::jsonb @> to_jsonb(?::text)) AND payer.allowed_ips IS NULL
    AND payer.monthly_limit IS NULL AND payer.daily_limit IS NULL AND payer.parent_meter IS NULL
    AND payer.balance - payer.held >= ?
    RETURNING account_id, amount
),
changed AS (UPDATE account SET held = account.held + taken.amount FROM taken WHERE account.id = taken.account_id)
SELECT payer.*, EXISTS (SELECT FROM taken), set_config('synchronous_commit', 'off', true) FROM payer
"""
_STATE = "balance, held, ledger_seq, plan_credits, ledger_head"
_SETTLE = f"""
WITH pool AS MATERIALIZED (SELECT id, {_STATE} FROM account WHERE id = ? FOR NO KEY UPDATE SKIP LOCKED),
closed AS (
    DELETE FROM hold USING pool WHERE hold.id = ? AND hold.account_id = pool.id AND hold.state = 'held' AND hold.amount = ?
    AND hold.overage = 0 AND hold.allowance IS NULL AND hold.parent_allowance IS NULL AND hold.more_allowances IS NULL
    AND hold.member IS NULL AND (pool.balance, pool.ledger_seq, pool.plan_credits) = (?, ?, ?)
    AND pool.ledger_head IS NOT DISTINCT FROM ?::bytea
    RETURNING hold.account_id, hold.amount
),
changed AS (
    UPDATE account SET balance = ?, held = held - closed.amount, ledger_seq = ?, plan_credits = ?, ledger_head = ?::bytea
    FROM closed WHERE account.id = closed.account_id
),
entry AS (INSERT INTO ledger_entry ({", ".join(ENTRY_COLUMNS)}) SELECT {placeholders(ENTRY_COLUMNS)} FROM closed),
usage AS (INSERT INTO usage_ledger ({", ".join(USAGE_COLUMNS)}) SELECT {placeholders(USAGE_COLUMNS)} FROM closed)
SELECT {_STATE}, EXISTS (SELECT FROM closed) FROM pool
"""


class SingleCalls:
    """Reserves and settles single calls in this thread's connection. Not inside a transaction."""

    def __init__(self) -> None:
        self._pools: dict[UUID, AccountState] = {}
        self._other_keys: dict[str, float] = {}  # by digest: when to try again

    def reserve(self, reservation: Reservation, now: int) -> HoldTaken | None:
        """Take the hold of an ordinary call; otherwise return None. Raises database errors: the hold may have been taken."""
        payer, quote = reservation.payer, reservation.quote
        if is_sqlite() or is_distributed() or not self._may_be_ordinary(reservation):
            return None
        is_certain = not reservation.elastic or quote.bound <= quote.minimum
        row = hold_row(reservation, quote.bound, now)
        call, model = reservation.call, reservation.model
        needed = quote.bound if is_certain else RICH_FACTOR * quote.bound
        conditions = (now, model, model, needed)
        found = _execute(_RESERVE, (payer.digest, reservation.account, call, *row, *conditions)).fetchone()
        if found is None:
            return None
        *columns, is_taken, _ = found
        pools: dict[UUID, AccountState] = {}
        [key] = read_payers([columns], pools).values()
        if not is_taken:
            self._remember_other(payer.digest)
            return None
        if len(self._pools) >= MAX_REMEMBERED:
            self._pools.clear()
        self._pools |= pools
        return HoldTaken(key.account, key.api_key, quote.bound, key.limits, is_ordinary=True)

    def settle(self, item: Settlement, now: int) -> Settled | None:
        """Charge an ordinary call; otherwise return None. Raises database errors: the call may have been charged."""
        pool = self._pools.get(item.account)
        if pool is None or not _is_ordinary(item):
            return None
        for _ in range(2):
            settled, after = charge(item, pool, Hold(item.held, "held"))
            if is_rare(item, settled):
                return None
            plan = after.plan_credits - pool.plan_credits
            new_entry = item, settled, after.ledger_seq, -settled.credits, after.balance, plan
            heads: dict[UUID, bytes | bytearray] = {}
            [entry] = entry_rows([new_entry], {item.account: pool}, heads, now)
            before = pool.balance, pool.ledger_seq, pool.plan_credits, pool.head
            changed = after.balance, after.ledger_seq, after.plan_credits, heads[item.account]
            values = (item.account, item.call, item.held, *before, *changed, *entry, *usage_row(item, settled))
            found = _execute(_SETTLE, values).fetchone()
            if found is None:
                return None
            *state, is_settled = found
            current = AccountState(*state)
            if is_settled:
                self._pools[item.account] = after._replace(held=current.held - item.held, head=bytes(heads[item.account]))
                return settled
            if (current.balance, current.ledger_seq, current.plan_credits, current.head) == before:
                return None  # the hold is not open, or was extended
            pool = self._pools[item.account] = current
        return None

    def _may_be_ordinary(self, reservation: Reservation) -> bool:
        payer = reservation.payer
        if not isinstance(payer, KeyPayer) or reservation.account is None or reservation.claim or reservation.fallbacks:
            return False
        retry_at = self._other_keys.get(payer.digest)
        return retry_at is None or retry_at < time.monotonic()

    def _remember_other(self, digest: str) -> None:
        if len(self._other_keys) >= MAX_REMEMBERED:
            self._other_keys.clear()
        self._other_keys[digest] = time.monotonic() + RETRY_SECONDS


def _is_ordinary(item: Settlement) -> bool:
    """Return whether the charge is the call's cost, whatever else the account holds."""
    if not item.is_ordinary or item.status is None or item.has_claim or item.failed_costs or item.account == POOL_ACCOUNT_ID:
        return False
    return 0 < item.cost <= item.held and item.cap != 0


def _execute(sql: str, values: Iterable[Any]) -> Any:
    """Run a statement with all integers as `bigint`: psycopg would choose a type by size, and prepare each combination."""
    from psycopg.types.numeric import Int8  # here, because an edge on SQLite has no psycopg

    return execute(sql, [Int8(value) if value.__class__ is int else value for value in values])
