"""The steps of a purge, in their order. Each is small, safe to repeat, and told apart by its name in the job's row.

    prepare(purge)          outside any transaction: what cannot be undone (files), or must not hold a lock
    work(purge, prepared)   inside one, together with the row that counts it: all of it happens or nothing

A new kind of content is a new `Step`, before the calls are waited for: whatever those still write must be refused by
its own rows (see `shared.operations.conversations.keep_turn`), or be removed after that step.
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
from shared.models import Conversation, Message, Share, StoredResponse

BATCH = 500
Counts = dict[str, int]


class Purge(NamedTuple):
    """What a step needs to know: whose rows go, and up to when (milliseconds UTC) a call must have begun to be waited for."""

    account: UUID
    boundary: int


class State(Enum):
    """What follows a piece of work."""

    MORE = "more"  # the same step again, at once
    WAIT = "wait"  # the same step again, a little later
    DONE = "done"  # the next step


class Progress(NamedTuple):
    """What a piece of work removed, by store, and what follows; the last step also says what remains."""

    state: State
    removed: Counts | None = None
    remains: Counts | None = None


class Step(NamedTuple):
    """See the module."""

    name: str
    work: Callable[[Purge, Any], Progress]
    prepare: Callable[[Purge], Any] = lambda _: None


def _shares(purge: Purge, _: Any) -> Progress:
    some = Share.select(Share.id).where(Share.account == purge.account).limit(BATCH)
    return _progress({"shares": Share.delete().where(Share.id.in_(some)).execute()})


def _responses(purge: Purge, _: Any) -> Progress:
    some = StoredResponse.select(StoredResponse.id).where(StoredResponse.account == purge.account).limit(BATCH)
    return _progress({"responses": StoredResponse.delete().where(StoredResponse.id.in_(some)).execute()})


def _messages(purge: Purge, _: Any) -> Progress:
    """Messages, a conversation at a time, and conversations that have none any more."""
    oldest = Conversation.select(Conversation.id).where(Conversation.account == purge.account).order_by(Conversation.id).first()
    if oldest is None:
        return Progress(State.DONE)
    some = Message.select(Message.position).where(Message.conversation == oldest.id).order_by(Message.position).limit(BATCH)
    removed = Message.delete().where((Message.conversation == oldest.id) & Message.position.in_(some)).execute()
    if removed:
        return Progress(State.MORE, {"messages": removed})
    return Progress(State.MORE, {"conversations": Conversation.delete().where(Conversation.id == oldest.id).execute()})


def _calls(purge: Purge, _: Any) -> Progress:
    """Let the calls end that ran when the purge began: their charges belong into the opening entry."""
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
    """SQLite: bring the deletions from the log into the file, where deleted content is overwritten (`secure_delete`), and empty
    the log. A reader that is in the way makes that happen later, by itself. PostgreSQL reuses the space by its own vacuum."""
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


STEPS: tuple[Step, ...] = (  # the media's comes before them: `workers.purge_media`
    Step("shares", _shares),
    Step("conversations", _messages),
    Step("responses", _responses),
    Step("calls", _calls),
    Step("sums", _sums),
    Step("usage", _usage),
    Step("overage", _overage),
    Step("fold", _fold),
    Step("disk", lambda *_: Progress(State.DONE), lambda _: settle_disk()),
    Step("ledger", _collapse),
)
