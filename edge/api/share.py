"""`/api/chat/share/`: publish snapshots of conversations, list and revoke them."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from quart import Blueprint, Response

from edge.http.api_spec import (
    ANY,
    BOOLEAN,
    ID,
    PAGE,
    STRING,
    TIMESTAMP,
    ResponseSpec,
    array,
    describe_route,
    enum,
    example,
    nullable,
    page_of,
    request_schema,
    response_schema,
    string,
)
from edge.http.fields import parse_json_object, reject_unknown_fields
from edge.http.paging import read_page, split_page
from edge.http.public_url import edge_url
from edge.request_context import account_caller, count_request, read, read_body, uncached_json, write
from shared.core.errors import InvalidInput, InvalidRequest, NotFound, PurgeRunning, RateLimited, RequestTooLarge
from shared.core.timestamps import format_timestamp
from shared.models import Share
from shared.operations.conversations import ChatMessage
from shared.operations.shares import MAX_MESSAGES, list_shares, revoke_share, share_conversation, share_messages
from shared.operations.validation import check_text

FIELDS = ("conversation_id", "messages", "title")
MESSAGE_FIELDS = ("role", "content")
ROLES = ("system", "developer", "user", "assistant", "tool")
MAX_TITLE_LENGTH = 200

share_routes = Blueprint("sharing", __name__)
_SHARE = response_schema(
    {
        "slug": STRING,
        "url": STRING,
        "delete_url": STRING,
        "title": STRING,
        "conversation_id": nullable(ID),
        "created": TIMESTAMP,
    }
)
_TURN = request_schema({"role": enum(*ROLES), "content": ANY}, required=("role", "content"))
_REQUEST = request_schema(
    {"conversation_id": ID, "messages": array(_TURN, 1, MAX_MESSAGES), "title": string(MAX_TITLE_LENGTH)}, required=()
)


class ShareRequest(NamedTuple):
    """The conversation to share (by id), or `messages`. `title` defaults to the conversation's title."""

    conversation: str | None
    messages: list[ChatMessage]
    title: str | None


@share_routes.post("/api/chat/share/")
@describe_route(
    "Create a share",
    body=example(_REQUEST, {"title": "Greeting", "messages": [{"role": "user", "content": "Hello"}]}),
    responses={
        201: ResponseSpec(_SHARE, "The share. Anyone with the `url` can read it until you send a DELETE to `delete_url`.")
    },
    errors=(InvalidRequest, RequestTooLarge, NotFound, PurgeRunning, RateLimited),
    notes="Send a `conversation_id`, or `messages` with a `title`. A share is a snapshot of the user and assistant messages.",
)
async def create_share() -> Response:
    """Publish a snapshot and return its URLs. Anyone with the `url` can read it until it is revoked."""
    caller = await account_caller()
    requested = read_share_request(await read_body())
    await count_request(caller.limits)
    return uncached_json(_document(await write(partial(_share, caller.account, requested))), 201)


@share_routes.get("/api/chat/share/")
@describe_route(
    "List shares",
    query=PAGE,
    responses={200: ResponseSpec(page_of("shares", _SHARE), "A page of shares, newest first.")},
    errors=(InvalidRequest,),
)
async def show_shares() -> Response:
    """List the account's shares, newest first. Pass `next` as `after` to get the next page."""
    caller = await account_caller()
    page = read_page()
    rows = await read(partial(list_shares, caller.account, after=page.after, limit=page.limit + 1))
    shown, last = split_page(rows, page.limit)
    return uncached_json({"shares": [_document(row) for row in shown], "next": str(last.id) if last else None})


@share_routes.delete("/api/chat/share/<slug>/")
@describe_route(
    "Revoke a share",
    responses={200: ResponseSpec(response_schema({"slug": STRING, "revoked": BOOLEAN}), "Permanently revoked.")},
    errors=(NotFound,),
)
async def revoke(slug: str) -> Response:
    """Permanently revoke a share. Afterwards its URL returns 404."""
    caller = await account_caller()
    await write(partial(revoke_share, caller.account, slug))
    return uncached_json({"slug": slug, "revoked": True})


def read_share_request(data: bytes) -> ShareRequest:
    """Parse a body. Raises `InvalidRequest` with the field's name."""
    body = parse_json_object(data)
    reject_unknown_fields("", body, FIELDS)
    conversation, messages = body.get("conversation_id"), body.get("messages")
    if (conversation is None) == (messages is None):
        raise InvalidRequest("Send either 'conversation_id', or 'messages' with a 'title'.", "conversation_id")
    title = _title(body.get("title"))
    if conversation is not None:
        if not isinstance(conversation, str):
            raise InvalidRequest("'conversation_id' must be a string.", "conversation_id")
        return ShareRequest(conversation, [], title)
    if title is None:
        raise InvalidRequest("'title' is required with 'messages'.", "title")
    return ShareRequest(None, _messages(messages), title)


def _title(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidRequest("'title' must be a string.", "title")
    try:
        return check_text("title", value, MAX_TITLE_LENGTH)
    except InvalidInput as problem:
        raise InvalidRequest(str(problem), "title") from None


def _messages(value: object) -> list[ChatMessage]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_MESSAGES:
        raise InvalidRequest(f"'messages' must be a list of 1 to {MAX_MESSAGES} messages.", "messages")
    return [_turn(message, f"messages[{index}]") for index, message in enumerate(value)]


def _turn(message: object, where: str) -> ChatMessage:
    if not isinstance(message, dict):
        raise InvalidRequest(f"'{where}' must be an object with 'role' and 'content'.", where)
    reject_unknown_fields(f"{where}.", message, MESSAGE_FIELDS)
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise InvalidRequest(f"'{where}.role' must be one of {', '.join(ROLES)}.", f"{where}.role")
    if not isinstance(content, str) and not (isinstance(content, list) and all(isinstance(part, dict) for part in content)):
        raise InvalidRequest(f"'{where}.content' must be a string or an array of content parts.", f"{where}.content")
    return ChatMessage(str(role), content)


def _share(account: UUID, requested: ShareRequest) -> Share:
    if requested.conversation is not None:
        return share_conversation(account, requested.conversation, requested.title)
    return share_messages(account, requested.title or "", requested.messages)


def _document(row: Share) -> dict[str, Any]:
    base = edge_url()
    return {
        "slug": row.slug,
        "url": f"{base}/c/{row.slug}",
        "delete_url": f"{base}/api/chat/share/{row.slug}/",
        "title": row.title,
        "conversation_id": str(row.conversation) if row.conversation is not None else None,
        "created": format_timestamp(row.created_at),
    }
