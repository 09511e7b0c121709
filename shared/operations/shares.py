"""Shares: public, read-only snapshots of conversations under unguessable URLs, until their owner revokes them.

A snapshot contains only the text of user and assistant messages: no system prompt, account, files or images.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson

from shared.core.database import transaction
from shared.core.errors import InvalidRequest, NotFound
from shared.models import Share
from shared.operations.conversations import ChatMessage, find_conversation, read_messages
from shared.operations.purges import lock_content, require_no_purge
from shared.text.translation import lazy_gettext

SLUG_BYTES = 16  # 128 random bits
SHARED_ROLES = ("user", "assistant")
MAX_SHARES = 1_000  # per account
MAX_MESSAGES = 1_000
MAX_CHARACTERS = 200_000  # per share, which limits rendering time
NO_SUCH_SHARE = "No such share. List yours with GET /api/chat/share/."
_PLACEHOLDERS = {"image_url": "[image]", "input_audio": "[audio]", "file": "[file]", "video_url": "[video]"}


def share_messages(account: UUID, title: str, messages: Sequence[ChatMessage], *, conversation: UUID | None = None) -> Share:
    """Publish a snapshot of `messages`. Raises `InvalidRequest` if there is no text or too much, and `PurgeRunning`."""
    shown = [{"role": turn.role, "content": displayed_text(turn.content)} for turn in messages if turn.role in SHARED_ROLES]
    shown = [message for message in shown if message["content"].strip()]
    if not shown:
        raise InvalidRequest(lazy_gettext("There is nothing to share: no user or assistant message contains text."), "messages")
    size = sum(len(message["content"]) for message in shown)
    if len(shown) > MAX_MESSAGES or size > MAX_CHARACTERS:
        raise InvalidRequest(
            lazy_gettext(
                "A share can have at most {max_messages} messages and {max_characters} characters; got {shown} and {size}.",
                max_messages=MAX_MESSAGES,
                max_characters=MAX_CHARACTERS,
                shown=len(shown),
                size=size,
            ),
            "messages",
        )
    with transaction():
        lock_content(account)
        require_no_purge(account)
        if Share.select().where(Share.account == account).count() >= MAX_SHARES:
            raise InvalidRequest(
                lazy_gettext("Your account has reached the limit of {maximum} shares. Revoke one first.", maximum=MAX_SHARES)
            )
        share: Share = Share.create(
            account=account,
            slug=secrets.token_urlsafe(SLUG_BYTES),
            title=title,
            messages=orjson.dumps(shown).decode(),
            conversation=conversation,
        )
        return share


def share_conversation(account: UUID, conversation: str, title: str | None = None) -> Share:
    """Publish a stored conversation as it is now. Raises `NotFound`, and errors of `share_messages`."""
    row = find_conversation(account, conversation)
    turns = [ChatMessage(message.role, orjson.loads(message.content)) for message in read_messages(row, limit=MAX_MESSAGES + 1)]
    return share_messages(account, row.title if title is None else title, turns, conversation=row.public_id)


def list_shares(account: UUID, *, after: UUID | None = None, limit: int = 20) -> list[Share]:
    """Return a page of an account's shares without their text, newest first. `after` is the last id of the previous page."""
    columns = (Share.id, Share.slug, Share.title, Share.conversation, Share.created_at)
    query = Share.select(*columns).where(Share.account == account).order_by(Share.id.desc())
    if after is not None:
        query = query.where(Share.id < after)
    return list(query.limit(limit))


def find_share(slug: str) -> Share:
    """Return the share with this `slug`. Raises `NotFound`, also for a revoked share."""
    share: Share | None = Share.get_or_none(Share.slug == slug)
    if share is None:
        raise NotFound(NO_SUCH_SHARE)
    return share


def revoke_share(account: UUID, slug: str) -> None:
    """Delete the account's share. Raises `NotFound`, also for another account's."""
    if not Share.delete().where((Share.slug == slug) & (Share.account == account)).execute():
        raise NotFound(NO_SUCH_SHARE)


def shared_messages(share: Share) -> list[dict[str, str]]:
    """Return the snapshot's messages, each with `role` and `content`."""
    messages: list[dict[str, str]] = orjson.loads(share.messages)
    return messages


def displayed_text(content: Any) -> str:
    """Return a message's text, with a placeholder for each part that is not text."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else ""
    pieces = [
        part["text"] if isinstance(part.get("text"), str) else _PLACEHOLDERS.get(str(part.get("type")), "")
        for part in content
        if isinstance(part, dict)
    ]
    return "\n\n".join(piece for piece in pieces if piece)
