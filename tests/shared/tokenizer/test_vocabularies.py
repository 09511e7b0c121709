"""Offline vocabularies: complete, with the same ids as tiktoken."""

from __future__ import annotations

from typing import Any

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from shared import tokenizer
from shared.tokenizer import cl100k
from shared.tokenizer.vocabulary import read_ranks

SPLIT = (
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"""
)


@pytest.fixture(scope="module")
def published() -> tiktoken.Encoding:
    """`tiktoken.get_encoding("cl100k_base")`, built from our file instead of a download."""
    ranks = read_ranks(cl100k.RANKS, cl100k.RANKS_SHA256)
    return tiktoken.Encoding("cl100k_base", pat_str=SPLIT, mergeable_ranks=ranks, special_tokens={}, explicit_n_vocab=100_256)


def test_known_ids() -> None:
    assert cl100k.decode([9906, 11, 1917, 0]) == "Hello, world!"
    assert cl100k.decode([]) == ""


@given(st.text())
def test_every_text_round_trips(published: tiktoken.Encoding, text: str) -> None:
    assert cl100k.decode(published.encode_ordinary(text)) == text


def test_a_truncated_character_is_marked(published: tiktoken.Encoding) -> None:
    ids = published.encode_ordinary("🦔")
    assert len(ids) > 1
    assert cl100k.decode(ids[:-1]).endswith("\N{REPLACEMENT CHARACTER}")


@pytest.mark.parametrize("id", [-1, 100_256, 2**31])
def test_an_unknown_id(id: int) -> None:
    with pytest.raises(LookupError):
        cl100k.decode([9906, id])


def test_a_damaged_file_is_detected(tmp_path: Any) -> None:
    for path in (cl100k.RANKS, tokenizer.RANKS):
        with pytest.raises(ValueError, match="damaged"):
            read_ranks(path, "0" * 64)
