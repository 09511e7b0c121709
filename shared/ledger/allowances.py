"""Allowances: limits of keys and members per month and day, and of visitors per day, counted besides the pool that pays.

The overage of subscriptions uses the same arithmetic. All of these are read and changed under the account's lock. Each hold
references its meters, so every held credit is released or used exactly once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from shared.core.billing_periods import DAY_MS, day_of, month_of, month_start
from shared.ledger.sql import as_uuid, execute, insert

# The account, and the name of an allowance or the id of a subscription (for its overage).
MeterId = tuple[UUID, str | UUID]


class Meter(NamedTuple):
    """Credits `used` and `held` out of those `allowed`."""

    allowed: int
    used: int = 0
    held: int = 0

    @property
    def available(self) -> int:
        return max(0, self.allowed - self.used - self.held)

    def hold(self, credits: int) -> Meter:
        """Return the meter with `credits` more held."""
        return self._replace(held=self.held + credits)

    def settle(self, taken: int, used: int) -> Meter:
        """Return the meter with `taken` subtracted from its held credits and `used` added to its used ones."""
        return self._replace(held=self.held - taken, used=self.used + used)

    def with_limit(self, credits: int) -> Meter:
        """Return the meter with a new limit of `credits`, or more if more is used and held already."""
        return self._replace(allowed=max(credits, self.used + self.held))


def key_allowance(meter: UUID, now: int) -> str:
    """Return the name of a key's allowance for the month of `now`. Keys that replaced each other share one `meter`."""
    return f"key/{month_of(now)}/{meter.hex}"


def daily_key_allowance(meter: UUID, now: int) -> str:
    """Return the name of a key's allowance for the day of `now`."""
    return f"keyday/{day_of(now)}/{meter.hex}"


def member_allowance(member: UUID, now: int) -> str:
    """Return the name of a member's allowance for the month of `now`."""
    return f"member/{month_of(now)}/{member.hex}"


def daily_member_allowance(member: UUID, now: int) -> str:
    """Return the name of a member's allowance for the day of `now`."""
    return f"memberday/{day_of(now)}/{member.hex}"


def visitor_allowance(visitor: str, now: int) -> str:
    """Return the name of a visitor's allowance for the day of `now`."""
    return f"visitor/{day_of(now)}/{visitor}"


def allowance_names(own: str | None, parent: str | None, more: str | None) -> tuple[str, ...]:
    """Return the names of all allowances that count a hold, from its three columns."""
    return tuple(dict.fromkeys(name for name in (own, parent, *(more.split() if more else ())) if name))


def read_allowances(meter_ids: Collection[MeterId]) -> Callable[[], dict[MeterId, Meter]]:
    """Query allowances by account and name. The returned function reads those that have a row."""
    if not meter_ids:
        return dict
    accounts, names = sorted({id[0] for id in meter_ids}), sorted({str(id[1]) for id in meter_ids})
    cursor = execute(
        "SELECT account_id, name, allowed, used, held FROM allowance WHERE account_id IN ? AND name IN ?", [accounts, names]
    )
    return lambda: {(as_uuid(account), name): Meter(*amounts) for account, name, *amounts in cursor}


def read_overages(meter_ids: Collection[MeterId]) -> Callable[[], dict[MeterId, Meter]]:
    """Query the overage of subscriptions by account and id. The returned function reads it. A subscription that is ended,
    suspended or past due allows none."""
    if not meter_ids:
        return dict
    accounts, ids = sorted({id[0] for id in meter_ids}), sorted({as_uuid(id[1]) for id in meter_ids})
    cursor = execute(
        "SELECT account_id, id,"
        " CASE WHEN status = 'active' AND coalesce(suspended_at, past_due_at) IS NULL THEN overage_cap ELSE 0 END,"
        " overage_used, overage_held FROM subscription WHERE account_id IN ? AND id IN ?",
        [accounts, ids],
    )
    return lambda: {(as_uuid(account), as_uuid(id)): Meter(*amounts) for account, id, *amounts in cursor}


def month_counts(account: UUID, now: int) -> dict[UUID, int]:
    """Return the credits that the counters of the month of `now` have, by key of an account.

    A key with a monthly limit has a counter, which includes the keys that it created or replaced.
    """
    meters = _counts(account, "key", month_of(now))
    shared = execute("SELECT id, meter FROM api_key WHERE account_id = ? AND meter IS NOT NULL", [account]) if meters else ()
    return meters | {as_uuid(key): meters[as_uuid(meter)] for key, meter in shared if as_uuid(meter) in meters}


def member_counts(account: UUID, now: int, *, daily: bool = False) -> dict[UUID, int]:
    """Return the credits that the counters of the month (or day) of `now` have, by member of an account with a limit."""
    return _counts(account, *(("memberday", day_of(now)) if daily else ("member", month_of(now))))


