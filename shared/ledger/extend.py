"""Extends the holds of a batch of running calls, in one transaction.

An extension takes credits from the same sources as the hold, and may be granted in part. Only open holds are extended, not those
that were settled, released or expired in the meantime.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from shared.ledger.allowances import Meter, MeterId, allowance_names, read_allowances, read_overages, write_meters
from shared.ledger.sql import AccountState, Change, as_uuid, change_accounts, execute, lock_accounts, update_from

_NO_METER = Meter(0)


class Extension(NamedTuple):
    """Request to add up to `credits` to the hold of a running call of `account`."""

    call: UUID
    account: UUID
    credits: int


class Extended(NamedTuple):
    """The credits `granted`. `may_retry`: other calls hold credits that this one could use, once they release them.

    Nothing is granted if the hold is not open, the key was revoked, or the account or member is suspended. `may_retry` is true
    then, so that the call is cut off for that reason instead of a lack of credits.
    """

    granted: int
    may_retry: bool = False


class _OpenHold(NamedTuple):
    """The row of an open hold. `overage` is the subscription whose overage the call may use."""

    amount: int
    overage_amount: int
    subscription: UUID | None
    allowances: tuple[str, ...]
    overage: UUID | None

    @property
    def meters(self) -> tuple[str | UUID, ...]:
        return self.allowances if self.overage is None else (*self.allowances, self.overage)


class _Growth(NamedTuple):
    amount: int = 0
    overage: int = 0
    subscription: UUID | None = None


def extend(items: Sequence[Extension], now: int) -> list[Extended]:
    """Extend every hold in order, as far as credits are available. Run inside a transaction. Raises only database errors."""
    read_pools = lock_accounts(item.account for item in items)
    holds = _find_holds(items, now)
    pools = read_pools()
    ids: set[MeterId] = {(account, name) for (_, account), hold in holds.items() for name in hold.meters}
    read_allowed = read_allowances([id for id in ids if isinstance(id[1], str)])
    read_overdrawn = read_overages([id for id in ids if isinstance(id[1], UUID)])
    meters = read_allowed() | read_overdrawn()
    before = dict(meters)
    grown: defaultdict[tuple[UUID, UUID], _Growth] = defaultdict(_Growth)
    results = []
    for item in items:
        hold = holds.get((item.call, item.account))
        if hold is None:
            results.append(Extended(0, may_retry=True))
            continue
        result, growth = _extend(item, hold, grown[item.call, item.account], pools, meters)
        grown[item.call, item.account] = growth
        results.append(result)
    _write({id: growth for id, growth in grown.items() if growth.amount or growth.overage})
    write_meters(before, meters)
    return results


def _extend(
    item: Extension, hold: _OpenHold, grown: _Growth, pools: dict[UUID, AccountState], meters: dict[MeterId, Meter]
) -> tuple[Extended, _Growth]:
    account, pool = item.account, pools[item.account]
    own = hold.amount + grown.amount
    overage = meters.get((account, hold.overage), _NO_METER) if hold.overage is not None else _NO_METER
    own_overage = hold.overage_amount + grown.overage
    free, others = pool.available + overage.available, pool.held - own + max(0, overage.held - own_overage)
    for name in hold.allowances:
        allowance = meters.get((account, name), _NO_METER)
        free, others = min(free, allowance.available), min(others, allowance.held - own - own_overage)
    granted = max(0, min(item.credits, free))
    beyond = max(0, granted - pool.available)
    pools[account] = pool._replace(held=pool.held + granted - beyond)
    for name in hold.allowances:
        meters[account, name] = meters[account, name].hold(granted)
    if beyond and hold.overage is not None:
        meters[account, hold.overage] = overage.hold(beyond)
    growth = _Growth(grown.amount + granted - beyond, grown.overage + beyond, hold.overage if beyond else grown.subscription)
    return Extended(granted, others > 0), growth


def _find_holds(items: Sequence[Extension], now: int) -> dict[tuple[UUID, UUID], _OpenHold]:
    """Read the open holds whose key and account are still valid. Must run after their accounts were locked."""
    rows = execute(
        "SELECT h.id, h.account_id, h.amount, h.overage, h.subscription, h.allowance, h.parent_allowance, h.more_allowances,"
        " CASE WHEN s.overage_cap > 0 AND p.overage_allowed AND coalesce(s.suspended_at, s.past_due_at) IS NULL THEN s.id END"
        " FROM hold h JOIN account a ON a.id = h.account_id AND a.status = 'active' LEFT JOIN api_key k ON k.id = h.api_key_id"
        " LEFT JOIN member m ON m.id = h.member"
        " LEFT JOIN subscription s ON s.account_id = h.account_id AND s.status = 'active' LEFT JOIN plan p ON p.id = s.plan_id"
        " WHERE h.id IN ? AND h.account_id IN ? AND h.state = 'held' AND k.revoked_at IS NULL"
        " AND (k.expires_at IS NULL OR k.expires_at > ?) AND m.suspended_at IS NULL AND m.removed_at IS NULL",
        [[item.call for item in items], sorted({item.account for item in items}), now],
    ).fetchall()
    return {(as_uuid(id), as_uuid(account)): _open_hold(*rest) for id, account, *rest in rows}


def _open_hold(
    amount: int, overage_amount: int, subscription: Any, own: str | None, parent: str | None, more: str | None, usable: Any
) -> _OpenHold:
    """Return a row as a hold. It may use the overage of one subscription only, because its row has one column for it."""
    used = as_uuid(subscription) if subscription else None
    overage = as_uuid(usable) if usable else None
    return _OpenHold(
        amount, overage_amount, used, allowance_names(own, parent, more), overage if used in (None, overage) else None
    )


_COLUMNS = ("id", "account_id", "amount", "overage", "subscription")


def _write(grown: dict[tuple[UUID, UUID], _Growth]) -> None:
    changes: dict[UUID, Change] = {}
    for (_, account), growth in grown.items():
        changes[account] = (0, changes.get(account, (0, 0, 0, 0))[1] + growth.amount, 0, 0)
    change_accounts(changes)
    update_from(
        "UPDATE hold SET amount = amount + v.column3, overage = overage + v.column4,"
        " subscription = COALESCE(v.column5, subscription)",
        "hold.id = v.column1 AND hold.account_id = v.column2 AND hold.state = 'held'",
        _COLUMNS,
        [(*id, *growth) for id, growth in grown.items()],
        "hold.account_id",
    )
