"""Upper bounds for the tokens of one image in a prompt, for the hold. Pure.

Sources: OpenAI, "Images and vision" (tiles, patches and their multipliers, "Model sizing behavior"); Anthropic, "Images and
vision" (28 × 28 pixels to a token; at most 1,568 tokens; 4,784 since Opus 4.7); Google, "Media resolution" (at most 2,240).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.text.image_size import image_size

# For all other models: no other provider documents more.
IMAGE_TOKENS = 3_000
# By prefix of the provider's model name without its path. The first match applies.
_BY_FAMILY: tuple[tuple[str, int], ...] = (
    ("gpt-4o-mini", 2_833 + 8 * 5_667),  # high detail: at most 768 × 2,048 pixels, which is 8 tiles
    *((name, 3_779) for name in ("gpt-4.1-nano", "gpt-5-nano", "gpt-5.4-nano")),  # 1,536 patches, times 2.46
    ("gpt-5.4-mini", IMAGE_TOKENS),  # 1,536 patches, times 1.62
    *((name, 12_000) for name in ("gpt-5.4", "gpt-5.5")),  # detail `original`: 10,000 patches, times 1.2
    *((name, IMAGE_TOKENS) for name in ("claude-2", "claude-3", "claude-haiku-4", "claude-sonnet-4")),
    *((f"claude-opus-4-{minor}", IMAGE_TOKENS) for minor in ("0", "1", "2", "5", "6")),
    ("claude", 5_000),  # since Opus 4.7
)


# Families that do not shrink an image with the detail `original`, which is the default: its tokens grow with its pixels.
_UNLIMITED = ("gpt-5.6", "gpt-5.7", "gpt-5.8", "gpt-5.9", "gpt-6")
_LIMITED_DETAILS = ("low", "high")  # of these families: at most 2,500 patches, times 1.2


def is_unlimited(upstream_model: str) -> bool:
    """Return whether the tokens of an image depend only on its size, without an upper bound."""
    return upstream_model.lower().rpartition("/")[2].startswith(_UNLIMITED)


def original_image_tokens(part: Mapping[str, Any]) -> int | None:
    """Return an upper bound for the tokens of a part's image in an unlimited family; None if its size is not known."""
    value = part.get(part["type"])
    url = value
    if isinstance(value, Mapping):
        if value.get("detail") in _LIMITED_DETAILS:
            return IMAGE_TOKENS
        url = value.get("url") or value.get("file_data")
    size = image_size(url) if isinstance(url, str) else None
    if size is None:
        return None
    patches = -(-size[0] // 32) * -(-size[1] // 32)
    return max(-(-patches * 6 // 5), IMAGE_TOKENS)


def max_image_tokens(upstream_model: str) -> int:
    """Return an upper bound for the tokens of one image in a prompt of this model, if it has one (`is_unlimited`)."""
    name = upstream_model.lower().rpartition("/")[2]
    return next((tokens for family, tokens in _BY_FAMILY if name.startswith(family)), IMAGE_TOKENS)
