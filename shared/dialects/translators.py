"""Which translator speaks of a call: a dialect for chats, and for other kinds what is written for them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from shared.catalog.snapshot import Route
from shared.dialects import DIALECTS
from shared.dialects.base import Dialect
from shared.dialects.embeddings import EMBEDDINGS
from shared.dialects.moderations import MODERATIONS
from shared.dialects.transcriptions import TRANSCRIPTIONS

OTHERS: dict[tuple[str, str], Dialect] = {
    ("embedding", "openai"): EMBEDDINGS,
    ("moderation", "openai"): MODERATIONS,
    ("transcription", "openai"): TRANSCRIPTIONS,
}
BY_THE_CALL = ("moderation", "transcription")  # no tokens are counted


def translator(dialect: str, kind: str) -> Dialect:
    """What speaks with a channel of this dialect about a call of this kind."""
    return DIALECTS[dialect] if kind == "chat" else OTHERS[kind, dialect]


def served(routes: Sequence[Route], kind: str) -> Sequence[Route]:
    """The routes that can serve a call of this kind."""
    return routes if kind == "chat" else [route for route in routes if (kind, route.dialect) in OTHERS]
