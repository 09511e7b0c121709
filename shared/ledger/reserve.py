"""Reserves credits: checks who pays and takes the hold, for a batch of calls in one transaction.

A call is paid from an account's pool (identified by API key or web session) or from the visitors' pool. In addition it can count
toward allowances (a key's or member's month and day, a visitor's day) and use a subscription's overage when the pool is empty.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from shared.billing.elastic_hold import RICH_FACTOR
from shared.billing.pricing import Quote, affordable_output
from shared.core.billing_periods import day_of, format_timestamp, next_day_start, next_month_start
from shared.core.errors import (
    AccessDenied,
    CreditsHeld,
    DailyAllowanceExhausted,
    InsufficientCredits,
    InvalidApiKey,
    InvalidSession,
    RequestRefused,
)
from shared.identity.payer import KeyAndPlanLimits, Payer, PayerRow, SessionPayer, VisitorPayer, check_access
from shared.ledger.allowances import (
    Meter,
    MeterId,
    daily_key_allowance,
    daily_member_allowance,
    key_allowance,
    member_allowance,
    read_allowances,
    read_overages,
    visitor_allowance,
    write_meters,
)
from shared.ledger.idempotency import CLAIM_MS, Claim, Claims, StoredClaim, check_claim, read_claims, write_claims
from shared.ledger.payers import PayerRows, Pools, lock_payers
from shared.ledger.sql import AccountState, Change, change_accounts, execute, insert, require_durability
from shared.ledger.visitor_pool import MIN_CALL_CREDITS, POOL_ACCOUNT_ID, VISITORS_DISABLED, VisitorSettings, lock_pool

NO_METER = Meter(0)


class Reservation(NamedTuple):
    """Request for one call's hold. Times in milliseconds UTC.

    `account` is that of a key or session, which callers remember because it never changes; None if it is unknown, and for
    visitors. Without it one more statement looks it up. It only says which accounts to lock: decisions depend on the row that is
    read then. `fallbacks` are other models that may serve the call; the payer needs access to each of them.

    An `elastic` reservation holds only `expected` credits if the pool is tight; without `expected`, a tight pool raises
    `PoolIsTight`, so that the cost is computed only where it is needed.
    """

    call: UUID
    model: str
    quote: Quote
    expires_at: int
    payer: Payer
    edge_process: UUID | None = None
    address: str = ""
    claim: Claim | None = None
    account: UUID | None = None
    fallbacks: tuple[str, ...] = ()
    elastic: bool = False
    expected: int | None = None


class PoolIsTight(RequestRefused):
    """The pool is too small to hold the bound of an elastic reservation. Retry with `expected`. Never sent to callers."""


class HoldTaken(NamedTuple):
    """A hold: `amount` credits of `account`, including overage. `api_key` is None for sessions and visitors.

    If it is less than the bound, `free` is what the call could have held in addition, and `payable` what it could hold if other
    calls held no credits. `is_ordinary`: see `shared.ledger.single_call`.
    """

    account: UUID
    api_key: UUID | None
    amount: int
    rate_limits: KeyAndPlanLimits
    free: int = 0
    payable: int = 0
    is_ordinary: bool = False


class Funds(NamedTuple):
    """Credits that one call can hold from the pool, the overage and its allowances.

    free     now
    payable  if no other call held any
    own      now, without overage
    """

    free: int
    payable: int
    own: int

    def limited_by(self, meter: Meter) -> Funds:
        return Funds(
            min(self.free, meter.available), min(self.payable, meter.allowed - meter.used), min(self.own, meter.available)
        )


class _Granted(NamedTuple):
    reservation: Reservation
    reserved: HoldTaken
    claim: Claim | None = None
    overage: int = 0
    subscription: UUID | None = None
    allowance: str | None = None
    parent_allowance: str | None = None
    more_allowances: str | None = None
    member: UUID | None = None


class _Limit(NamedTuple):
    """A limit of a payer in credits, and the name of its allowance. `owner`: of the key, of its parent, or of the member."""

    allowance: str
    credits: int
    owner: str
    is_daily: bool = False


class _BatchState(NamedTuple):
    """The state that a batch's decisions depend on: read once under the locks, and updated by each decision."""

    payers: PayerRows
    pools: Pools
    claims: Claims
    meters: dict[MeterId, Meter]
    free_models: frozenset[str]
    visitors: VisitorSettings
    now: int

    def row(self, payer: Payer) -> PayerRow:
        """Return the row of a key or session. Raises `InvalidApiKey` or `InvalidSession`."""
        row = self.payers.get(payer)
        if row is None or not row.is_usable(self.now):
            raise InvalidSession if isinstance(payer, SessionPayer) else InvalidApiKey
        return row


