"""Stored conversations: continue, store a call's turn, save, list, read and delete.

Content is stored only on request, in the tables `conversation` and `message`. A turn is stored after its call is settled. If the
account was purged or the conversation deleted since the call began, the turn is not stored.

Ids of conversations are public ids (`Conversation.public_id`), which an account chooses freely: what other accounts use makes no
difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from shared.core.clock import new_id, now_ms
from shared.core.database import transaction
from shared.core.errors import AccessDenied, ConversationChanged, InvalidRequest, NotFound
from shared.models import Conversation, Message, Plan, Subscription
from shared.operations.purges import count_purges, lock_content, require_no_purge
from shared.text.plain_text import to_one_line, truncate
from shared.text.translation import lazy_gettext

MAX_MESSAGES = 1_000  # per conversation
MAX_TITLE_LENGTH = 80  # characters of a title taken from the first message
MAX_PAGE_SIZE = 100
_ROWS_PER_INSERT = 100
NO_SUCH_CONVERSATION = "No such conversation. List yours with GET /api/chat/conversations/."


class ChatMessage(NamedTuple):
    """A message in the API's format: `content` is text, or a list of OpenAI's content parts."""

    role: str
    content: Any


class SavedMessage(NamedTuple):
    """A message that a client saves: `status` is one of `MESSAGE_STATUSES`, `model` is that of an answer.

    For `parent`, see `shared.models.Message`.
    """

    role: str
    content: Any
    status: str
    model: str | None
    parent: int | None = None


class ConversationState(NamedTuple):
    """State that a call reads before it continues or stores a conversation.

    `purges` is the account's number of purges so far: the turn is stored only if it is unchanged.
    """

    account: UUID
    conversation: UUID
    is_new: bool  # the first turn creates the conversation
    store: bool
    purge_count: int
    history: list[ChatMessage]


def begin_turn(account: UUID, conversation: str | None, *, stores: bool, new_count: int) -> ConversationState:
    """Read the state for a call that adds `new_count` messages to a conversation (None: a new one).

    Raises `AccessDenied` (`plan_required`) if the plan does not store content, `PurgeRunning`, `NotFound` also for another
    account's conversation, and `InvalidRequest` if the conversation is full.
    """
    if stores:
        _require_plan(account)
        require_no_purge(account)
    purges = count_purges(account)
    if conversation is None:
        return ConversationState(account, new_id(), True, stores, purges, [])
    row = find_conversation(account, conversation)
    if stores and row.message_count + new_count >= MAX_MESSAGES:
        raise InvalidRequest(
            lazy_gettext("A conversation can have at most {max_messages} messages. Start a new one.", max_messages=MAX_MESSAGES),
            "conversation_id",
        )
    earlier = [ChatMessage(message.role, orjson.loads(message.content)) for message in _main_branch(row)]
    return ConversationState(account, row.public_id, False, stores, purges, earlier)


def store_turn(state: ConversationState, new_messages: Sequence[ChatMessage], answer: str, *, model: str, complete: bool) -> bool:
    """Store the messages in `new_messages` and the `answer` (if not `complete`, as far as delivered). Returns whether they were
    stored.

    Returns False if a purge started or the conversation was deleted since the call began.
    """
    with transaction():
        lock_content(state.account)
        if count_purges(state.account) != state.purge_count:
            return False
        now = now_ms()
        row = _find(state.account, state.conversation)
        if state.is_new:
            row = Conversation.create(
                id=state.conversation, account=state.account, title=_title_of(new_messages), created_at=now, updated_at=now
            )
        if row is None:
            return False
        count = row.message_count
        rows: list[dict[str, Any]] = [{"role": turn.role, "content": turn.content} for turn in new_messages]
        rows.append({"role": "assistant", "content": answer, "status": "complete" if complete else "partial", "model": model})
        for position, columns in enumerate(rows, count):
            content = orjson.dumps(columns.pop("content")).decode()
            Message.create(conversation=row, position=position, content=content, created_at=now, **columns)
        Conversation.update(message_count=count + len(rows), updated_at=now).where(Conversation.id == row.id).execute()
        return True


def save_conversation(
    account: UUID, conversation: UUID, title: str, messages: Sequence[SavedMessage], *, seen: int | None
) -> Conversation:
    """Create a conversation, or replace title and messages of the one whose `updated_at` is `seen`. Unchanged messages at the
    start keep their time.

    Raises `AccessDenied` (`plan_required`) if the plan does not store content, `PurgeRunning`, `NotFound` if the conversation was
    deleted, and `ConversationChanged` if it has another `updated_at` or (`seen` is None) exists.
    """
    _require_plan(account)
    with transaction():
        lock_content(account)
        require_no_purge(account)
        row = _find(account, conversation)
        if row is None and seen is None:
            row = _create(account, conversation)
        elif row is None:
            raise NotFound(NO_SUCH_CONVERSATION)
        elif row.updated_at != seen:
            raise ConversationChanged
        _replace_messages(row, messages)
        row.title, row.message_count = title, len(messages)
        row.updated_at = max(now_ms(), row.updated_at + 1)  # so that every change has a time of its own
        row.save(only=[Conversation.title, Conversation.message_count, Conversation.updated_at])
        return row


def _create(account: UUID, chosen_id: UUID) -> Conversation:
    """Create an empty conversation with an id that the account does not use yet.

    Its row has the same `id`, by which processes of the last release find it, unless another account's row has it. Both cases
    run the same queries, so that they take equally long.
    """
    is_used = Conversation.select().where(Conversation.id == chosen_id).exists()
    for id in (new_id() if is_used else chosen_id, new_id()):  # the second if another account has just created the first
        row = Conversation(id=id, account=account, chosen_id=chosen_id, updated_at=0)
        if Conversation.insert(row.__data__).on_conflict_ignore().as_rowcount().execute():
            break
    return row


def _replace_messages(conversation: Conversation, messages: Sequence[SavedMessage]) -> None:
    rows = [
        {**message._asdict(), "content": orjson.dumps(message.content).decode(), "position": position}
        for position, message in enumerate(messages)
    ]
    kept = 0
    for earlier, row in zip(_messages(conversation), rows, strict=False):
        if any(getattr(earlier, name) != value for name, value in row.items()):
            break
        kept += 1
    Message.delete().where((Message.conversation == conversation.id) & (Message.position >= kept)).execute()
    now = now_ms()
    new = [{**row, "conversation": conversation.id, "created_at": now} for row in rows[kept:]]
    for start in range(0, len(new), _ROWS_PER_INSERT):
        Message.insert_many(new[start : start + _ROWS_PER_INSERT]).execute()


def list_conversations(account: UUID, *, after: UUID | None = None, limit: int = 20) -> list[Conversation]:
    """Return a page of an account's conversations, newest first. `after` is the last id of the previous page."""
    query = Conversation.select().where(Conversation.account == account).order_by(Conversation.public_id.desc())
    if after is not None:
        query = query.where(Conversation.public_id < after)
    return list(query.limit(limit))


