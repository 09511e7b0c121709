"""Payers: API keys and web sessions of a batch, read by the statements that lock their accounts.

Callers remember only the account of a key or session, because it never changes. Everything else is read under the lock, so every
edge process sees a revoked key, an ended session, a suspended account or an empty pool at the next call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from shared.core.database import is_sqlite
from shared.core.shards import is_distributed
from shared.identity.payer import KeyAndPlanLimits, KeyPayer, MemberState, ParentKey, Payer, PayerRow, SessionPayer
from shared.identity.roles import OWNER
from shared.ledger.sql import AccountState, as_list, as_uuid, execute, lock_accounts

PayerRows = dict[Payer, PayerRow]  # of keys and sessions
Pools = dict[UUID, AccountState]

# The part of both SELECT lists about the account; `k` is the row of the key or session.
_ACCOUNT = (
    "a.id AS account, a.status, k.expires_at, k.revoked_at, p.allowed_models AS plan_models, a.balance, a.held, a.ledger_seq,"
    " a.plan_credits, a.ledger_head,"
    " CASE WHEN s.overage_cap > 0 AND p.overage_allowed AND coalesce(s.suspended_at, s.past_due_at) IS NULL THEN s.id END"
    " AS overage,"
    " p.rpm AS plan_rpm, p.tpm AS plan_tpm, p.concurrency AS plan_concurrency, m.id AS member, m.role,"
    " coalesce(m.suspended_at, m.removed_at) AS stopped_at, m.monthly_credit_limit AS member_month,"
    " m.daily_credit_limit AS member_day"
)
_JOINS = (
    " JOIN account a ON a.id = k.account_id"
    " LEFT JOIN member m ON m.id = coalesce(k.member, k.account_id)"
    " LEFT JOIN subscription s ON s.account_id = a.id AND s.status = 'active' LEFT JOIN plan p ON p.id = s.plan_id"
    " WHERE k.digest IN ? AND a.id IN ? ORDER BY a.id"
)
_KEY = (
    "k.id AS key, k.allowed_models, k.allowed_ips, k.monthly_credit_limit AS monthly_limit, k.daily_credit_limit AS daily_limit,"
    " coalesce(k.meter, k.id) AS meter, k.rpm, k.tpm, k.concurrency, coalesce(c.meter, c.id) AS parent_meter,"
    " c.monthly_credit_limit AS parent_month, c.rpm AS parent_rpm, c.tpm AS parent_tpm, c.concurrency AS parent_concurrency,"
    " c.daily_credit_limit AS parent_day"
)
SELECT_KEYS = f"SELECT {_ACCOUNT}, k.digest, {_KEY} FROM api_key k LEFT JOIN api_key c ON c.id = k.parent{_JOINS}"
_SELECT_SESSIONS = f"SELECT {_ACCOUNT}, k.digest FROM web_session k{_JOINS}"
# Citus takes the account of joined rows from an equality with one value, but not from an array.
_NAME_SUBSCRIPTIONS = "s.account_id = a.id", "s.account_id = a.id AND s.account_id IN ?"


def lock_payers(payers: Mapping[Payer, UUID | None]) -> tuple[PayerRows, Pools]:
    """Lock the accounts of keys and sessions in the order of their ids. Returns the rows found, and their pools.

    Each payer comes with its account, or None if that is unknown and must be looked up first. A key or session of another account
    than given is not found.
    """
    keys = _with_accounts("api_key", {payer.digest: id for payer, id in payers.items() if isinstance(payer, KeyPayer)})
    sessions = _with_accounts(
        "web_session", {payer.digest: id for payer, id in payers.items() if isinstance(payer, SessionPayer)}
    )
    if keys and sessions and not is_sqlite():
        # Two statements could lock accounts out of order, so one locks all of them first. Its result is not needed.
        lock_accounts({*keys.values(), *sessions.values()})
    key_rows, session_rows = _lock(SELECT_KEYS, keys), _lock(_SELECT_SESSIONS, sessions)
    pools: Pools = {}
    return read_payers(key_rows, pools) | read_payers(session_rows, pools), pools


def _with_accounts(table: str, known: dict[str, UUID | None]) -> dict[str, UUID]:
    """Return the account of each digest; those that do not exist are left out. Reads `table` only for those without one."""
    unknown = sorted(digest for digest, account in known.items() if account is None)
    found = {digest: account for digest, account in known.items() if account is not None}
    if unknown:
        rows = execute(f"SELECT digest, account_id FROM {table} WHERE digest IN ?", [unknown])
        found.update((digest, as_uuid(account)) for digest, account in rows)
    return found


def _lock(select: str, accounts: Mapping[str, UUID]) -> Any:
    """Run `select` for these digests. It names their accounts, so that a distributed database can route it to one shard."""
    lock = "" if is_sqlite() else " FOR NO KEY UPDATE OF a"
    if not accounts:
        return None
    digests, ids = sorted(accounts), sorted(set(accounts.values()))
    if is_distributed():
        return execute(f"{select.replace(*_NAME_SUBSCRIPTIONS)}{lock}", [ids, digests, ids])
    return execute(f"{select}{lock}", [digests, ids])


def read_payers(rows: Iterable[Sequence[Any]] | None, pools: Pools) -> PayerRows:
    """Return the payers in rows of `SELECT_KEYS`, or of sessions, and put their accounts into `pools`."""
    found: PayerRows = {}
    for account, status, expires, revoked, plan_models, *rest in rows or ():
        account = as_uuid(account)
        balance, held, seq, plan, head, overage, rpm, tpm, concurrency, member, *rest = rest
        role, suspended_at, monthly_of_member, daily_of_member, digest, *key = rest
        state = None
        if member is not None and (role != OWNER or as_uuid(member) != account):
            state = MemberState(as_uuid(member), role, suspended_at is not None, monthly_of_member, daily_of_member)
        pools[account] = AccountState(balance, held, seq, plan, head)
        payer = (account, status, expires, revoked, as_list(plan_models), as_uuid(overage) if overage else None)
        if key:
            id, models, ips, monthly, daily, meter, own_rpm, own_tpm, own_concurrency, parent_meter, *creator = key
            parent = ParentKey(as_uuid(parent_meter), *creator) if parent_meter is not None else None
            limits = KeyAndPlanLimits(own_rpm, own_tpm, own_concurrency, rpm, tpm, concurrency, as_uuid(meter), parent)
            found[KeyPayer(digest)] = PayerRow(*payer, limits, as_uuid(id), as_list(models), as_list(ips), monthly, daily, state)
        else:
            found[SessionPayer(digest)] = PayerRow(
                *payer, KeyAndPlanLimits(plan_rpm=rpm, plan_tpm=tpm, plan_concurrency=concurrency), member=state
            )
    return found
