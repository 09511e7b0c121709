"""Decodes token ids of cl100k_base, the vocabulary of OpenAI's embedding models, whose clients may send ids instead of text.

`cl100k_base.tiktoken.xz` contains its merge ranks (MIT license, published with tiktoken). The SHA-256 of the unpacked file is the
one that tiktoken expects.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from shared.tokenizer.vocabulary import read_ranks

RANKS = Path(__file__).with_name("cl100k_base.tiktoken.xz")
RANKS_SHA256 = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"


def decode(ids: Iterable[int]) -> str:
    """Return the text of `ids`, with U+FFFD for incomplete characters. Raises `LookupError` for an unknown id."""
    tokens = _tokens()
    return b"".join([tokens[id] for id in ids]).decode(errors="replace")


@lru_cache(maxsize=1)
def _tokens() -> dict[int, bytes]:
    """Return the tokens by id, built at first use (0.2 s, 15 MB)."""
    return {rank: token for token, rank in read_ranks(RANKS, RANKS_SHA256).items()}
