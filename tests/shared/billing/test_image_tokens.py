"""The tokens that an image in a prompt can have, by family of models."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from shared.billing.image_tokens import IMAGE_TOKENS, is_unlimited, max_image_tokens, original_image_tokens


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
        ("gemini-3-pro", IMAGE_TOKENS),
        ("claude-sonnet-4-5", IMAGE_TOKENS),
        ("claude-opus-4-6", IMAGE_TOKENS),
        ("claude-opus-4-7", 5_000),
        ("llama-4", IMAGE_TOKENS),
    ],
)
def test_the_bound_depends_on_the_family(model: str, tokens: int) -> None:
    assert max_image_tokens(model) == tokens


def image(format: str, width: int, height: int, **options: Any) -> str:
    file = BytesIO()
    Image.new("RGB", (width, height)).save(file, format, **options)
    return f"data:image/{format.lower()};base64,{b64encode(file.getvalue()).decode()}"


SMALL = b"\0\0\xff\xc0\0\x0b\x08\0\x20\0\x20\1\1\x11\0"  # the start of a frame of 32 by 32 pixels


@pytest.mark.parametrize(
    ("url", "detail", "tokens"),
    [
        (image("PNG", 1_920, 1_080), None, IMAGE_TOKENS),
        (image("PNG", 4_000, 3_000), "original", 14_100),
        (image("JPEG", 4_000, 3_000, comment=b"a" * 60_000), "auto", 14_100),
        (image("WEBP", 4_000, 3_000), None, 14_100),
        (image("WEBP", 4_000, 3_000, lossless=True), None, 14_100),
        (image("PNG", 4_000, 3_000), "high", IMAGE_TOKENS),
        (image("GIF", 4_000, 3_000), None, None),
        ("https://a.example/b.png", None, None),
        ("https://a.example/b.png", "low", IMAGE_TOKENS),
        ("data:image/png;base64,iVBORw0KGgo=", None, None),
        ("data:image/jpeg;base64,/9j/4AAQ", None, None),
        (image("PNG", 4_000, 3_000).replace(",", ",-"), None, None),  # decoders skip the character, or read it as another
        ("data:image/jpeg;base64," + b64encode(b"\xff\xd8\xff\0\0\x04" + SMALL).decode(), None, None),
    ],
)
def test_models_without_a_limit_need_the_size_of_the_image(url: str, detail: str | None, tokens: int | None) -> None:
    assert is_unlimited("openai/GPT-5.6-mini")
    assert not is_unlimited("gpt-5.5")
    assert original_image_tokens({"type": "image_url", "image_url": {"url": url, "detail": detail}}) == tokens


def test_an_image_in_a_file() -> None:
    assert original_image_tokens({"type": "file", "file": {"file_data": image("PNG", 4_000, 3_000)}}) == 14_100
