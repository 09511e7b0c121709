"""Upper bounds for the tokens of one image in a prompt, for the hold. Pure.

Sources: OpenAI, "Images and vision" (tiles, patches and their multipliers); Anthropic, "Vision".
"""

from __future__ import annotations

# For all other models: no other provider documents more.
IMAGE_TOKENS = 3_000
# By prefix of the provider's model name without its path. The first match applies.
_BY_FAMILY: tuple[tuple[str, int], ...] = (
    ("gpt-4o-mini", 2_833 + 8 * 5_667),  # high detail: at most 768 × 2,048 pixels, which is 8 tiles
    *((name, 3_779) for name in ("gpt-4.1-nano", "gpt-5-nano")),  # 1,536 patches, times 2.46
    *((name, 12_000) for name in ("gpt-5.4", "gpt-5.5", "gpt-5.6", "gpt-6")),  # detail `original`: 10,000 patches, times 1.2
    *((name, IMAGE_TOKENS) for name in ("claude-2", "claude-3", "claude-haiku-4", "claude-sonnet-4")),
    *((f"claude-opus-4-{minor}", IMAGE_TOKENS) for minor in ("0", "1", "2", "5", "6")),
    ("claude", 5_000),  # since Opus 4.7: 3.75 megapixels, 750 pixels to a token
)


def max_image_tokens(upstream_model: str) -> int:
    """Return an upper bound for the tokens of one image in a prompt of this model."""
    name = upstream_model.lower().rpartition("/")[2]
    return next((tokens for family, tokens in _BY_FAMILY if name.startswith(family)), IMAGE_TOKENS)
