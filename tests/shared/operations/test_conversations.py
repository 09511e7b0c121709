"""Transactions on stored content: they run one after another per account, and do not lock the account's row.

Accounts can choose the same ids.
"""

from __future__ import annotations

import threading

import peewee

from shared.core.clock import new_id
from shared.core.database import database, transaction
from shared.models import Account, Conversation, Message, Plan, Subscription
from shared.operations.conversations import (
    ChatMessage,
    ConversationState,
    SavedMessage,
    find_conversation,
    list_conversations,
    read_messages,
    save_conversation,
    store_turn,
)
from shared.operations.purges import begin_purge, count_purges, lock_content
from tests import factories
from tests.factories import ORIGIN
from tests.servers.process import eventually
from tests.threads import join, run_threads

_WAITING_FOR_A_ROW = "SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted"
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


def test_two_accounts_can_create_the_same_id_at_the_same_time(bound_postgres: peewee.Database) -> None:
    owners = [factories.account(), factories.account()]
    plan = Plan.create(name="Keeper", stores_content=True)
    for owner in owners:
        Subscription.create(account=owner, plan=plan)
    id = new_id()

    def save(owner: Account) -> None:
        save_conversation(owner.id, id, owner.email, [SavedMessage("user", owner.email, "complete", None)], seen=None)

    def save_second() -> None:
        with database.connection_context():
            save(owners[1])

    thread = threading.Thread(target=save_second, daemon=True)
    with transaction():
        save(owners[0])
        thread.start()
        eventually(lambda: database.execute_sql(_WAITING_FOR_A_ROW).fetchone() == (1,), "the second waits for the first")
    join(thread)
    for owner in owners:
        row = find_conversation(owner.id, id)
        assert (row.public_id, row.title) == (id, owner.email)
        assert [message.content for message in read_messages(row)] == [f'"{owner.email}"']


def test_what_the_last_release_stored_has_its_id(bound_postgres: peewee.Database) -> None:
    owner = factories.account()
    row = Conversation.create(account=owner, title="t")  # without `chosen_id`
    assert find_conversation(owner.id, row.id).public_id == row.id
    assert [found.public_id for found in list_conversations(owner.id)] == [row.id]


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
