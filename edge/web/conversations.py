"""Account → Conversations and Shares: stored conversations and public snapshots."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from quart import Blueprint, Response

from edge.http.paging import split_page
from edge.http.public_url import edge_url
from edge.request_context import read, write
from edge.web.pages import page, read_after
from edge.web.web_session import redirect_to, require_session
from shared.core.errors import NotFound
from shared.models import Share
from shared.operations.conversations import delete_conversation, find_conversation, list_conversations
from shared.operations.shares import NO_SUCH_SHARE, list_shares, revoke_share

stored_content = Blueprint("stored", __name__)
PAGE_SIZE = 50


@stored_content.get("/account/conversations")
async def show_conversations() -> Response:
    session = require_session()
    rows = await read(partial(list_conversations, session.account, after=read_after(), limit=PAGE_SIZE + 1))
    shown, last = split_page(rows, PAGE_SIZE)
    return await page("account/conversations.html", rows=shown, older=last.public_id if last else None)


@stored_content.get("/account/conversations/<conversation_id>/delete")
async def show_delete(conversation_id: str) -> Response:
    row = await read(partial(find_conversation, require_session().account, conversation_id))
    return await page("account/conversation_delete.html", row=row)


@stored_content.post("/account/conversations/<conversation_id>/delete")
async def do_delete(conversation_id: str) -> Response:
    await write(partial(delete_conversation, require_session().account, conversation_id))
    return redirect_to("/account/conversations", "conversation-deleted")


@stored_content.get("/account/shares")
async def show_shares() -> Response:
    session = require_session()
    rows = await read(partial(list_shares, session.account, after=read_after(), limit=PAGE_SIZE + 1))
    shown, last = split_page(rows, PAGE_SIZE)
    return await page("account/shares.html", rows=shown, older=last.id if last else None, edge=edge_url())


@stored_content.get("/account/shares/<slug>/revoke")
async def ask_revoke(slug: str) -> Response:
    row = await read(partial(_find_own_share, require_session().account, slug))
    return await page("account/share_revoke.html", row=row, edge=edge_url())


@stored_content.post("/account/shares/<slug>/revoke")
async def do_revoke(slug: str) -> Response:
    await write(partial(revoke_share, require_session().account, slug))
    return redirect_to("/account/shares", "share-revoked")


def _find_own_share(account: UUID, slug: str) -> Share:
    row: Share | None = Share.get_or_none((Share.account == account) & (Share.slug == slug))
    if row is None:
        raise NotFound(NO_SUCH_SHARE)
    return row