def _counts(account: UUID, kind: str, period: int) -> dict[UUID, int]:
    rows = execute("SELECT name, used FROM allowance WHERE account_id = ? AND kind = ? AND period = ?", [account, kind, period])
    return {UUID(name.rpartition("/")[2]): used for name, used in rows.fetchall()}


def month_meters(account: UUID, limits: Mapping[UUID, int], now: int) -> dict[UUID, Meter]:
    """Return the counters of the month of `now` by meter of a key, for the monthly `limits` of these meters in credits."""
    names = {meter: key_allowance(meter, now) for meter in limits}
    counted = read_allowances([(account, name) for name in names.values()])()
    return {meter: counted.get((account, names[meter]), Meter(0)).with_limit(limit) for meter, limit in limits.items()}


def init_key_counter(account: UUID, meter: UUID, limit: int, now: int, *, daily: bool = False) -> None:
    """Set up the counter of a meter whose limit is new or changed. Run inside a transaction that holds the account's lock.

    The charges of its keys in this month or day, and of keys that they created, count as used; the holds of running calls count
    as held.
    """
    name = daily_key_allowance(meter, now) if daily else key_allowance(meter, now)
    own = [as_uuid(id) for (id,) in execute("SELECT id FROM api_key WHERE account_id = ? AND ? IN (id, meter)", [account, meter])]
    created = execute("SELECT id FROM api_key WHERE account_id = ? AND parent IN ?", [account, own]).fetchall()
    children = [as_uuid(id) for (id,) in created]
    for column, keys in (("allowance", own), ("parent_allowance", children)):
        if keys and not daily:
            execute(
                f"UPDATE hold SET {column} = ? WHERE account_id = ? AND api_key_id IN ? AND state = 'held' AND {column} IS NULL",
                [name, account, keys],
            )
    _init_counter(account, name, limit, ("api_key_id", "api_key"), [*own, *children], _period_start(now, daily))


def init_member_counter(account: UUID, member: UUID, limit: int, now: int, *, daily: bool = False) -> None:
    """Set up the counter of a member. Calls count whether they are paid with a key or a session."""
    name = daily_member_allowance(member, now) if daily else member_allowance(member, now)
    _init_counter(account, name, limit, ("member", "member"), [member], _period_start(now, daily))


def _period_start(now: int, daily: bool) -> int:
    return now - now % DAY_MS if daily else month_start(now)


def _init_counter(account: UUID, name: str, limit: int, columns: tuple[str, str], ids: list[UUID], since: int) -> None:
    """Count the calls of `ids`, which are values of `columns` in `hold` and `usage_ledger`."""
    of_hold, of_usage = columns
    counted_before = read_allowances([(account, name)])().get((account, name), Meter(0))
    open_ones = execute(
        f"SELECT id, amount + overage, allowance, parent_allowance, more_allowances FROM hold"
        f" WHERE account_id = ? AND {of_hold} IN ? AND state = 'held'",
        [account, ids],
    ).fetchall()
    held = 0
    for call, amount, *names in open_ones:
        held += amount
        if name not in allowance_names(*names):
            more = " ".join(filter(None, (names[2], name)))
            execute("UPDATE hold SET more_allowances = ? WHERE id = ? AND account_id = ?", [more, as_uuid(call), account])
    summed = execute(
        f"SELECT coalesce(sum(credits), 0) FROM usage_ledger WHERE account_id = ? AND {of_usage} IN ? AND created_at >= ?",
        [account, ids, since],
    ).fetchone()[0]
    counted = Meter(0, max(counted_before.used, int(summed)), int(held))  # the sum is smaller if usage rows were purged
    write_meters({}, {(account, name): counted.with_limit(limit)})


_COLUMNS = ("account_id", "name", "kind", "period", "allowed", "used", "held")


def write_meters(before: dict[MeterId, Meter], after: dict[MeterId, Meter]) -> None:
    """Store the meters in `after` that differ from those read `before`. Must run under the accounts' locks."""
    changed = {id: meter for id, meter in after.items() if before.get(id) != meter}
    insert(
        "allowance",
        _COLUMNS,
        [_row(account, name, meter) for (account, name), meter in changed.items() if isinstance(name, str)],
        "ON CONFLICT (account_id, name) DO UPDATE SET allowed = excluded.allowed, used = excluded.used, held = excluded.held",
    )
    for (account, subscription), meter in changed.items():
        if isinstance(subscription, UUID):
            execute(
                "UPDATE subscription SET overage_used = ?, overage_held = ? WHERE id = ? AND account_id = ?",
                [meter.used, meter.held, subscription, account],
            )


def _row(account: UUID, name: str, meter: Meter) -> tuple[Any, ...]:
    kind, period, _ = name.split("/", 2)
    return (account, name, kind, int(period), *meter)
