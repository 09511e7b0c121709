"""The tokens that an image in a prompt can have, by family of models."""

from __future__ import annotations

import pytest

from shared.billing.image_tokens import IMAGE_TOKENS, max_image_tokens


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("gpt-4o-mini-2024-07-18", 48_169),
        ("openai/gpt-4o-mini", 48_169),
        ("gpt-4o", IMAGE_TOKENS),
        ("GPT-5-nano", 3_779),
        ("gpt-5.4", 12_000),
        ("gpt-5.4-mini", IMAGE_TOKENS),
        ("gpt-5.4-nano-2026-03-17", 3_779),
        ("gpt-5.5-pro", 12_000),
        ("gpt-5.6-mini", 36_000),
        ("gpt-6-astra", 36_000),
        ("gemini-3-pro", IMAGE_TOKENS),
        ("claude-sonnet-4-5", IMAGE_TOKENS),
        ("claude-opus-4-6", IMAGE_TOKENS),
        ("claude-opus-4-7", 5_000),
        ("llama-4", IMAGE_TOKENS),
    ],
)
def test_the_bound_depends_on_the_family(model: str, tokens: int) -> None:
    assert max_image_tokens(model) == tokens
