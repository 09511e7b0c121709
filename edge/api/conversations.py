"""`/api/chat/conversations/`: list, read, save and delete an account's stored conversations."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from msgspec import Meta
from quart import Blueprint, Response, request

from edge.call.requests import ContentPart
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
from edge.http.body_types import ClosedBody, check_body
from edge.http.json_body import parse_json_object
from edge.http.paging import query_integer, read_page, split_page
from edge.request_context import account_caller, count_request, read, read_body, uncached_json, write
from shared.core.errors import (
    AccessDenied,
    ConversationChanged,
    InvalidInput,
    InvalidRequest,
    NotFound,
    PurgeRunning,
    RateLimited,
    RequestTooLarge,
)
from shared.core.timestamps import format_timestamp, parse_timestamp
from shared.models import MESSAGE_STATUSES, Conversation, Message
from shared.operations.conversations import (
    MAX_MESSAGES,
    MAX_PAGE_SIZE,
    NO_SUCH_CONVERSATION,
    SavedMessage,
    delete_conversation,
    find_conversation,
    list_conversations,
    read_messages,
    save_conversation,
)
from shared.operations.validation import check_text

conversations = Blueprint("conversations", __name__)
_CONVERSATION = {"id": ID, "title": STRING, "message_count": INTEGER, "created": TIMESTAMP, "updated": TIMESTAMP}
_MESSAGE = response_schema(
    {
        "role": STRING,
        "content": ANY,
        "status": enum(*MESSAGE_STATUSES),
        "model": nullable(STRING),
        "parent": nullable(INTEGER),
        "created": TIMESTAMP,
    }
)


MAX_TITLE_LENGTH = 200
MAX_MODEL_LENGTH = 200


class StoredMessage(ClosedBody):
    """A message of a conversation to store."""

    role: Annotated[Literal["system", "developer", "user", "assistant"], Meta(description="Author of the message.")]
    content: Annotated[
        str | list[ContentPart],
        Meta(description="Text, or an array of content parts.", extra={"expected": "a string or an array of content parts"}),
    ]
    status: Annotated[
        Literal["complete", "partial"], Meta(description="`partial` for an answer that was cut off. Default: `complete`.")
    ] = "complete"
    model: Annotated[Annotated[str, Meta(max_length=MAX_MODEL_LENGTH)] | None, Meta(description="Model of an answer.")] = None
    parent: Annotated[
        Annotated[int, Meta(ge=-1, lt=MAX_MESSAGES)] | None,
        Meta(
            description="Omit it on the main branch, where each message follows the one before it. On another branch, the"
            " position in `messages`, from 0, of the message before this one; -1 if there is none."
        ),
    ] = None


class ConversationRequest(ClosedBody):
    """A conversation to store, with all its messages."""

    EXAMPLE = {"title": "Greeting", "messages": [{"role": "user", "content": "Hello"}]}

    title: Annotated[str, Meta(max_length=MAX_TITLE_LENGTH, description="Title of the conversation.")]
    messages: Annotated[
        list[StoredMessage], Meta(min_length=1, max_length=MAX_MESSAGES, description="All messages, oldest first.")
    ]
    updated: Annotated[
        str | None, Meta(description="The `updated` of the version that you change. Omit it to create the conversation.")
    ] = None


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
    return uncached_json({"conversations": [_document(row) for row in shown], "next": str(last.public_id) if last else None})


@conversations.get("/api/chat/conversations/<conversation_id>/")
@describe_route(
    "Retrieve a conversation",
    path={"conversation_id": ID},
    query={"start": integer(0, MAX_MESSAGES), "limit": integer(1, MAX_PAGE_SIZE), "branches": BOOLEAN},
    responses={
        200: ResponseSpec(
            response_schema({**_CONVERSATION, "messages": array(_MESSAGE), "next": nullable(INTEGER)}),
            "The conversation with its messages.",
        )
    },
    errors=(InvalidRequest, NotFound),
)
async def show_conversation(conversation_id: str) -> Response:
    """Return a conversation with a page of its messages, oldest first, from position `start`. These are the messages of the main
    branch, or with `branches=true` those of all branches.
    """
    caller = await account_caller()
    start = query_integer("start", 0, MAX_MESSAGES, 0)
    limit = query_integer("limit", 1, MAX_PAGE_SIZE, MAX_PAGE_SIZE)
    branches = request.args.get("branches") == "true"
    row, messages = await read(partial(_read, caller.account, conversation_id, start, limit, branches))
    follows = messages[-1].position + 1 if messages else 0
    return uncached_json(
        {
            **_document(row),
            "messages": [_message(message) for message in messages],
            "next": follows if len(messages) == limit and follows < row.message_count else None,
        }
    )


@conversations.put("/api/chat/conversations/<conversation_id>/")
@describe_route(
    "Store a conversation",
    path={"conversation_id": ID},
    body=ConversationRequest,
    responses={200: ResponseSpec(response_schema(_CONVERSATION), "The stored conversation, without its messages.")},
    errors=(InvalidRequest, RequestTooLarge, AccessDenied, NotFound, PurgeRunning, ConversationChanged, RateLimited),
    notes="Creates a conversation under an id that you choose, or replaces all messages of a stored one, if your plan includes"
    " storing. Lists are ordered by id, so choose a UUIDv7.",
)
async def put_conversation(conversation_id: str) -> Response:
    """Create a conversation, or replace the version that `updated` names."""
    caller = await account_caller()
    title, messages, seen = read_conversation_request(await read_body())
    try:
        id = UUID(conversation_id)
    except ValueError:
        raise NotFound(NO_SUCH_CONVERSATION) from None
    await count_request(caller.limits)
    row = await write(partial(save_conversation, caller.account, id, title, messages, seen=seen))
    return uncached_json(_document(row))


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


def read_conversation_request(data: bytes) -> tuple[str, list[SavedMessage], int | None]:
    """Return the title, the messages and the version of a body. Raises `InvalidRequest` with the field's name."""
    body = parse_json_object(data)
    requested = check_body(body, ConversationRequest)
    try:
        title = check_text("title", requested.title, MAX_TITLE_LENGTH, empty=True)
    except InvalidInput as problem:
        raise InvalidRequest(str(problem), "title") from None
    try:
        seen = None if requested.updated is None else parse_timestamp(requested.updated)
    except ValueError:
        raise InvalidRequest("'updated' must be the 'updated' of the conversation.", "updated") from None
    for position, message in enumerate(requested.messages):
        if message.parent is not None and message.parent >= position:
            raise InvalidRequest("'parent' must be the position of an earlier message, or -1.", f"messages[{position}].parent")
    contents = [message["content"] for message in body["messages"]]
    messages = [
        SavedMessage(message.role, content, message.status, message.model, message.parent)
        for message, content in zip(requested.messages, contents, strict=True)
    ]
    return title, messages, seen


def _read(account: UUID, conversation: str, start: int, limit: int, branches: bool) -> tuple[Conversation, list[Message]]:
    row = find_conversation(account, conversation)
    return row, read_messages(row, start=start, limit=limit, branches=branches)


def _document(row: Conversation) -> dict[str, Any]:
    return {
        "id": str(row.public_id),
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
        "parent": row.parent,
        "created": format_timestamp(row.created_at),
    }
