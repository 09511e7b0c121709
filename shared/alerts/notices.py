"""The outbox of messages about alerts. A worker claims one by compare-and-set, as in `shared/mail/outbox.py`."""

from __future__ import annotations

from typing import Any

from shared.models import Alert, AlertNotice
from shared.text.plain_text import to_one_line, truncate

LEASE_MS = 120_000  # longer than any attempt takes
RETRY_DELAYS_MS = (30_000, 120_000, 600_000, 1_800_000)  # after the first attempt, the second, …; the last repeats
MAX_AGE_MS = 24 * 3_600_000  # after that, an unsent message fails
_MAX_ERROR = 200


def claim_notice(now: int) -> AlertNotice | None:
    """Claim the message that has been due the longest, with its alert, or return None. No other process gets the same attempt."""
    due = (AlertNotice.status == "queued") & (AlertNotice.due_at <= now)
    old = (AlertNotice.status == "queued") & (AlertNotice.created_at < now - MAX_AGE_MS)
    AlertNotice.update(status="failed").where(old).execute()
    query = AlertNotice.select(AlertNotice, Alert).join(Alert).where(due).order_by(AlertNotice.due_at, AlertNotice.id)
    while (found := query.first()) is not None:
        changes = {"due_at": now + LEASE_MS, "attempts": AlertNotice.attempts + 1}
        if AlertNotice.update(changes).where((AlertNotice.id == found.id) & due).execute():
            found.attempts += 1
            row: AlertNotice = found
            return row
    return None


def finish_notice(notice: AlertNotice) -> None:
    """Record that a claimed message was sent."""
    AlertNotice.update(status="sent", last_error="").where(_is_claimed(notice)).execute()


def delay_notice(notice: AlertNotice, error: str, now: int) -> None:
    """Schedule the next attempt of a claimed message, after a delay that grows with each attempt."""
    delay = RETRY_DELAYS_MS[min(notice.attempts, len(RETRY_DELAYS_MS)) - 1]
    changes = {"due_at": now + delay, "last_error": truncate(to_one_line(error), _MAX_ERROR, "…")}
    AlertNotice.update(changes).where(_is_claimed(notice)).execute()


def _is_claimed(notice: AlertNotice) -> Any:
    return (AlertNotice.id == notice.id) & (AlertNotice.status == "queued") & (AlertNotice.attempts == notice.attempts)
