"""Transactions on stored content: they run one after another per account, and do not lock the account's row."""

from __future__ import annotations

import threading

import peewee

from shared.core.clock import new_id
from shared.core.database import database, transaction
from shared.models import Conversation, Message
from shared.operations.conversations import ChatMessage, ConversationState, store_turn
from shared.operations.purges import begin_purge, count_purges, lock_content
from tests import factories
from tests.factories import ORIGIN
from tests.servers.process import eventually
from tests.threads import join, run_threads

_WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


def test_turns_stored_at_the_same_time_get_positions_of_their_own(bound_postgres: peewee.Database) -> None:
    owner = factories.account()
    first = ConversationState(owner.id, new_id(), True, True, 0, [])
    assert store_turn(first, [ChatMessage("user", "Hi")], "Hello", model="m-1", complete=True)

    def keep(number: int) -> bool:
        with database.connection_context():
            return store_turn(first._replace(is_new=False), [ChatMessage("user", str(number))], "Yes", model="m-1", complete=True)

    assert run_threads(keep, 6) == [True] * 6
    assert [row.position for row in Message.select().order_by(Message.position)] == list(range(14))
    assert Conversation.get().message_count == 14


def test_a_purge_begins_after_content_that_is_being_stored(bound_postgres: peewee.Database) -> None:
    owner = factories.account()

    def purge() -> None:
        with database.connection_context():
            begin_purge(owner.id, origin=ORIGIN)

    thread = threading.Thread(target=purge, daemon=True)
    with transaction():
        lock_content(owner.id)
        thread.start()
        eventually(lambda: database.execute_sql(_WAITING).fetchone() == (1,), "the purge waits")
        assert count_purges(owner.id) == 0
    join(thread)
    assert count_purges(owner.id) == 1