def reserve(
    reservations: Sequence[Reservation], now: int, visitors: VisitorSettings = VISITORS_DISABLED
) -> list[HoldTaken | RequestRefused]:
    """Decide each of `reservations` in order and write the holds of those that are accepted. Run inside a transaction.

    Returns for each a `HoldTaken`, or the error to report to its caller. The error is not raised, because it does not concern
    the rest of the batch.
    """
    state = _read_state(reservations, now, visitors)
    meters = dict(state.meters)
    results: list[HoldTaken | RequestRefused] = []
    granted: list[_Granted] = []
    for reservation in reservations:
        try:
            decide = _decide_visitor if isinstance(reservation.payer, VisitorPayer) else _decide
            one = decide(reservation, state)
        except RequestRefused as refusal:
            results.append(refusal)
        else:
            results.append(one.reserved)
            granted.append(one)
    _write(granted, now)
    write_meters(meters, state.meters)
    return results


def _read_state(reservations: Sequence[Reservation], now: int, visitors: VisitorSettings) -> _BatchState:
    payers, pools = lock_payers({reservation.payer: reservation.account for reservation in reservations})
    meters, free_models = {}, frozenset[str]()
    visits = [reservation for reservation in reservations if isinstance(reservation.payer, VisitorPayer)]
    if visits and visitors.pool_credits:
        pool = lock_pool(visitors, now)
        if pool is not None:
            pools[POOL_ACCOUNT_ID] = pool
        names = {(POOL_ACCOUNT_ID, visitor_allowance(reservation.payer.digest, now)) for reservation in visits}
        rows = execute("SELECT id FROM model WHERE id IN ? AND is_free", [sorted({reservation.model for reservation in visits})])
        meters.update(dict.fromkeys(names, NO_METER) | read_allowances(names)())
        free_models = frozenset(id for (id,) in rows)
    state = _BatchState(payers, pools, {}, meters, free_models, visitors, now)
    _load_meters(reservations, state)
    state.claims.update(read_claims(_claims(reservations, state)))
    return state


def _load_meters(reservations: Sequence[Reservation], state: _BatchState) -> None:
    """Read the allowances of limited keys and members, and the overage of accounts whose pool may be too small for this batch.

    Most batches need neither, so they run no statement here.
    """
    limited: set[MeterId] = set()
    overdrawn: set[MeterId] = set()
    needed: defaultdict[UUID, int] = defaultdict(int)
    for reservation in reservations:
        row = state.payers.get(reservation.payer)
        if row is None:
            continue
        limited.update((row.account, limit.allowance) for limit in _limits(row, state.now))
        if row.overage is not None:
            needed[row.account] += reservation.quote.bound
            if needed[row.account] > state.pools[row.account].available:
                overdrawn.add((row.account, row.overage))
    if limited or overdrawn:
        read_limited, read_overdrawn = read_allowances(limited), read_overages(overdrawn)
        state.meters.update(dict.fromkeys(limited | overdrawn, NO_METER) | read_limited() | read_overdrawn())


def _claims(reservations: Sequence[Reservation], state: _BatchState) -> list[tuple[UUID, Claim]]:
    found = []
    for reservation in reservations:
        if reservation.claim is None:
            continue
        if isinstance(reservation.payer, VisitorPayer):
            found.append((POOL_ACCOUNT_ID, reservation.claim.for_visitor(reservation.payer.digest)))
        elif reservation.payer in state.payers:
            found.append((state.payers[reservation.payer].account, reservation.claim))
    return found


def _decide(reservation: Reservation, state: _BatchState) -> _Granted:
    """Take the hold in `state`, or raise the error to report to the caller."""
    payer = state.row(reservation.payer)
    check_access(payer, reservation.model, reservation.address)
    for model in reservation.fallbacks:
        check_access(payer, model, reservation.address)
    account, pool = payer.account, state.pools[payer.account]
    if reservation.claim is not None:
        check_claim(reservation.claim, state.claims.get((account, reservation.claim.key_digest)), state.now)
    overage = state.meters.get((account, payer.overage), NO_METER) if payer.overage is not None else NO_METER
    funds = _pool_funds(reservation.quote, pool, overage)
    limited: dict[MeterId, Meter] = {}
    limits = _limits(payer, state.now)
    for limit in limits:
        meter = limited[account, limit.allowance] = state.meters[account, limit.allowance].with_limit(limit.credits)
        funds = funds.limited_by(meter)
        if funds.payable < _admission_minimum(reservation.quote):
            raise _limit_reached(reservation.quote, pool, meter, limit, state.now)
    amount = hold_amount(reservation, funds)
    state.meters.update((id, meter.hold(amount)) for id, meter in limited.items())
    beyond = max(0, amount - pool.available)
    if beyond and payer.overage is not None:
        state.meters[account, payer.overage] = overage.hold(beyond)
    state.pools[account] = pool._replace(held=pool.held + amount - beyond)
    if reservation.claim is not None:
        state.claims[account, reservation.claim.key_digest] = _running(reservation, reservation.claim, state.now)
    reserved = HoldTaken(account, payer.api_key, amount, payer.limits, *_beyond(reservation.quote, amount, funds))
    subscription = payer.overage if beyond else None
    member = payer.member.id if payer.member is not None else None
    return _Granted(reservation, reserved, reservation.claim, beyond, subscription, *_hold_allowances(limits), member)


