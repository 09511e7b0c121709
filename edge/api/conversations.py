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
    PAGE,
    STRING,
    TIMESTAMP,
    ResponseSpec,
    array,
    describe_route,
    enum,
    integer,
    nullable,
    page_of,
    response_schema,
)
from edge.http.paging import query_integer, read_page, split_page
from edge.request_context import account_caller, read, uncached_json, write
from shared.core.errors import InvalidRequest, NotFound
from shared.core.timestamps import format_timestamp
from shared.models import MESSAGE_STATUSES, Conversation, Message
from shared.operations.conversations import (
    MAX_MESSAGES,
    MAX_PAGE_SIZE,
    delete_conversation,
    find_conversation,
    list_conversations,
    read_messages,
)

conversations = Blueprint("conversations", __name__)
_CONVERSATION = {"id": ID, "title": STRING, "message_count": INTEGER, "created": TIMESTAMP, "updated": TIMESTAMP}
_MESSAGE = response_schema(
    {"role": STRING, "content": ANY, "status": enum(*MESSAGE_STATUSES), "model": nullable(STRING), "created": TIMESTAMP}
)


@conversations.get("/api/chat/conversations/")
@describe_route(
    "List stored conversations",
    query=PAGE,
    responses={
        200: ResponseSpec(page_of("conversations", response_schema(_CONVERSATION)), "A page of conversations, newest first.")
    },
    errors=(InvalidRequest,),
)
async def show_conversations() -> Response:
    """List conversations, newest first. Pass `next` as `after` to get the next page."""
    caller = await account_caller()
    page = read_page()
    rows = await read(partial(list_conversations, caller.account, after=page.after, limit=page.limit + 1))
    shown, last = split_page(rows, page.limit)
    return uncached_json({"conversations": [_document(row) for row in shown], "next": str(last.id) if last else None})


@conversations.get("/api/chat/conversations/<conversation_id>/")
@describe_route(
    "Retrieve a conversation",
    path={"conversation_id": ID},
    query={"start": integer(0, MAX_MESSAGES), "limit": integer(1, MAX_PAGE_SIZE)},
    responses={
        200: ResponseSpec(
            response_schema({**_CONVERSATION, "messages": array(_MESSAGE), "next": nullable(INTEGER)}),
            "The conversation with its messages.",
        )
    },
    errors=(InvalidRequest, NotFound),
)
async def show_conversation(conversation_id: str) -> Response:
    """Return a conversation with a page of its messages, oldest first, from position `start`."""
    caller = await account_caller()
    start = query_integer("start", 0, MAX_MESSAGES, 0)
    limit = query_integer("limit", 1, MAX_PAGE_SIZE, MAX_PAGE_SIZE)
    row, messages = await read(partial(_read, caller.account, conversation_id, start, limit))
    follows = start + len(messages)
    return uncached_json(
        {
            **_document(row),
            "messages": [_message(message) for message in messages],
            "next": follows if messages and follows < row.message_count else None,
        }
    )


@conversations.delete("/api/chat/conversations/<conversation_id>/")
@describe_route(
    "Delete a conversation",
    path={"conversation_id": ID},
    responses={
        200: ResponseSpec(
            response_schema({"id": ID, "deleted": BOOLEAN}), "Deleted with its messages. Shares are snapshots and stay online."
        )
    },
    errors=(NotFound,),
)
async def remove_conversation(conversation_id: str) -> Response:
    """Permanently delete a conversation and its messages."""
    caller = await account_caller()
    await write(partial(delete_conversation, caller.account, conversation_id))
    return uncached_json({"id": str(UUID(conversation_id)), "deleted": True})


def _read(account: UUID, conversation: str, start: int, limit: int) -> tuple[Conversation, list[Message]]:
    row = find_conversation(account, conversation)
    return row, read_messages(row.id, start=start, limit=limit)


def _document(row: Conversation) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "title": row.title,
        "message_count": row.message_count,
        "created": format_timestamp(row.created_at),
        "updated": format_timestamp(row.updated_at),
    }


def _message(row: Message) -> dict[str, Any]:
    return {
        "role": row.role,
        "content": orjson.loads(row.content),
        "status": row.status,
        "model": row.model,
        "created": format_timestamp(row.created_at),
    }
