"""`/api/chat/share/`: publish a snapshot of a conversation, list what is published, take it back."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from quart import Blueprint, Response

from edge.http.api_spec import (
    ANY,
    BOOLEAN,
    ID,
    MOMENT,
    PAGE,
    STRING,
    Answer,
    array,
    declare,
    example,
    one_of,
    or_null,
    page_of,
    record,
    text,
    wish,
)
from edge.http.fields import json_object, only_fields
from edge.http.paging import read_page
from edge.http.public_url import edge_url
from edge.request_context import account_caller, count_request, private, read, read_body, write
from shared.core.errors import InvalidInput, InvalidRequest, NotFound, PurgeRunning, RateLimited, RequestTooLarge
from shared.core.timestamps import iso_moment
from shared.models import Share
from shared.operations.conversations import Turn
from shared.operations.shares import MOST_MESSAGES, list_shares, revoke_share, share_conversation, share_messages
from shared.operations.validation import check_text

FIELDS = ("conversation_id", "messages", "title")
MESSAGE_FIELDS = ("role", "content")
ROLES = ("system", "developer", "user", "assistant", "tool")
LONGEST_TITLE = 200

sharing = Blueprint("sharing", __name__)
_SHARE = record(
    {
        "slug": STRING,
        "url": STRING,
        "delete_url": STRING,
        "title": STRING,
        "conversation_id": or_null(ID),
        "created": MOMENT,
    }
)
_TURN = wish({"role": one_of(*ROLES), "content": ANY}, required=("role", "content"))
_REQUEST = wish({"conversation_id": ID, "messages": array(_TURN, 1, MOST_MESSAGES), "title": text(LONGEST_TITLE)}, required=())


class ShareRequest(NamedTuple):
    """What to share: a stored conversation, else `messages`. Without a `title` a conversation's own is taken."""

    conversation: str | None
    messages: list[Turn]
    title: str | None


@sharing.post("/api/chat/share/")
@declare(
    "Share messages",
    body=example(_REQUEST, {"title": "A talk", "messages": [{"role": "user", "content": "Hello"}]}),
    answers={201: Answer(_SHARE, "Anybody who has the `url` can read it, until a DELETE of the `delete_url`.")},
    refusals=(InvalidRequest, RequestTooLarge, NotFound, PurgeRunning, RateLimited),
    notes="Send a `conversation_id`, or `messages` with a `title`. A share is a snapshot of what user and assistant said.",
)
async def make_share() -> Response:
    """Publish a snapshot and give its addresses. Anybody who has the `url` can read it until it is revoked."""
    caller = await account_caller()
    asked = read_share_request(await read_body())
    await count_request(caller.limits)
    return private(_document(await write(partial(_share, caller.account, asked))), 201)


@sharing.get("/api/chat/share/")
@declare(
    "List shares",
    query=PAGE,
    answers={200: Answer(page_of("shares", _SHARE), "A page, the newest first.")},
    refusals=(InvalidRequest,),
)
async def show_shares() -> Response:
    """A page of the account's shares, the newest first; `next` is the `after` of the following page."""
    caller = await account_caller()
    page = read_page()
    rows = await read(partial(list_shares, caller.account, after=page.after, limit=page.limit + 1))
    more = len(rows) > page.limit
    shown = rows[: page.limit]
    return private({"shares": [_document(row) for row in shown], "next": str(shown[-1].id) if more else None})


@sharing.delete("/api/chat/share/<slug>/")
@declare(
    "Revoke a share",
    answers={200: Answer(record({"slug": STRING, "revoked": BOOLEAN}), "It is gone for good.")},
    refusals=(NotFound,),
)
async def take_back(slug: str) -> Response:
    """Revoke a share for good: its address is unknown from now on."""
    caller = await account_caller()
    await write(partial(revoke_share, caller.account, slug))
    return private({"slug": slug, "revoked": True})


def read_share_request(data: bytes) -> ShareRequest:
    """Read a body. Raises `InvalidRequest` that names the field."""
    body = json_object(data)
    only_fields("", body, FIELDS)
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
        return check_text("title", value, LONGEST_TITLE)
    except InvalidInput as problem:
        raise InvalidRequest(str(problem), "title") from None


def _messages(value: object) -> list[Turn]:
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_MESSAGES:
        raise InvalidRequest(f"'messages' must be a list of 1 to {MOST_MESSAGES} messages.", "messages")
    return [_turn(message, f"messages[{index}]") for index, message in enumerate(value)]


def _turn(message: object, where: str) -> Turn:
    if not isinstance(message, dict):
        raise InvalidRequest(f"'{where}' must be an object with 'role' and 'content'.", where)
    only_fields(f"{where}.", message, MESSAGE_FIELDS)
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise InvalidRequest(f"'{where}.role' must be one of {', '.join(ROLES)}.", f"{where}.role")
    if not isinstance(content, str) and not (isinstance(content, list) and all(isinstance(part, dict) for part in content)):
        raise InvalidRequest(f"'{where}.content' must be a string or a list of parts.", f"{where}.content")
    return Turn(str(role), content)


def _share(account: UUID, asked: ShareRequest) -> Share:
    if asked.conversation is not None:
        return share_conversation(account, asked.conversation, asked.title)
    return share_messages(account, asked.title or "", asked.messages)


def _document(row: Share) -> dict[str, Any]:
    base = edge_url()
    return {
        "slug": row.slug,
        "url": f"{base}/c/{row.slug}",
        "delete_url": f"{base}/api/chat/share/{row.slug}/",
        "title": row.title,
        "conversation_id": str(row.conversation) if row.conversation is not None else None,
        "created": iso_moment(row.created_at),
    }
