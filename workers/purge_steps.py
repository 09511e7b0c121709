"""The steps of a purge, in order. Each is small, safe to repeat, and identified by its name in the job's row.

    prepare(purge)          outside any transaction: what cannot be undone (files) or must not hold a lock
    work(purge, prepared)   inside the transaction that also records what was removed

A new kind of content needs a new `Step` before "calls". Rows must prevent calls still in progress from writing such content (see
`shared.operations.conversations.store_turn`), or a later step must remove it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

from shared import rollup
from shared.core.clock import now_ms
from shared.core.database import database, is_sqlite
from shared.ledger.compaction import (
    RemainingLedger,
    RemovedRows,
    compact_ledger,
    delete_calls,
    merge_oldest_entries,
    merge_overage,
    running_calls,
)
from shared.models import Conversation, Message, OutgoingMail, Share, StoredResponse

BATCH = 500
Counts = dict[str, int]


class Purge(NamedTuple):
    """The account to purge, and the boundary: only calls that started before it (ms UTC) are waited for."""

    account: UUID
    boundary: int


class NextAction(Enum):
    """What to do after a unit of work."""

    MORE = "more"  # repeat the step now
    WAIT = "wait"  # repeat the step later
    DONE = "done"  # go to the next step


class StepResult(NamedTuple):
    """What was removed, by store, and what to do next. The last step also reports what remains."""

    state: NextAction
    removed: Counts | None = None
    remains: Counts | None = None


class Step(NamedTuple):
    """See the module docstring."""

    name: str
    work: Callable[[Purge, Any], StepResult]
    prepare: Callable[[Purge], Any] = lambda _: None


def _shares(purge: Purge, _: Any) -> StepResult:
    some = Share.select(Share.id).where(Share.account == purge.account).limit(BATCH)
    return _progress({"shares": Share.delete().where(Share.account == purge.account, Share.id.in_(some)).execute()})


def _responses(purge: Purge, _: Any) -> StepResult:
    some = StoredResponse.select(StoredResponse.id).where(StoredResponse.account == purge.account).limit(BATCH)
    return _progress(
        {
            "responses": StoredResponse.delete()
            .where(StoredResponse.account == purge.account, StoredResponse.id.in_(some))
            .execute()
        }
    )


def _mails(purge: Purge, _: Any) -> StepResult:
    some = OutgoingMail.select(OutgoingMail.id).where(OutgoingMail.account == purge.account).limit(BATCH)
    return _progress({"mails": OutgoingMail.delete().where(OutgoingMail.id.in_(some)).execute()})


def _messages(purge: Purge, _: Any) -> StepResult:
    """Delete messages, one conversation at a time, and then the empty conversation."""
    oldest = Conversation.select().where(Conversation.account == purge.account).order_by(Conversation.public_id).first()
    if oldest is None:
        return StepResult(NextAction.DONE)
    some = Message.select(Message.position).where(Message.conversation == oldest.id).order_by(Message.position).limit(BATCH)
    removed = Message.delete().where((Message.conversation == oldest.id) & Message.position.in_(some)).execute()
    if removed:
        return StepResult(NextAction.MORE, {"messages": removed})
    return StepResult(NextAction.MORE, {"conversations": Conversation.delete().where(Conversation.id == oldest.id).execute()})


def _calls(purge: Purge, _: Any) -> StepResult:
    """Wait for the calls that were in progress when the purge began: the opening entry must include their charges."""
    return StepResult(NextAction.WAIT if running_calls(purge.account, purge.boundary) else NextAction.DONE)


def _usage(purge: Purge, _: Any) -> StepResult:
    return _progress(_counted(delete_calls(purge.account)))


def _overage(purge: Purge, _: Any) -> StepResult:
    return _progress(_counted(merge_overage(purge.account, now_ms())))


def _sums(purge: Purge, _: Any) -> StepResult:
    return StepResult(NextAction.DONE, {"usage_sums": rollup.delete_account_sums(purge.account)})


def ledger_steps(secret_key: str) -> tuple[Step, ...]:
    """Return the last steps of a purge, which sign what they leave with a key derived from `secret_key`."""

    def fold(purge: Purge, _: Any) -> StepResult:
        return _progress(_counted(merge_oldest_entries(purge.account, now_ms(), secret_key)))

    def collapse(purge: Purge, _: Any) -> StepResult:
        removed, remains = compact_ledger(purge.account, now_ms(), secret_key)
        return StepResult(NextAction.DONE, _counted(removed), _remaining(remains))

    return (
        Step("fold", fold),
        Step("disk", lambda *_: StepResult(NextAction.DONE), lambda _: flush_deletions()),
        Step("ledger", collapse),
    )


def _remaining(remains: RemainingLedger) -> Counts:
    return {
        "balance": remains.balance,
        "plan_credits": remains.plan_credits,
        "held": remains.held,
        "ledger_entries": remains.entries,
    }


def flush_deletions() -> None:
    """Flush SQLite's deletions from the log to the file, where `secure_delete` overwrites them, and empty the log.

    If a reader blocks this, SQLite does it later by itself. PostgreSQL reuses the space through its own vacuum.
    """
    if is_sqlite():
        database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _counted(removed: RemovedRows) -> Counts:
    return {
        "ledger_entries": removed.entries,
        "overage_entries": removed.overage,
        "usage_rows": removed.usage,
        "holds": removed.holds,
        "idempotency_claims": removed.claims,
    }


def _progress(removed: Counts) -> StepResult:
    return StepResult(NextAction.MORE if any(removed.values()) else NextAction.DONE, removed)


STEPS: tuple[Step, ...] = (  # after the media step (`workers.purge_media`), before `ledger_steps`
    Step("shares", _shares),
    Step("conversations", _messages),
    Step("responses", _responses),
    Step("mails", _mails),
    Step("calls", _calls),
    Step("sums", _sums),
    Step("usage", _usage),
    Step("overage", _overage),
)
