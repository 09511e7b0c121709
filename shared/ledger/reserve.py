"""Reserve: check the key and take the hold, for a batch of calls in one transaction.

The same statement that locks the pools reads the keys, so that a revoked key, a suspended account or an empty pool is seen by the
very next call, on every edge process. Nothing here is served from a cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import NamedTuple
from uuid import UUID

from shared.database import is_sqlite
from shared.errors import AccessDenied, IdempotencyConflict, InsufficientCredits, InvalidKey, RequestRefused
from shared.ledger.rows import AccountState, as_list, as_uuid, change_accounts, execute, insert
from shared.pricing import Quote, affordable_output

CLAIM_MS = 24 * 3600 * 1000  # how long an Idempotency-Key is remembered


class Claim(NamedTuple):
    """An `Idempotency-Key` and the body it came with, as SHA-256 hex digests."""

    key_digest: str
    body_digest: str


class Reservation(NamedTuple):
    """One call that asks for a hold. Times in milliseconds UTC.

    `account` is the key's, where the caller knows it: for the order of locks alone (`lock_in_order`), never for the decision.
    """

    call: UUID
    digest: str
    model: str
    quote: Quote
    expires_at: int
    edge_process: UUID | None = None
    address: str = ""
    claim: Claim | None = None
    account: UUID | None = None


class Reserved(NamedTuple):
    """A hold that was taken: `amount` credits of `account`."""

    account: UUID
    api_key: UUID
    amount: int
    own_limits: OwnLimits


class OwnLimits(NamedTuple):
    """Rate limits as the rows have them, for the edge's limiter; None where a key or a plan sets none."""

    key_rpm: int | None = None
    key_tpm: int | None = None
    key_concurrency: int | None = None
    plan_rpm: int | None = None
    plan_tpm: int | None = None
    plan_concurrency: int | None = None


class _Key(NamedTuple):
    id: UUID
    account: UUID
    account_status: str
    expires_at: int | None
    revoked_at: int | None
    allowed_models: list[str] | None
    allowed_ips: list[str] | None
    plan_models: list[str] | None
    limits: OwnLimits


def reserve(asks: Sequence[Reservation], now: int) -> list[Reserved | RequestRefused]:
    """Decide every ask, in order, and write the holds of those that may go on.

    Gives for each ask `Reserved`, or the error that its caller should see (not raised: one caller's error is not its
    neighbours'). Run inside a transaction.
    """
    keys, pools = _lock_keys(asks)
    claims = _read_claims(asks, keys)
    results: list[Reserved | RequestRefused] = []
    granted: list[tuple[Reservation, Reserved]] = []
    for ask in asks:
        try:
            reserved = _decide(ask, keys.get(ask.digest), pools, claims, now)
        except RequestRefused as refusal:
            results.append(refusal)
        else:
            results.append(reserved)
            granted.append((ask, reserved))
    _write(granted, now)
    return results


def _lock_keys(asks: Sequence[Reservation]) -> tuple[dict[str, _Key], dict[UUID, AccountState]]:
    digests = sorted({ask.digest for ask in asks})
    lock = "" if is_sqlite() else " FOR UPDATE OF a"
    rows = execute(
        "SELECT k.digest, k.id, a.id, a.status, k.expires_at, k.revoked_at, k.allowed_models, k.allowed_ips, p.allowed_models,"
        " a.balance, a.held, a.ledger_seq, k.rpm, k.tpm, k.concurrency, p.rpm, p.tpm, p.concurrency"
        " FROM api_key k JOIN account a ON a.id = k.account_id"
        " LEFT JOIN subscription s ON s.account_id = a.id AND s.status = 'active' LEFT JOIN plan p ON p.id = s.plan_id"
        f" WHERE k.digest IN ? ORDER BY a.id{lock}",
        [digests],
    )
    keys, pools = {}, {}
    for digest, key, account, status, expires, revoked, models, ips, plan_models, balance, held, seq, *limits in rows:
        account = as_uuid(account)
        keys[digest] = _Key(
            *(as_uuid(key), account, status, expires, revoked, as_list(models), as_list(ips), as_list(plan_models)),
            OwnLimits(*limits),
        )
        pools[account] = AccountState(balance, held, seq)
    return keys, pools


def _decide(
    ask: Reservation, key: _Key | None, pools: dict[UUID, AccountState], claims: dict[tuple[UUID, str], _Claimed], now: int
) -> Reserved:
    """Take the hold in `pools` (and the claim in `claims`), or raise what the caller should see."""
    if key is None or key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now):
        raise InvalidKey
    _check_access(ask, key)
    if ask.claim is not None:
        _check_claim(ask.claim, claims.get((key.account, ask.claim.key_digest)), now)
    pool = pools[key.account]
    amount = _hold_amount(ask.quote, pool)
    pools[key.account] = pool._replace(held=pool.held + amount)
    if ask.claim is not None:
        claims[key.account, ask.claim.key_digest] = _Claimed(ask.claim.body_digest, ask.call, "running", 0, now + CLAIM_MS)
    return Reserved(key.account, key.id, amount, key.limits)


