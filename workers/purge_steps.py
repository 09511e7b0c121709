"""The steps of a purge, in order. Each is small, safe to repeat, and identified by its name in the job's row.

    prepare(purge)          outside any transaction: what cannot be undone (files) or must not hold a lock
    work(purge, prepared)   inside the transaction that also records what was removed

A new kind of content needs a new `Step` before "calls". Calls still in progress must either be prevented by their own rows
from writing such content (see `shared.operations.conversations.keep_turn`), or it must be removed after that step.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

from shared import rollup
from shared.core.clock import now_ms
from shared.core.database import database, is_sqlite
from shared.ledger.compaction import Collapsed, Remains, collapse, fold, forget_calls, forget_overage, running_calls
from shared.models import Conversation, Message, OutgoingMail, Share, StoredResponse

BATCH = 500
Counts = dict[str, int]


class Purge(NamedTuple):
    """The account to purge, and the boundary: only calls that started before it (ms UTC) are waited for."""

    account: UUID
    boundary: int


class State(Enum):
    """What to do after a unit of work."""

    MORE = "more"  # repeat the step now
    WAIT = "wait"  # repeat the step later
    DONE = "done"  # go to the next step


class Progress(NamedTuple):
    """What was removed, by store, and what to do next. The last step also reports what remains."""

    state: State
    removed: Counts | None = None
    remains: Counts | None = None


class Step(NamedTuple):
    """See the module docstring."""

    name: str
    work: Callable[[Purge, Any], Progress]
    prepare: Callable[[Purge], Any] = lambda _: None


def _shares(purge: Purge, _: Any) -> Progress:
    some = Share.select(Share.id).where(Share.account == purge.account).limit(BATCH)
    return _progress({"shares": Share.delete().where(Share.id.in_(some)).execute()})


def _responses(purge: Purge, _: Any) -> Progress:
    some = StoredResponse.select(StoredResponse.id).where(StoredResponse.account == purge.account).limit(BATCH)
    return _progress({"responses": StoredResponse.delete().where(StoredResponse.id.in_(some)).execute()})


def _mails(purge: Purge, _: Any) -> Progress:
    some = OutgoingMail.select(OutgoingMail.id).where(OutgoingMail.account == purge.account).limit(BATCH)
    return _progress({"mails": OutgoingMail.delete().where(OutgoingMail.id.in_(some)).execute()})


def _messages(purge: Purge, _: Any) -> Progress:
    """Delete messages, one conversation at a time, and then the empty conversation."""
    oldest = Conversation.select(Conversation.id).where(Conversation.account == purge.account).order_by(Conversation.id).first()
    if oldest is None:
        return Progress(State.DONE)
    some = Message.select(Message.position).where(Message.conversation == oldest.id).order_by(Message.position).limit(BATCH)
    removed = Message.delete().where((Message.conversation == oldest.id) & Message.position.in_(some)).execute()
    if removed:
        return Progress(State.MORE, {"messages": removed})
    return Progress(State.MORE, {"conversations": Conversation.delete().where(Conversation.id == oldest.id).execute()})


def _calls(purge: Purge, _: Any) -> Progress:
    """Wait for the calls that were in progress when the purge began: the opening entry must include their charges."""
    return Progress(State.WAIT if running_calls(purge.account, purge.boundary) else State.DONE)


def _usage(purge: Purge, _: Any) -> Progress:
    return _progress(_counted(forget_calls(purge.account)))


def _overage(purge: Purge, _: Any) -> Progress:
    return _progress(_counted(forget_overage(purge.account, now_ms())))


def _sums(purge: Purge, _: Any) -> Progress:
    return Progress(State.DONE, {"usage_sums": rollup.forget(purge.account)})


def _fold(purge: Purge, _: Any) -> Progress:
    return _progress(_counted(fold(purge.account, now_ms())))


def _collapse(purge: Purge, _: Any) -> Progress:
    removed, remains = collapse(purge.account, now_ms())
    return Progress(State.DONE, _counted(removed), _remaining(remains))


def _remaining(remains: Remains) -> Counts:
    return {
        "balance": remains.balance,
        "plan_credits": remains.plan_credits,
        "held": remains.held,
        "ledger_entries": remains.entries,
    }


def settle_disk() -> None:
    """Flush SQLite's deletions from the log to the file, where `secure_delete` overwrites them, and empty the log.

    If a reader blocks this, SQLite does it later by itself. PostgreSQL reuses the space through its own vacuum.
    """
    if is_sqlite():
        database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _counted(removed: Collapsed) -> Counts:
    return {
        "ledger_entries": removed.entries,
        "overage_entries": removed.overage,
        "usage_rows": removed.usage,
        "holds": removed.holds,
        "idempotency_claims": removed.claims,
    }


def _progress(removed: Counts) -> Progress:
    return Progress(State.MORE if any(removed.values()) else State.DONE, removed)


STEPS: tuple[Step, ...] = (  # after the media step, see `workers.purge_media`
    Step("shares", _shares),
    Step("conversations", _messages),
    Step("responses", _responses),
    Step("mails", _mails),
    Step("calls", _calls),
    Step("sums", _sums),
    Step("usage", _usage),
    Step("overage", _overage),
    Step("fold", _fold),
    Step("disk", lambda *_: Progress(State.DONE), lambda _: settle_disk()),
    Step("ledger", _collapse),
)
