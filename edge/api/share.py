"""`/api/chat/share/`: publish snapshots of conversations, list and revoke them."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import Meta
from quart import Blueprint, Response

from edge.http.api_spec import (
    BOOLEAN,
    ID,
    PAGE,
    STRING,
    TIMESTAMP,
    ResponseSpec,
    describe_route,
    nullable,
    page_of,
    response_schema,
)
from edge.http.body_types import ClosedBody, Object, check_body
from edge.http.json_body import parse_json_object
from edge.http.paging import read_page, split_page
from edge.http.public_url import edge_url
from edge.request_context import account_caller, count_request, read, read_body, uncached_json, write
from shared.core.errors import InvalidInput, InvalidRequest, NotFound, PurgeRunning, RateLimited, RequestTooLarge
from shared.core.timestamps import format_timestamp
from shared.models import Share
from shared.operations.conversations import ChatMessage
from shared.operations.shares import MAX_MESSAGES, list_shares, revoke_share, share_conversation, share_messages
from shared.operations.validation import check_text

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


class SharedMessage(ClosedBody):
    """A message of a shared conversation."""

    role: Annotated[Literal["system", "developer", "user", "assistant", "tool"], Meta(description="Author of the message.")]
    content: Annotated[
        str | list[Object],
        Meta(description="Text, or an array of content parts.", extra={"expected": "a string or an array of content parts"}),
    ]


class ShareRequest(ClosedBody):
    """A stored conversation to share, or messages with a title."""

    EXAMPLE = {"title": "Greeting", "messages": [{"role": "user", "content": "Hello"}]}

    conversation_id: Annotated[
        Annotated[str, Meta(extra_json_schema={"format": "uuid"})] | None, Meta(description="Id of the stored conversation.")
    ] = None
    messages: Annotated[
        Annotated[list[SharedMessage], Meta(min_length=1, max_length=MAX_MESSAGES)] | None,
        Meta(description="The messages to share. Only user and assistant messages are shown."),
    ] = None
    title: Annotated[
        Annotated[str, Meta(min_length=1, max_length=MAX_TITLE_LENGTH)] | None,
        Meta(description="Title of the page. Default: the conversation's title."),
    ] = None


@share_routes.post("/api/chat/share/")
@describe_route(
    "Create a share",
    body=ShareRequest,
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
    requested = check_body(parse_json_object(data), ShareRequest)
    if (requested.conversation_id is None) == (requested.messages is None):
        raise InvalidRequest("Send either 'conversation_id', or 'messages' with a 'title'.", "conversation_id")
    if requested.title is not None:
        try:
            requested.title = check_text("title", requested.title, MAX_TITLE_LENGTH)
        except InvalidInput as problem:
            raise InvalidRequest(str(problem), "title") from None
    elif requested.messages is not None:
        raise InvalidRequest("'title' is required with 'messages'.", "title")
    return requested


def _share(account: UUID, requested: ShareRequest) -> Share:
    if requested.conversation_id is not None:
        return share_conversation(account, requested.conversation_id, requested.title)
    said = [ChatMessage(message.role, message.content) for message in requested.messages or ()]
    return share_messages(account, requested.title or "", said)


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