def find_conversation(account: UUID, conversation: str | UUID) -> Conversation:
    """Return the account's conversation with this id. Raises `NotFound`, also for another account's."""
    try:
        id = conversation if isinstance(conversation, UUID) else UUID(conversation)
    except ValueError:
        raise NotFound(NO_SUCH_CONVERSATION) from None
    row = _find(account, id)
    if row is None:
        raise NotFound(NO_SUCH_CONVERSATION)
    return row


def _find(account: UUID, conversation: UUID) -> Conversation | None:
    row: Conversation | None = Conversation.get_or_none(
        (Conversation.account == account) & (Conversation.public_id == conversation)
    )
    return row


def read_messages(row: Conversation, *, start: int = 0, limit: int = MAX_PAGE_SIZE, branches: bool = False) -> list[Message]:
    """Return a page of a conversation's messages from position `start`: those of the main branch, or of all `branches`."""
    messages = _messages(row) if branches else _main_branch(row)
    return list(messages.where(Message.position >= start).limit(limit))


def delete_conversation(account: UUID, conversation: str | UUID) -> None:
    """Delete a conversation with its messages. Shares are snapshots and stay. Raises `NotFound`."""
    with transaction():
        lock_content(account)  # serializes with `store_turn`
        row = find_conversation(account, conversation)
        Message.delete().where(Message.conversation == row.id).execute()
        Conversation.delete().where(Conversation.id == row.id).execute()


def _messages(row: Conversation) -> Any:
    return Message.select().where(Message.conversation == row.id).order_by(Message.position)


def _main_branch(row: Conversation) -> Any:
    return _messages(row).where(Message.parent.is_null())


def plan_stores_content(account: UUID) -> bool:
    """Return whether the account's plan stores content on request."""
    active = (Subscription.account == account) & (Subscription.status == "active")
    return bool(Subscription.select().join(Plan).where(active & Plan.stores_content).exists())


def _require_plan(account: UUID) -> None:
    if not plan_stores_content(account):
        raise AccessDenied(
            lazy_gettext("Your plan does not store conversations. Omit 'store' and send the earlier messages with each request."),
            "plan_required",
        )


def _title_of(said: Sequence[ChatMessage]) -> str:
    """Return the beginning of the first user message in one line."""
    text = next((text_of_content(turn.content) for turn in said if turn.role == "user"), "")
    return truncate(to_one_line(text[: MAX_TITLE_LENGTH * 4]), MAX_TITLE_LENGTH, "…")


def text_of_content(content: Any) -> str:
    """Return the text of a message: the string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
    return "\n\n".join(texts)
