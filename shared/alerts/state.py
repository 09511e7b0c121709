"""When alerts open and close. Every change is a compare-and-set, so several workers never open, close or report one twice.

A condition must last for `OPEN_AFTER_MS` before its alert opens, and be gone for `CLOSE_AFTER_MS` before it closes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from shared.core.database import transaction
from shared.models import Alert, AlertCheck, AlertNotice

OPEN_AFTER_MS = 60_000
CLOSE_AFTER_MS = 300_000
STALE_MS = 3_600_000  # an alert that no process has evaluated for this long is closed
KEPT_MS = 90 * 24 * 3_600_000  # retention of closed alerts
INTERVAL_MS = 60_000  # of evaluations


class Condition(NamedTuple):
    """A condition that is met now: its kind, its subject ("" if the kind has only one), and values for the text."""

    kind: str
    subject: str
    details: dict[str, Any]


class Observation(NamedTuple):
    """What one evaluation found. `kinds` are the kinds that it checked.

    The absence of a condition closes its alert, unless (kind, subject) is in `undecided`, or the kind is in `needs_recovery` and
    (kind, subject) is not in `recovered`.
    """

    kinds: Collection[str]
    active: Sequence[Condition]
    undecided: Collection[tuple[str, str]] = ()
    needs_recovery: Collection[str] = ()
    recovered: Collection[tuple[str, str]] = ()

    def is_gone(self, row: Alert) -> bool:
        """Return whether an alert's condition is no longer met."""
        key = (row.kind, row.subject)
        return key not in self.undecided and (row.kind not in self.needs_recovery or key in self.recovered)


def claim_evaluation(now: int) -> bool:
    """Return whether this process should evaluate the alerts now: one process may per interval. Also the workers' heartbeat."""
    is_due = (AlertCheck.id == 1) & (AlertCheck.checked_at <= now - INTERVAL_MS // 2)
    return bool(AlertCheck.update(checked_at=now).where(is_due).execute())


def record_observation(observed: Observation, targets: Sequence[str], now: int, *, subject: str | None = None) -> None:
    """Open and close alerts of the observed kinds, only of `subject` if given. Queues a message to each of `targets`."""
    mine = Alert.closed_at.is_null() & Alert.kind.in_(list(observed.kinds))
    if subject is not None:
        mine &= Alert.subject == subject
    rows = {(row.kind, row.subject): row for row in Alert.select().where(mine)}
    for condition in observed.active:
        row = rows.pop((condition.kind, condition.subject), None)
        if row is None:
            values = {**condition._asdict(), "first_seen_at": now, "last_seen_at": now}
            Alert.insert(values).on_conflict_ignore().execute()
        else:
            _seen(row, condition, targets, now)
    for row in rows.values():
        if observed.is_gone(row) or now - row.last_seen_at >= STALE_MS:
            _not_seen(row, targets, now)


def close_stale(targets: Sequence[str], now: int) -> None:
    """Close alerts that no process evaluates any more, such as those of a machine that is gone, and delete old ones."""
    for row in Alert.select().where(Alert.closed_at.is_null() & (Alert.last_seen_at < now - STALE_MS)):
        _not_seen(row, targets, now)
    Alert.delete().where(Alert.closed_at < now - KEPT_MS).execute()


def open_alerts() -> list[Alert]:
    """Return the open alerts, oldest first."""
    is_open = Alert.closed_at.is_null() & Alert.opened_at.is_null(False)
    return list(Alert.select().where(is_open).order_by(Alert.opened_at, Alert.id))


def last_evaluation() -> int:
    """Return when a worker last evaluated the alerts (ms UTC), or 0."""
    return int(AlertCheck.select(AlertCheck.checked_at).where(AlertCheck.id == 1).scalar() or 0)


def _seen(row: Alert, condition: Condition, targets: Sequence[str], now: int) -> None:
    changes = {"last_seen_at": now, "details": condition.details, "clear_since": None}
    Alert.update(changes).where((Alert.id == row.id) & Alert.closed_at.is_null()).execute()
    if row.opened_at is None and now - row.first_seen_at >= OPEN_AFTER_MS:
        with transaction():
            still_new = (Alert.id == row.id) & Alert.opened_at.is_null()
            if Alert.update(opened_at=now).where(still_new).execute():
                _queue(row, "opened", targets, now)


def _not_seen(row: Alert, targets: Sequence[str], now: int) -> None:
    mine = Alert.id == row.id
    if row.opened_at is None:
        Alert.delete().where(mine & Alert.opened_at.is_null()).execute()
    elif row.clear_since is None:
        Alert.update(clear_since=now).where(mine & Alert.closed_at.is_null() & Alert.clear_since.is_null()).execute()
    elif now - row.clear_since >= CLOSE_AFTER_MS:
        with transaction():
            still_clear = mine & Alert.closed_at.is_null() & (Alert.clear_since == row.clear_since)
            if Alert.update(closed_at=now).where(still_clear).execute():
                _queue(row, "closed", targets, now)


def _queue(row: Alert, event: str, targets: Sequence[str], now: int) -> None:
    for target in targets:
        AlertNotice.create(alert=row.id, event=event, target=target, created_at=now, due_at=now)
