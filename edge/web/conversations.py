"""Account → Conversations and Shares: stored conversations and public snapshots."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from quart import Blueprint, Response

from edge.http.public_url import edge_url
from edge.request_context import read, write
from edge.web.pages import page, read_after
from edge.web.web_session import go, signed_in
from shared.core.errors import NotFound
from shared.models import Share
from shared.operations.conversations import delete_conversation, find_conversation, list_conversations
from shared.operations.shares import NO_SUCH_SHARE, list_shares, revoke_share

stored = Blueprint("stored", __name__)
SHOWN = 50


@stored.get("/account/conversations")
async def show_conversations() -> Response:
    session = signed_in()
    rows = await read(partial(list_conversations, session.account, after=read_after(), limit=SHOWN + 1))
    older = rows[SHOWN - 1].id if len(rows) > SHOWN else None
    return await page("account/conversations.html", rows=rows[:SHOWN], older=older)


@stored.get("/account/conversations/<conversation_id>/delete")
async def ask_delete(conversation_id: str) -> Response:
    row = await read(partial(find_conversation, signed_in().account, conversation_id))
    return await page("account/conversation_delete.html", row=row)


@stored.post("/account/conversations/<conversation_id>/delete")
async def do_delete(conversation_id: str) -> Response:
    await write(partial(delete_conversation, signed_in().account, conversation_id))
    return go("/account/conversations", "conversation-deleted")


@stored.get("/account/shares")
async def show_shares() -> Response:
    session = signed_in()
    rows = await read(partial(list_shares, session.account, after=read_after(), limit=SHOWN + 1))
    older = rows[SHOWN - 1].id if len(rows) > SHOWN else None
    return await page("account/shares.html", rows=rows[:SHOWN], older=older, edge=edge_url())


@stored.get("/account/shares/<slug>/revoke")
async def ask_revoke(slug: str) -> Response:
    row = await read(partial(_find_own_share, signed_in().account, slug))
    return await page("account/share_revoke.html", row=row, edge=edge_url())


@stored.post("/account/shares/<slug>/revoke")
async def do_revoke(slug: str) -> Response:
    await write(partial(revoke_share, signed_in().account, slug))
    return go("/account/shares", "share-revoked")


def _find_own_share(account: UUID, slug: str) -> Share:
    row: Share | None = Share.get_or_none((Share.account == account) & (Share.slug == slug))
    if row is None:
        raise NotFound(NO_SUCH_SHARE)
    return row
