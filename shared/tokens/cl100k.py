"""Token ids of cl100k_base as text: that of OpenAI's embedding models, and what their clients send ids of.

`cl100k_base.tiktoken.xz` holds its merge ranks (MIT licence, published with tiktoken); unpacked, its SHA-256 is the one that
tiktoken itself expects.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from shared.tokens.vocabulary import read_ranks

RANKS = Path(__file__).with_name("cl100k_base.tiktoken.xz")
RANKS_SHA256 = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"


def decode(ids: Iterable[int]) -> str:
    """The text of `ids`, U+FFFD for a character that was cut. Raises `LookupError` for an id that is no token."""
    tokens = _tokens()
    return b"".join([tokens[id] for id in ids]).decode(errors="replace")


@lru_cache(maxsize=1)
def _tokens() -> dict[int, bytes]:
    """Built at first use (0.2 s, 15 MB), for most processes never need it."""
    return {rank: token for token, rank in read_ranks(RANKS, RANKS_SHA256).items()}