def _limits(payer: PayerRow, now: int) -> Sequence[_Limit]:
    """Return the limits that apply to a call: of its key, of the key that created that one, and of the member."""
    meter, parent, member = payer.limits.meter, payer.limits.parent, payer.member
    if payer.monthly_limit is None and payer.daily_limit is None and parent is None and member is None:
        return ()
    found = []
    if meter is not None and payer.monthly_limit is not None:
        found.append(_Limit(key_allowance(meter, now), payer.monthly_limit, _KEY))
    if meter is not None and payer.daily_limit is not None:
        found.append(_Limit(daily_key_allowance(meter, now), payer.daily_limit, _KEY, is_daily=True))
    if parent is not None and parent.monthly_limit is not None:
        found.append(_Limit(key_allowance(parent.meter, now), parent.monthly_limit, _PARENT))
    if parent is not None and parent.daily_limit is not None:
        found.append(_Limit(daily_key_allowance(parent.meter, now), parent.daily_limit, _PARENT, is_daily=True))
    if member is not None and member.monthly_limit is not None:
        found.append(_Limit(member_allowance(member.id, now), member.monthly_limit, _MEMBER))
    if member is not None and member.daily_limit is not None:
        found.append(_Limit(daily_member_allowance(member.id, now), member.daily_limit, _MEMBER, is_daily=True))
    return found


_KEY, _PARENT, _MEMBER = "key", "parent", "member"


def _hold_allowances(limits: Sequence[_Limit]) -> tuple[str | None, str | None, str | None]:
    """Return the columns of a hold that name its allowances. The first two are the months of keys, which older releases use."""
    if not limits:
        return None, None, None
    months = {limit.owner: limit.allowance for limit in limits if not limit.is_daily}
    own, parent = months.get(_KEY), months.get(_PARENT)
    return own, parent, " ".join(limit.allowance for limit in limits if limit.allowance not in (own, parent)) or None


def _decide_visitor(reservation: Reservation, state: _BatchState) -> _Granted:
    """Like `_decide`, for the visitors' pool. Each call holds at least `MIN_CALL_CREDITS`, whatever its price."""
    pool = state.pools.get(POOL_ACCOUNT_ID)
    if pool is None:
        raise InvalidSession
    if reservation.model not in state.free_models or reservation.fallbacks:
        raise AccessDenied(
            f"The model '{reservation.model}' requires an account. Sign in, or send an API key.", "model_not_allowed"
        )
    claim = reservation.claim.for_visitor(reservation.payer.digest) if reservation.claim is not None else None
    if claim is not None:
        check_claim(claim, state.claims.get((POOL_ACCOUNT_ID, claim.key_digest)), state.now)
    bound, minimum = max(reservation.quote.bound, MIN_CALL_CREDITS), max(reservation.quote.minimum, MIN_CALL_CREDITS)
    if reservation.quote.cap is not None and minimum > reservation.quote.cap:
        raise InsufficientCredits(
            required=minimum,
            max_credits=reservation.quote.cap,
            message=f"This call needs at least {minimum} credits, but x-yout-max-credits allows {reservation.quote.cap}.",
        )
    allowance = visitor_allowance(reservation.payer.digest, state.now)
    meter = state.meters[POOL_ACCOUNT_ID, allowance].with_limit(state.visitors.daily_credits)
    funds = Funds(pool.available, pool.balance, pool.available).limited_by(meter)
    if funds.payable < minimum:
        owner = "Your daily allowance" if meter.allowed - meter.used < minimum else "Today's allowance for all visitors"
        raise DailyAllowanceExhausted(owner, next_day_start(day_of(state.now)), state.now)
    held = reservation._replace(quote=reservation.quote._replace(bound=bound, minimum=minimum))
    amount = hold_amount(held, funds)
    state.meters[POOL_ACCOUNT_ID, allowance] = meter.hold(amount)
    state.pools[POOL_ACCOUNT_ID] = pool._replace(held=pool.held + amount)
    if claim is not None:
        state.claims[POOL_ACCOUNT_ID, claim.key_digest] = _running(reservation, claim, state.now)
    reserved = HoldTaken(POOL_ACCOUNT_ID, None, amount, KeyAndPlanLimits(), *_beyond(held.quote, amount, funds))
    return _Granted(reservation, reserved, claim, allowance=allowance)


