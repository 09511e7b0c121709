"""`/api/chat/conversations/`: list, read and delete an account's stored conversations."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

import orjson
from quart import Blueprint, Response

from edge.http.api_spec import (
    ANY,
    BOOLEAN,
    ID,
    INTEGER,
    MOMENT,
    PAGE,
    STRING,
    Answer,
    array,
    declare,
    one_of,
    or_null,
    page_of,
    record,
    whole,
)
from edge.http.paging import read_page, whole_number
from edge.request_context import account_caller, private, read, write
from shared.core.errors import InvalidRequest, NotFound
from shared.core.timestamps import iso_moment
from shared.models import MESSAGE_STATUSES, Conversation, Message
from shared.operations.conversations import (
    LARGEST_PAGE,
    MOST_MESSAGES,
    delete_conversation,
    find_conversation,
    list_conversations,
    read_messages,
)

conversations = Blueprint("conversations", __name__)
_CONVERSATION = {"id": ID, "title": STRING, "message_count": INTEGER, "created": MOMENT, "updated": MOMENT}
_MESSAGE = record(
    {"role": STRING, "content": ANY, "status": one_of(*MESSAGE_STATUSES), "model": or_null(STRING), "created": MOMENT}
)


@conversations.get("/api/chat/conversations/")
@declare(
    "List stored conversations",
    query=PAGE,
    answers={200: Answer(page_of("conversations", record(_CONVERSATION)), "A page of conversations, newest first.")},
    refusals=(InvalidRequest,),
)
async def show_conversations() -> Response:
    """List conversations, newest first. Pass `next` as `after` to get the next page."""
    caller = await account_caller()
    page = read_page()
    rows = await read(partial(list_conversations, caller.account, after=page.after, limit=page.limit + 1))
    more = len(rows) > page.limit
    shown = rows[: page.limit]
    return private({"conversations": [_document(row) for row in shown], "next": str(shown[-1].id) if more else None})


@conversations.get("/api/chat/conversations/<conversation_id>/")
@declare(
    "Retrieve a conversation",
    path={"conversation_id": ID},
    query={"start": whole(0, MOST_MESSAGES), "limit": whole(1, LARGEST_PAGE)},
    answers={
        200: Answer(
            record({**_CONVERSATION, "messages": array(_MESSAGE), "next": or_null(INTEGER)}),
            "The conversation with its messages.",
        )
    },
    refusals=(InvalidRequest, NotFound),
)
async def show_conversation(conversation_id: str) -> Response:
    """Return a conversation with a page of its messages, oldest first, from position `start`."""
    caller = await account_caller()
    start = whole_number("start", 0, MOST_MESSAGES, 0)
    limit = whole_number("limit", 1, LARGEST_PAGE, LARGEST_PAGE)
    row, messages = await read(partial(_read, caller.account, conversation_id, start, limit))
    follows = start + len(messages)
    return private(
        {
            **_document(row),
            "messages": [_message(message) for message in messages],
            "next": follows if messages and follows < row.message_count else None,
        }
    )


@conversations.delete("/api/chat/conversations/<conversation_id>/")
@declare(
    "Delete a conversation",
    path={"conversation_id": ID},
    answers={
        200: Answer(record({"id": ID, "deleted": BOOLEAN}), "Deleted with its messages. Shares are snapshots and stay online.")
    },
    refusals=(NotFound,),
)
async def remove_conversation(conversation_id: str) -> Response:
    """Permanently delete a conversation and its messages."""
    caller = await account_caller()
    await write(partial(delete_conversation, caller.account, conversation_id))
    return private({"id": str(UUID(conversation_id)), "deleted": True})


def _read(account: UUID, conversation: str, start: int, limit: int) -> tuple[Conversation, list[Message]]:
    row = find_conversation(account, conversation)
    return row, read_messages(row.id, start=start, limit=limit)


def _document(row: Conversation) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "title": row.title,
        "message_count": row.message_count,
        "created": iso_moment(row.created_at),
        "updated": iso_moment(row.updated_at),
    }


def _message(row: Message) -> dict[str, Any]:
    return {
        "role": row.role,
        "content": orjson.loads(row.content),
        "status": row.status,
        "model": row.model,
        "created": iso_moment(row.created_at),
    }
