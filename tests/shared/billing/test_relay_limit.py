"""The relay limit: normal answers stay below it, and endless ones exceed it."""

from __future__ import annotations

import base64
import random

import pytest

from shared import tokenizer
from shared.billing.relay_limit import (
    MARGIN_FACTOR,
    MARGIN_TOKENS,
    MAX_KEPT_TEXT_BYTES,
    RelayLimit,
    max_answer_bytes,
    min_token_count,
)

_DICE = random.Random(1)
WORDS = " ".join("".join(_DICE.choices("abcdefghijklmnop", k=_DICE.randint(2, 9))) for _ in range(20_000))
HONEST = {
    "English": "Hello there my friend, how are you on this fine day? " * 2_000,
    "Thai": "สวัสดีครับผมชื่อสมชายวันนี้อากาศดีมาก" * 2_000,
    "Hindi": "नमस्ते आप कैसे हैं मैं ठीक हूँ धन्यवाद " * 2_000,
    "Chinese": "今天天气很好，我们去公园散步吧。" * 2_000,
    "code": "def run(self) -> None:\n        for item in self.items:\n            print(item)\n\n" * 1_500,
    "JSON": '{\n        "name": "value",\n        "other": [\n            1,\n            2\n        ]\n}\n' * 1_500,
    "base64": base64.b64encode(_DICE.randbytes(60_000)).decode(),
    "dashes": "-" * 100_000,
    "spaces": " " * 100_000,
    "rules": ("═" * 60 + "\n") * 800,
    "table": "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 8_000,
    "emoji": "🙂" * 20_000,
}


def exceeds(limit: RelayLimit, text: str) -> bool:
    """Whether a stream that delivers `text` in reads of 4 KiB exceeds the limit."""
    data = text.encode()
    for end in (*range(4_096, len(data), 4_096), len(data)):
        if end > limit.next_check_at and limit.exceeded(data[: min(end, MAX_KEPT_TEXT_BYTES)], end):
            return True
    return False


@pytest.mark.parametrize("text", HONEST.values(), ids=HONEST)
def test_an_answer_as_long_as_its_limit_passes(text: str) -> None:
    counted = tokenizer.count_tokens(text)
    assert not exceeds(RelayLimit(counted), text)
    assert min_token_count(text.encode()) <= counted


@pytest.mark.parametrize("text", [*HONEST.values(), WORDS], ids=[*HONEST, "random words"])
@pytest.mark.parametrize("limit", [1, 60])
def test_an_endless_answer_is_stopped(limit: int, text: str) -> None:
    endless = text * (1 + 3_000_000 // len(text.encode()))
    assert exceeds(RelayLimit(limit), endless)


def test_plain_words_are_stopped_near_the_margin() -> None:
    limit = RelayLimit(1_000)
    allowed = MARGIN_FACTOR * 1_000 + MARGIN_TOKENS
    words = WORDS.split()
    assert not exceeds(limit, " ".join(words[:allowed]))
    assert exceeds(RelayLimit(1_000), " ".join(words[: allowed * 3 // 2]))


def test_an_empty_stream_is_within_any_limit() -> None:
    assert not RelayLimit(0).exceeded(b"", 0)


def test_a_whole_answer_may_contain_log_probabilities_and_images() -> None:
    assert max_answer_bytes(60, 64_000_000) == 8_491_520
    assert max_answer_bytes(1_000_000, 64_000_000) == 64_000_000