def _check_access(ask: Reservation, key: _Key) -> None:
    if key.account_status != "active":
        raise AccessDenied("This account is suspended. Contact support.", "account_suspended")
    if key.allowed_ips is not None and not address_allowed(ask.address, key.allowed_ips):
        raise AccessDenied("This key may not be used from your address.", "ip_not_allowed")
    if key.allowed_models is not None and ask.model not in key.allowed_models:
        raise AccessDenied(f"This key may not use the model '{ask.model}'.", "model_not_allowed")
    if key.plan_models is not None and ask.model not in key.plan_models:
        raise AccessDenied(f"Your plan does not include the model '{ask.model}'.", "plan_required")


def address_allowed(address: str, allowed: Sequence[str]) -> bool:
    """Whether `address` lies in one of the `allowed` addresses and networks."""
    try:
        caller = ip_address(address)
    except ValueError:
        return False
    return any(caller in ip_network(network, strict=False) for network in allowed)


def _hold_amount(quote: Quote, pool: AccountState) -> int:
    """The bound, or the whole free pool where that is less but still covers the quote's minimum."""
    if pool.free >= quote.bound:
        return quote.bound
    if pool.free >= quote.minimum:
        return pool.free
    raise InsufficientCredits(
        required=quote.minimum, balance=pool.balance, held=pool.held, max_tokens_affordable=affordable_output(quote, pool.free)
    )


class _Claimed(NamedTuple):
    body_digest: str
    call: UUID
    state: str
    credits: int
    expires_at: int


def _read_claims(asks: Sequence[Reservation], keys: dict[str, _Key]) -> dict[tuple[UUID, str], _Claimed]:
    wanted = {(keys[ask.digest].account, ask.claim.key_digest) for ask in asks if ask.claim and ask.digest in keys}
    if not wanted:
        return {}
    accounts = sorted({account for account, _ in wanted})
    digests = sorted({digest for _, digest in wanted})
    rows = execute(
        "SELECT account_id, key_digest, body_digest, call, state, credits, expires_at FROM idempotency_claim"
        " WHERE account_id IN ? AND key_digest IN ?",
        [accounts, digests],
    )
    return {
        (as_uuid(account), key_digest): _Claimed(body_digest, as_uuid(call), state, credits, expires)
        for account, key_digest, body_digest, call, state, credits, expires in rows
    }


def _check_claim(claim: Claim, claimed: _Claimed | None, now: int) -> None:
    if claimed is None or claimed.expires_at <= now:
        return
    if claimed.body_digest != claim.body_digest:
        raise IdempotencyConflict("key_reused")
    if claimed.state == "running":
        raise IdempotencyConflict("in_progress", claimed.call)
    raise IdempotencyConflict("key_used", claimed.call, claimed.credits)


_HOLD_COLUMNS = (
    "id",
    "account_id",
    "api_key_id",
    "edge_process",
    "model",
    "price",
    "amount",
    "state",
    "created_at",
    "expires_at",
)
_CLAIM_COLUMNS = ("account_id", "key_digest", "body_digest", "call", "state", "credits", "created_at", "expires_at")


def _write(granted: Sequence[tuple[Reservation, Reserved]], now: int) -> None:
    changes: dict[UUID, tuple[int, int, int]] = {}
    for _, taken in granted:
        changes[taken.account] = (0, changes.get(taken.account, (0, 0, 0))[1] + taken.amount, 0)
    change_accounts(changes)
    insert(
        "hold",
        _HOLD_COLUMNS,
        [
            (
                *(ask.call, taken.account, taken.api_key, ask.edge_process, ask.model, ask.quote.price.id),
                *(taken.amount, "held", now, ask.expires_at),
            )
            for ask, taken in granted
        ],
    )
    claims = [(ask.call, taken.account, ask.claim) for ask, taken in granted if ask.claim is not None]
    for _, account, claim in claims:  # an expired claim makes room for the new one
        execute("DELETE FROM idempotency_claim WHERE account_id = ? AND key_digest = ?", [account, claim.key_digest])
    insert(
        "idempotency_claim",
        _CLAIM_COLUMNS,
        [(account, claim[0], claim[1], call, "running", 0, now, now + CLAIM_MS) for call, account, claim in claims],
    )
