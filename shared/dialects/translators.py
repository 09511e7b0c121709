"""Selects the translator of a call: the channel's dialect for chats, a special one for other kinds. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from shared.catalog.snapshot import Route
from shared.dialects import DIALECTS
from shared.dialects.base import Dialect
from shared.dialects.embeddings import EMBEDDINGS
from shared.dialects.moderations import MODERATIONS
from shared.dialects.rerank import RERANK
from shared.dialects.transcriptions import TRANSCRIPTIONS

NON_CHAT_DIALECTS: dict[tuple[str, str], Dialect] = {
    ("embedding", "openai"): EMBEDDINGS,
    ("moderation", "openai"): MODERATIONS,
    ("rerank", "openai"): RERANK,
    ("transcription", "openai"): TRANSCRIPTIONS,
}
KINDS_BILLED_PER_CALL = ("moderation", "transcription")  # billed per call; tokens are not counted


def dialect_for(dialect: str, kind: str) -> Dialect:
    """Return the translator for calls of this kind on channels of this dialect."""
    return DIALECTS[dialect] if kind == "chat" else NON_CHAT_DIALECTS[kind, dialect]


def routes_for_kind(routes: Sequence[Route], kind: str) -> Sequence[Route]:
    """Return the routes that can serve calls of this kind."""
    return routes if kind == "chat" else [route for route in routes if (kind, route.dialect) in NON_CHAT_DIALECTS]
