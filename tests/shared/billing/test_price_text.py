"""Prices as text, by kind of model."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from shared.billing.price_text import (
    NO_CHARGE,
    example_charge,
    price_lines,
    price_summary,
    price_summary_usd,
)
from shared.billing.rates import PriceList, Rate
from shared.core.formats import NARROW_SPACE

RATE = 1_000_000  # credits of one USD


def price(input: int = 0, output: int = 0, per_call: int = 0, minimum: int = 0, **columns: Any) -> PriceList:
    return PriceList(UUID(int=1), 0, input, output, columns.pop("cached", None), per_call, minimum, **columns)


def plain(text: str) -> str:
    return text.replace(NARROW_SPACE, " ")


TIERED = price(1_250, 10_000, rates=(Rate("input", 200_000, 2_500), Rate("output", 200_000, 15_000)))
FLEX = price(150, 600, minimum=10, cached=75, rates=(Rate("tier:flex", 0, 500), Rate("web_search", 0, 10_000)))
CASES = {
    "chat": (
        *("chat", price(150, 600)),
        *("Input 150 000, output 600 000 credits per 1M tokens", "Input 0.15, output 0.60 USD per 1M tokens"),
    ),
    "chat of a fraction of a cent": (
        *("chat", price(1, 3)),
        *("Input 1 000, output 3 000 credits per 1M tokens", "Input 0.001, output 0.003 USD per 1M tokens"),
    ),
    "chat with free input": (
        *("chat", price(0, 600)),
        *("Input 0, output 600 000 credits per 1M tokens", "Input 0.00, output 0.60 USD per 1M tokens"),
    ),
    "chat per call": ("chat", price(per_call=500), "500 credits per call", "0.0005 USD per call"),
    "chat per call and token": (
        *("chat", price(100, 200, per_call=500)),
        "Input 100 000, output 200 000 credits per 1M tokens + 500 credits per call",
        "Input 0.10, output 0.20 USD per 1M tokens + 0.0005 USD per call",
    ),
    "long prompts": (
        *("chat", TIERED),
        "Input from 1 250 000, output from 10 000 000 credits per 1M tokens",
        "Input from 1.25, output from 10.00 USD per 1M tokens",
    ),
    "service tiers": (
        *("chat", FLEX),
        *("Input 150 000, output 600 000 credits per 1M tokens", "Input 0.15, output 0.60 USD per 1M tokens"),
    ),
    "embedding": ("embedding", price(20), "20 000 credits per 1M tokens", "0.02 USD per 1M tokens"),
    "image": ("image", price(per_call=40_000), "40 000 credits per image", "0.04 USD per image"),
    "image with token rates, which do not apply": (
        *("image", price(100, 100, per_call=40_000)),
        *("40 000 credits per image", "0.04 USD per image"),
    ),
    "video": ("video", price(credits_per_5_seconds=1_200_000), "240 000 credits per second", "0.24 USD per second"),
    "video with a fraction": ("video", price(credits_per_5_seconds=1_201), "240.2 credits per second", "0.00024 USD per second"),
    "video with a base price": (
        *("video", price(per_call=1_000, credits_per_5_seconds=500_000)),
        *("1 000 credits per video + 100 000 credits per second", "0.001 USD per video + 0.10 USD per second"),
    ),
    "speech": (
        *("speech", price(credits_per_1k_characters=15_000)),
        *("15 000 credits per 1K characters", "0.015 USD per 1K characters"),
    ),
    "transcription": (
        *("transcription", price(rates=(Rate("second", 0, 100),))),
        *("6 000 credits per minute", "0.006 USD per minute"),
    ),
    "rerank": ("rerank", price(per_call=2_000), "2 000 credits per search", "0.002 USD per search"),
    "moderation": ("moderation", price(), NO_CHARGE, ""),
    "only a minimum applies": ("image", price(100, minimum=5), "5 credits per call", "0.000005 USD per call"),
}


@pytest.mark.parametrize(("kind", "listed", "credits", "usd"), CASES.values(), ids=CASES)
def test_the_summary_by_kind(kind: str, listed: PriceList, credits: str, usd: str) -> None:
    assert plain(price_summary(kind, listed)) == credits
    assert plain(price_summary_usd(kind, listed, RATE)) == usd


LINES = {
    "chat": (
        *("chat", FLEX),
        [
            ("Input", "150 000", "0.15", "per 1M tokens"),
            ("Cached input", "75 000", "0.075", "per 1M tokens"),
            ("Output", "600 000", "0.60", "per 1M tokens"),
            ("Web searches", "10 000", "0.01", "per search"),
            ("Service tier flex", "× 0.5", "", "of all token rates"),
            ("Minimum charge", "10", "0.00001", "per call"),
        ],
    ),
    "long prompts": (
        *("chat", TIERED),
        [
            ("Input", "1 250 000", "1.25", "per 1M tokens"),
            ("Input above 200 000 tokens", "2 500 000", "2.50", "per 1M tokens"),
            ("Output", "10 000 000", "10.00", "per 1M tokens"),
            ("Output above 200 000 tokens", "15 000 000", "15.00", "per 1M tokens"),
        ],
    ),
    "embedding": ("embedding", price(20), [("Input", "20 000", "0.02", "per 1M tokens")]),
    "video": ("video", price(credits_per_5_seconds=1_200_000), [("Video", "240 000", "0.24", "per second")]),
    "transcription": (
        *("transcription", price(minimum=10, rates=(Rate("second", 0, 100),))),
        [("Audio", "6 000", "0.006", "per minute"), ("Minimum charge", "10", "0.00001", "per call")],
    ),
    "rerank": ("rerank", price(per_call=2_000), [("Search unit", "2 000", "0.002", "per search")]),
    "free": ("chat", price(minimum=10), []),
}


@pytest.mark.parametrize(("kind", "listed", "rows"), LINES.values(), ids=LINES)
def test_the_lines_by_kind(kind: str, listed: PriceList, rows: list[tuple[str, ...]]) -> None:
    lines = price_lines(kind, listed)
    assert [tuple(map(plain, (line.label, line.amount, line.usd(RATE), line.per))) for line in lines] == rows


EXAMPLES = {
    "chat": ("chat", price(150, 600, minimum=10), "1 000 input and 500 output tokens", 450),
    "embedding": ("embedding", price(20), "1 000 input tokens", 20),
    "image": ("image", price(per_call=40_000), "One image", 40_000),
    "video": ("video", price(minimum=10, credits_per_5_seconds=1_200_000), "A video of 5 seconds", 1_200_000),
    "speech": ("speech", price(credits_per_1k_characters=15_000), "Speech from 1 000 characters", 15_000),
    "transcription": ("transcription", price(rates=(Rate("second", 0, 100),)), "One minute of audio", 6_000),
    "rerank": ("rerank", price(per_call=2_000), "One search", 2_000),
}


@pytest.mark.parametrize(("kind", "listed", "what", "credits"), EXAMPLES.values(), ids=EXAMPLES)
def test_the_example_by_kind(kind: str, listed: PriceList, what: str, credits: int) -> None:
    example = example_charge(kind, listed)
    assert (plain(example.what), example.credits) == (what, credits)