def _running(reservation: Reservation, claim: Claim, now: int) -> StoredClaim:
    return StoredClaim(claim.body_digest, reservation.call, "running", 0, now + CLAIM_MS)


def _admission_minimum(quote: Quote) -> int:
    """Return the fewest credits with which a call is admitted."""
    return min(quote.minimum, quote.bound)


def _pool_funds(quote: Quote, pool: AccountState, overage: Meter) -> Funds:
    """Return what the pool and the overage can pay. Raises `InsufficientCredits` if that does not cover the quote's minimum."""
    free = pool.available + overage.available
    payable = pool.balance + max(0, overage.allowed - overage.used)
    if payable >= _admission_minimum(quote):
        return Funds(free, payable, pool.available)
    raise InsufficientCredits(
        required=quote.minimum,
        balance=pool.balance,
        held=pool.held,
        max_tokens_affordable=affordable_output(quote, free),
        free=free,
    )


def hold_amount(reservation: Reservation, funds: Funds) -> int:
    """Return the credits to hold. `funds` cover the quote's minimum, unless other calls hold them.

    An elastic reservation holds the bound in a rich pool. In a tight one it holds what the call is expected to cost, or waits for
    that: with less, many calls would take each other's credits and all be cut off. Any other reservation holds its bound, or all
    free credits if they cover its minimum.
    """
    quote = reservation.quote
    if funds.free < _admission_minimum(quote):
        raise CreditsHeld(required=_admission_minimum(quote), available=funds.free, held=funds.payable - funds.free)
    if not reservation.elastic or quote.bound <= quote.minimum or funds.own >= RICH_FACTOR * quote.bound:
        return min(quote.bound, funds.free)
    if reservation.expected is None:
        raise PoolIsTight
    wanted = min(max(reservation.expected, quote.minimum), quote.bound, funds.payable)
    if funds.free < wanted:
        raise CreditsHeld(required=wanted, available=funds.free, held=funds.payable - funds.free)
    return wanted


def _beyond(quote: Quote, amount: int, funds: Funds) -> tuple[int, int]:
    """Return `free` and `payable` of a `HoldTaken`."""
    return (0, 0) if amount >= quote.bound else (funds.free - amount, funds.payable)


_LIMIT_NAMES = {
    _KEY: ("The key's limit", "Raise the key's limit or use another key."),
    _PARENT: ("The limit of the key that created this one", "Raise the key's limit or use another key."),
    _MEMBER: ("Your limit in this account", "Ask the account's owner to raise it."),
}


def _limit_reached(quote: Quote, pool: AccountState, meter: Meter, limit: _Limit, now: int) -> InsufficientCredits:
    name, advice = _LIMIT_NAMES[limit.owner]
    period, ends = ("day", next_day_start(day_of(now))) if limit.is_daily else ("month", next_month_start(now))
    return InsufficientCredits(
        required=quote.minimum,
        balance=pool.balance,
        max_tokens_affordable=affordable_output(quote, meter.available),
        free=min(pool.available, meter.available),
        message=f"This call needs at least {quote.minimum} credits. {name} is {limit.credits} credits a {period}, of which"
        f" {meter.available} remain until {format_timestamp(ends)}. {advice}",
    )


HOLD_COLUMNS = ("id", "account_id", "api_key_id", "edge_process", "model", "price", "amount", "state", "created_at", "expires_at")
_SPECIAL = (*HOLD_COLUMNS, "overage", "subscription", "allowance", "parent_allowance", "more_allowances", "member")


def _write(granted: Sequence[_Granted], now: int) -> None:
    changes: dict[UUID, Change] = {}
    plain, special = [], []
    for reservation, reserved, _, overage, subscription, *counted in granted:
        amount = reserved.amount - overage
        changes[reserved.account] = (0, changes.get(reserved.account, (0, 0, 0, 0))[1] + amount, 0, 0)
        row = (reservation.call, reserved.account, reserved.api_key, *hold_row(reservation, amount, now))
        if overage or any(counted):
            special.append((*row, overage, subscription, *counted))
        else:
            plain.append(row)
    change_accounts(changes)
    insert("hold", HOLD_COLUMNS, plain)
    insert("hold", _SPECIAL, special)
    claims = [(one.reservation.call, one.reserved.account, one.claim) for one in granted if one.claim is not None]
    write_claims(claims, now)
    if special or claims:  # a lost hold is settled from the pool alone
        require_durability()


def hold_row(reservation: Reservation, amount: int, now: int) -> tuple[object, ...]:
    """Return the values of `HOLD_COLUMNS` after the ids of the call, its account and its key."""
    return reservation.edge_process, reservation.model, reservation.quote.price.id, amount, "held", now, reservation.expires_at
