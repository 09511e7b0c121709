"""The outbox: one row per email, written in the transaction that causes it and sent by a worker.

A row has the kind of email and the recipient, but no text: the text is composed when the email is sent. A worker claims an email
by compare-and-set for `LEASE_MS`, and confirms the claim directly before it sends the text (`begin_mail`), so two workers never
send the same one, even if one of them was stopped for longer. Until the result is committed, the email is in doubt: it is sent
again, with the same Message-ID, if the worker dies.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.models import OutgoingMail
from shared.text.plain_text import to_one_line, truncate

LEASE_MS = 300_000  # longer than any attempt takes; then another worker may try
RETRY_DELAYS_MS = (60_000, 300_000, 900_000, 3_600_000, 10_800_000)  # after the first attempt, the second, …; the last repeats
MAX_AGE_MS = 86_400_000  # after that, an unsent email fails
KEPT_MS = 7 * 86_400_000  # retention of finished rows
OVERDUE_MS = 3_600_000  # `/metrics` counts emails that have waited longer
IN_DOUBT = "in_doubt"  # the error until the result is known: a worker that ends before may have sent the email
_MAX_ERROR = 200
_MAX_SUBJECT = 254


class ClaimedMail(NamedTuple):
    """An email claimed by this process. `attempt` counts from 1; `is_in_doubt` if an earlier one may have arrived."""

    id: UUID
    account: UUID
    kind: str
    recipient: str
    attempt: int
    subject: str = ""
    is_in_doubt: bool = False


def queue_mail(account: UUID, kind: str, recipient: str, *, subject: str = "", one_recipient: bool = True) -> None:
    """Queue an email, replacing a queued one of the same kind. Call it inside the transaction that causes it.

    `subject` is the id of the row that the email is about, or a short value. Unless the account's emails of this kind all have
    `one_recipient`, only those to this one are replaced, and of those only the ones about the same `subject`.
    """
    cancel_mails(account, kind, "" if one_recipient else recipient, subject="" if one_recipient else subject)
    now = now_ms()
    values = {"recipient": recipient, "subject": truncate(subject, _MAX_SUBJECT)}
    OutgoingMail.create(account=account, kind=kind, created_at=now, due_at=now, **values)


def cancel_mails(account: UUID, kind: str | None = None, recipient: str = "", *, subject: str = "") -> None:
    """Cancel the account's queued emails, of one kind or of all kinds, to one recipient or to all, about one subject or all."""
    waiting = (OutgoingMail.account == account) & (OutgoingMail.status == "queued")
    if subject:
        waiting &= OutgoingMail.subject == subject
    if kind is not None:
        waiting &= OutgoingMail.kind == kind
    if recipient:
        waiting &= OutgoingMail.recipient == recipient
    OutgoingMail.update(status="cancelled", finished_at=now_ms()).where(waiting).execute()


def recent_mails(account: UUID, limit: int = 20) -> list[OutgoingMail]:
    """Return the account's newest emails, in any state. Finished ones are deleted after `KEPT_MS`."""
    return list(OutgoingMail.select().where(OutgoingMail.account == account).order_by(OutgoingMail.id.desc()).limit(limit))


def count_overdue() -> int:
    """Return the number of emails queued for more than an hour."""
    overdue = (OutgoingMail.status == "queued") & (OutgoingMail.created_at < now_ms() - OVERDUE_MS)
    return int(OutgoingMail.select().where(overdue).count())


def claim_mail() -> ClaimedMail | None:
    """Claim the email that has been due longest, or return None if none is due. No other process gets the same attempt."""
    now = now_ms()
    due = (OutgoingMail.status == "queued") & (OutgoingMail.due_at <= now)
    while (found := OutgoingMail.select(OutgoingMail.id).where(due).order_by(OutgoingMail.due_at).first()) is not None:
        with transaction():
            taken: Any = (
                OutgoingMail.update(due_at=now + LEASE_MS, attempts=OutgoingMail.attempts + 1)
                .where((OutgoingMail.id == found.id) & due)
                .returning(OutgoingMail)
                .execute()
            )
            for row in taken:
                in_doubt = row.last_error == IN_DOUBT
                return ClaimedMail(row.id, row.__data__["account"], row.kind, row.recipient, row.attempts, row.subject, in_doubt)
    return None


def begin_mail(mail: ClaimedMail) -> bool:
    """Confirm a claim and record that the email is in doubt. Return False if it was cancelled, or the claim was lost."""
    changes = {"due_at": now_ms() + LEASE_MS, "last_error": IN_DOUBT}
    return bool(OutgoingMail.update(**changes).where(_is_claimed(mail)).execute())


def finish_mail(mail: ClaimedMail, status: str, error: str = "") -> bool:
    """Record the result (`sent`, `failed` or `cancelled`) of a claimed email. Return False if the claim was lost."""
    changes = {"status": status, "last_error": _short(error), "finished_at": now_ms()}
    return bool(OutgoingMail.update(**changes).where(_is_claimed(mail)).execute())


def delay_mail(mail: ClaimedMail, error: str) -> bool:
    """Schedule the next attempt after a delay that grows with each one. Return False if the claim was lost."""
    pause = RETRY_DELAYS_MS[min(mail.attempt, len(RETRY_DELAYS_MS)) - 1]
    changes = {"due_at": now_ms() + pause, "last_error": _short(error)}
    return bool(OutgoingMail.update(**changes).where(_is_claimed(mail)).execute())


def give_up_old_mails() -> int:
    """Fail emails not sent within `MAX_AGE_MS`, and delete rows finished `KEPT_MS` ago. Return how many failed."""
    now = now_ms()
    old = (OutgoingMail.status == "queued") & (OutgoingMail.created_at < now - MAX_AGE_MS)
    failed = OutgoingMail.update(status="failed", finished_at=now).where(old).execute()
    OutgoingMail.delete().where(OutgoingMail.finished_at < now - KEPT_MS).execute()
    return int(failed)


def _is_claimed(mail: ClaimedMail) -> Any:
    return (OutgoingMail.id == mail.id) & (OutgoingMail.status == "queued") & (OutgoingMail.attempts == mail.attempt)


def _short(error: str) -> str:
    return truncate(to_one_line(error), _MAX_ERROR, "…")
