"""Reserve: check who pays and take the hold, for a batch of calls in one transaction.

A call is paid by the pool of an account, told by an API key or a web session, or by the visitors' pool. Beside the pool there may
be an allowance that counts (a key's month, a visitor's day) and a subscription's overage that goes on where the pool ends.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from uuid import UUID

from shared.errors import AccessDenied, DailyAllowanceExhausted, InsufficientCredits, InvalidKey, InvalidSession, RequestRefused
from shared.ledger.allowances import (
    Meter,
    MeterId,
    key_allowance,
    read_allowances,
    read_overages,
    visitor_allowance,
    write_meters,
)
from shared.ledger.claims import CLAIM_MS, Claim, Claimed, Claims, check_claim, read_claims, write_claims
from shared.ledger.payers import OwnLimits, Payer, Payers, Pools, check_access, lock_payers
from shared.ledger.rows import AccountState, Change, change_accounts, execute, insert
from shared.ledger.visitors import LEAST_CREDITS, NO_VISITORS, POOL, VisitorTerms, open_pool
from shared.periods import day_end, day_of, moment_text, month_end
from shared.pricing import Quote, affordable_output

NO_METER = Meter(0)


class Reservation(NamedTuple):
    """One call that asks for a hold. Times in milliseconds UTC.

    Exactly one of `digest` (of an API key), `session` (of a web session) and `visitor` (today's salted digest) says who pays.
    `account` is the payer's, where the caller knows it: for the order of locks alone (`lock_in_order`), never for the
    decision. `fallbacks` are further models that may serve the call: the payer must be allowed them too.
    """

    call: UUID
    model: str
    quote: Quote
    expires_at: int
    digest: str = ""
    session: str = ""
    visitor: str = ""
    edge_process: UUID | None = None
    address: str = ""
    claim: Claim | None = None
    account: UUID | None = None
    fallbacks: tuple[str, ...] = ()


class Reserved(NamedTuple):
    """A hold that was taken: `amount` credits of `account`, its overage included. `api_key` is None without one."""

    account: UUID
    api_key: UUID | None
    amount: int
    own_limits: OwnLimits


class _Granted(NamedTuple):
    ask: Reservation
    taken: Reserved
    claim: Claim | None = None
    overage: int = 0
    subscription: UUID | None = None
    allowance: str | None = None
    parent_allowance: str | None = None


class _Books(NamedTuple):
    """All that a batch decides by, read once under the locks, changed by each decision."""

    keys: Payers
    sessions: Payers
    pools: Pools
    claims: Claims
    meters: dict[MeterId, Meter]
    free_models: frozenset[str]
    visitors: VisitorTerms
    now: int

    def payer(self, ask: Reservation) -> Payer:
        """Raises `InvalidKey`, `InvalidSession`."""
        payer = self.sessions.get(ask.session) if ask.session else self.keys.get(ask.digest)
        if payer is None or not payer.usable(self.now):
            raise InvalidSession if ask.session else InvalidKey
        return payer


def reserve(asks: Sequence[Reservation], now: int, visitors: VisitorTerms = NO_VISITORS) -> list[Reserved | RequestRefused]:
    """Decide every ask, in order, and write the holds of those that may go on.

    Gives for each ask `Reserved`, or the error that its caller should see (not raised: one caller's error is not its
    neighbours'). Run inside a transaction.
    """
    books = _open_books(asks, now, visitors)
    meters = dict(books.meters)
    results: list[Reserved | RequestRefused] = []
    granted: list[_Granted] = []
    for ask in asks:
        try:
            one = _decide_visitor(ask, books) if ask.visitor else _decide(ask, books)
        except RequestRefused as refusal:
            results.append(refusal)
        else:
            results.append(one.taken)
            granted.append(one)
    _write(granted, now)
    write_meters(meters, books.meters)
    return results


def _open_books(asks: Sequence[Reservation], now: int, visitors: VisitorTerms) -> _Books:
    for ask in asks:
        if bool(ask.digest) + bool(ask.session) + bool(ask.visitor) != 1:
            raise ValueError(f"call {ask.call} must be paid by a key, a session or a visitor")
    keys, sessions, pools = lock_payers(
        sorted({ask.digest for ask in asks if ask.digest}), sorted({ask.session for ask in asks if ask.session})
    )
    meters, free_models = {}, frozenset[str]()
    visits = [ask for ask in asks if ask.visitor]
    if visits and visitors.pool_credits:
        pool = open_pool(visitors, now)
        if pool is not None:
            pools[POOL] = pool
        names = {(POOL, visitor_allowance(ask.visitor, now)) for ask in visits}
        rows = execute("SELECT id FROM model WHERE id IN ? AND is_free", [sorted({ask.model for ask in visits})])
        meters.update(dict.fromkeys(names, NO_METER) | read_allowances(names)())
        free_models = frozenset(id for (id,) in rows)
    books = _Books(keys, sessions, pools, {}, meters, free_models, visitors, now)
    _read_meters([ask for ask in asks if not ask.visitor], books)
    books.claims.update(read_claims(_claims(asks, books)))
    return books


def _read_meters(asks: Sequence[Reservation], books: _Books) -> None:
    """Read the allowances of keys that have a limit, and the overage of accounts whose pool may be too small for this batch.

    Most batches have none: then nothing is read.
    """
    limited: set[MeterId] = set()
    overdrawn: set[MeterId] = set()
    wanted: defaultdict[UUID, int] = defaultdict(int)
    for ask in asks:
        payer = books.sessions.get(ask.session) if ask.session else books.keys.get(ask.digest)
        if payer is None:
            continue
        limited.update((payer.account, key_allowance(meter, books.now)) for meter, _ in _monthly_limits(payer))
        if payer.overage is not None:
            wanted[payer.account] += ask.quote.bound
            if wanted[payer.account] > books.pools[payer.account].free:
                overdrawn.add((payer.account, payer.overage))
    if limited or overdrawn:
        read_limited, read_overdrawn = read_allowances(limited), read_overages(overdrawn)
        books.meters.update(dict.fromkeys(limited | overdrawn, NO_METER) | read_limited() | read_overdrawn())


def _claims(asks: Sequence[Reservation], books: _Books) -> list[tuple[UUID, Claim]]:
    found = []
    for ask in asks:
        if ask.claim is None:
            continue
        if ask.visitor:
            found.append((POOL, ask.claim.of_visitor(ask.visitor)))
        else:
            payer = books.sessions.get(ask.session) if ask.session else books.keys.get(ask.digest)
            if payer is not None:
                found.append((payer.account, ask.claim))
    return found


def _decide(ask: Reservation, books: _Books) -> _Granted:
    """Take the hold in `books`, or raise what the caller should see."""
    payer = books.payer(ask)
    check_access(payer, ask.model, ask.address)
    for model in ask.fallbacks:
        check_access(payer, model, ask.address)
    account, pool = payer.account, books.pools[payer.account]
    if ask.claim is not None:
        check_claim(ask.claim, books.claims.get((account, ask.claim.key_digest)), books.now)
    overage = books.meters.get((account, payer.overage), NO_METER) if payer.overage is not None else NO_METER
    amount = _hold_amount(ask.quote, pool, overage)
    allowances: dict[UUID | None, str] = {}
    limited: dict[MeterId, Meter] = {}
    for whose, limit in _monthly_limits(payer):
        allowances[whose] = key_allowance(whose, books.now)
        meter = limited[account, allowances[whose]] = books.meters[account, allowances[whose]].allow(limit)
        amount = min(amount, meter.free)
        if amount < ask.quote.bound and amount < ask.quote.minimum:
            raise _key_limit_reached(ask.quote, pool, meter, limit, books.now, of_parent=whose != payer.limits.meter)
    books.meters.update((id, meter.take(amount)) for id, meter in limited.items())
    beyond = max(0, amount - pool.free)
    if beyond and payer.overage is not None:
        books.meters[account, payer.overage] = overage.take(beyond)
    books.pools[account] = pool._replace(held=pool.held + amount - beyond)
    if ask.claim is not None:
        books.claims[account, ask.claim.key_digest] = _running(ask, ask.claim, books.now)
    taken = Reserved(account, payer.api_key, amount, payer.limits)
    parent = payer.limits.parent
    return _Granted(
        ask,
        taken,
        ask.claim,
        beyond,
        payer.overage if beyond else None,
        allowances.get(payer.limits.meter),
        allowances.get(parent.meter) if parent is not None else None,
    )


def _monthly_limits(payer: Payer) -> Iterator[tuple[UUID, int]]:
    """The monthly meters that apply to a key, each with its limit: the key's own, and that of the key that created it."""
    meter, parent = payer.limits.meter, payer.limits.parent
    if payer.monthly_limit is not None and meter is not None:
        yield meter, payer.monthly_limit
    if parent is not None and parent.monthly_limit is not None:
        yield parent.meter, parent.monthly_limit


def _decide_visitor(ask: Reservation, books: _Books) -> _Granted:
    """As `_decide`, of the visitors' pool. A call takes `LEAST_CREDITS` at least, whatever its price."""
    pool = books.pools.get(POOL)
    if pool is None:
        raise InvalidSession
    if ask.model not in books.free_models or ask.fallbacks:
        raise AccessDenied(f"The model '{ask.model}' needs an account. Sign in, or send an API key.", "model_not_allowed")
    claim = ask.claim.of_visitor(ask.visitor) if ask.claim is not None else None
    if claim is not None:
        check_claim(claim, books.claims.get((POOL, claim.key_digest)), books.now)
    bound, minimum = max(ask.quote.bound, LEAST_CREDITS), max(ask.quote.minimum, LEAST_CREDITS)
    if ask.quote.cap is not None and minimum > ask.quote.cap:
        raise InsufficientCredits(
            required=minimum,
            balance=ask.quote.cap,
            message=f"This call needs at least {minimum} credits, and its x-yout-max-credits allows {ask.quote.cap}.",
        )
    allowance = visitor_allowance(ask.visitor, books.now)
    meter = books.meters[POOL, allowance].allow(books.visitors.daily_credits)
    amount = min(bound, pool.free, meter.free)
    if amount < minimum:
        whose = "Your daily allowance" if meter.free < minimum else "Today's credits for visitors"
        raise DailyAllowanceExhausted(whose, day_end(day_of(books.now)), books.now)
    books.meters[POOL, allowance] = meter.take(amount)
    books.pools[POOL] = pool._replace(held=pool.held + amount)
    if claim is not None:
        books.claims[POOL, claim.key_digest] = _running(ask, claim, books.now)
    return _Granted(ask, Reserved(POOL, None, amount, OwnLimits()), claim, allowance=allowance)


def _running(ask: Reservation, claim: Claim, now: int) -> Claimed:
    return Claimed(claim.body_digest, ask.call, "running", 0, now + CLAIM_MS)


def _hold_amount(quote: Quote, pool: AccountState, overage: Meter) -> int:
    """The bound, or all that is free where that is less but still covers the quote's minimum."""
    free = pool.free + overage.free
    if free >= quote.bound:
        return quote.bound
    if free >= quote.minimum:
        return free
    raise InsufficientCredits(
        required=quote.minimum,
        balance=pool.balance,
        held=pool.held,
        max_tokens_affordable=affordable_output(quote, free),
        free=free,
    )


def _key_limit_reached(
    quote: Quote, pool: AccountState, meter: Meter, limit: int, now: int, *, of_parent: bool
) -> InsufficientCredits:
    whose = "The limit of the key that created this one" if of_parent else "The key's own limit"
    return InsufficientCredits(
        required=quote.minimum,
        balance=pool.balance,
        max_tokens_affordable=affordable_output(quote, meter.free),
        free=min(pool.free, meter.free),
        message=f"This call needs at least {quote.minimum} credits. {whose} is {limit} a month; {meter.free}"
        f" remain until {moment_text(month_end(now))}. Raise the key's limit, or use another key.",
    )


_COLUMNS = ("id", "account_id", "api_key_id", "edge_process", "model", "price", "amount", "state", "created_at", "expires_at")
_SPECIAL = (*_COLUMNS, "overage", "subscription", "allowance", "parent_allowance")


def _write(granted: Sequence[_Granted], now: int) -> None:
    changes: dict[UUID, Change] = {}
    plain, special = [], []
    for ask, taken, _, overage, subscription, *allowances in granted:
        amount = taken.amount - overage
        changes[taken.account] = (0, changes.get(taken.account, (0, 0, 0, 0))[1] + amount, 0, 0)
        row = (
            *(ask.call, taken.account, taken.api_key, ask.edge_process, ask.model, ask.quote.price.id),
            *(amount, "held", now, ask.expires_at),
        )
        if overage or any(allowances):
            special.append((*row, overage, subscription, *allowances))
        else:
            plain.append(row)
    change_accounts(changes)
    insert("hold", _COLUMNS, plain)
    insert("hold", _SPECIAL, special)
    write_claims([(one.ask.call, one.taken.account, one.claim) for one in granted if one.claim is not None], now)
