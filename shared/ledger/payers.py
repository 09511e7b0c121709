"""Payers: API keys and web sessions of a batch, read by the statements that lock their accounts.

Nothing is cached. So every edge process sees a revoked key, an ended session, a suspended account or an empty pool at the next
call.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, NamedTuple
from uuid import UUID

from shared.database import is_sqlite
from shared.errors import AccessDenied
from shared.ledger.rows import AccountState, as_list, as_uuid, execute
from shared.proxies import canonical_address, canonical_network


class Parent(NamedTuple):
    """The key that created another one, with its limits. Calls of both count under its `meter`."""

    meter: UUID
    monthly_limit: int | None = None
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None


class OwnLimits(NamedTuple):
    """Rate limits from the database, for the edge's limiter; None if the key or plan sets none.

    `meter` is the id under which a key's calls are counted: its own, or that of the first key in its chain of rotations.
    """

    key_rpm: int | None = None
    key_tpm: int | None = None
    key_concurrency: int | None = None
    plan_rpm: int | None = None
    plan_tpm: int | None = None
    plan_concurrency: int | None = None
    meter: UUID | None = None
    parent: Parent | None = None


class Payer(NamedTuple):
    """The payer behind a key's or session's digest. `overage` is the subscription's id if its overage is enabled."""

    account: UUID
    account_status: str
    expires_at: int | None
    revoked_at: int | None
    plan_models: list[str] | None
    overage: UUID | None
    limits: OwnLimits
    api_key: UUID | None = None
    allowed_models: list[str] | None = None
    allowed_ips: list[str] | None = None
    monthly_limit: int | None = None

    def usable(self, now: int) -> bool:
        """Return whether the key or session is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


Payers = dict[str, Payer]
Pools = dict[UUID, AccountState]

# The part of both SELECT lists about the account; `k` is the row of the key or session.
_ACCOUNT = (
    "a.id, a.status, k.expires_at, k.revoked_at, p.allowed_models, a.balance, a.held, a.ledger_seq, a.plan_credits,"
    " CASE WHEN s.overage_cap > 0 AND p.overage_allowed AND s.suspended_at IS NULL THEN s.id END, p.rpm, p.tpm, p.concurrency"
)
_JOINS = (
    " JOIN account a ON a.id = k.account_id"
    " LEFT JOIN subscription s ON s.account_id = a.id AND s.status = 'active' LEFT JOIN plan p ON p.id = s.plan_id"
    " WHERE k.digest IN ? ORDER BY a.id"
)
_KEY = (
    "k.id, k.allowed_models, k.allowed_ips, k.monthly_credit_limit, coalesce(k.meter, k.id), k.rpm, k.tpm, k.concurrency,"
    " coalesce(c.meter, c.id), c.monthly_credit_limit, c.rpm, c.tpm, c.concurrency"
)
_CREATOR = " LEFT JOIN api_key c ON c.id = k.parent"


def lock_payers(keys: Sequence[str], sessions: Sequence[str]) -> tuple[Payers, Payers, Pools]:
    """Lock the accounts of these digests in the order of their ids. Returns the keys and sessions found, and their pools."""
    if keys and sessions and not is_sqlite():
        # Two statements could lock accounts out of order, so one locks all of them first. Its result is not needed.
        execute(
            "SELECT id FROM account WHERE id IN (SELECT account_id FROM api_key WHERE digest IN ?"
            " UNION SELECT account_id FROM web_session WHERE digest IN ?) ORDER BY id FOR UPDATE",
            [keys, sessions],
        )
    key_rows = _lock(f"SELECT {_ACCOUNT}, k.digest, {_KEY} FROM api_key k{_CREATOR}", keys)
    session_rows = _lock(f"SELECT {_ACCOUNT}, k.digest FROM web_session k", sessions)
    pools: Pools = {}
    return _read(key_rows, pools), _read(session_rows, pools), pools


def _lock(select: str, digests: Sequence[str]) -> Any:
    lock = "" if is_sqlite() else " FOR UPDATE OF a"
    return execute(f"{select}{_JOINS}{lock}", [digests]) if digests else None


def _read(cursor: Any, pools: Pools) -> Payers:
    found: Payers = {}
    for account, status, expires, revoked, plan_models, *rest in cursor or ():
        balance, held, seq, plan, overage, rpm, tpm, concurrency, digest, *key = rest
        account = as_uuid(account)
        pools[account] = AccountState(balance, held, seq, plan)
        payer = (account, status, expires, revoked, as_list(plan_models), as_uuid(overage) if overage else None)
        if key:
            id, models, ips, monthly, meter, own_rpm, own_tpm, own_concurrency, parent_meter, *creator = key
            parent = Parent(as_uuid(parent_meter), *creator) if parent_meter is not None else None
            limits = OwnLimits(own_rpm, own_tpm, own_concurrency, rpm, tpm, concurrency, as_uuid(meter), parent)
            found[digest] = Payer(*payer, limits, as_uuid(id), as_list(models), as_list(ips), monthly)
        else:
            found[digest] = Payer(*payer, OwnLimits(plan_rpm=rpm, plan_tpm=tpm, plan_concurrency=concurrency))
    return found


def check_access(payer: Payer, model: str, address: str) -> None:
    """Raise `AccessDenied` unless the account is active, and its key and plan allow `model` from this IP address."""
    if payer.account_status != "active":
        raise AccessDenied("This account is suspended. Contact support.", "account_suspended")
    if payer.allowed_ips is not None and not address_allowed(address, payer.allowed_ips):
        raise AccessDenied("Your API key cannot be used from your IP address.", "ip_not_allowed")
    if payer.allowed_models is not None and model not in payer.allowed_models:
        raise AccessDenied(f"Your API key does not have access to the model '{model}'.", "model_not_allowed")
    if payer.plan_models is not None and model not in payer.plan_models:
        raise AccessDenied(f"Your plan does not include the model '{model}'.", "plan_required")


def address_allowed(address: str, allowed: Sequence[str]) -> bool:
    """Return whether `address` is in one of the `allowed` addresses and networks. Spellings do not matter."""
    canonical = canonical_address(address)
    if not canonical:
        return False
    caller = ip_address(canonical)
    return any(caller in canonical_network(network) for network in allowed)
