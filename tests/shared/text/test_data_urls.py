"""Data URLs: which are base64, and their media types."""

from __future__ import annotations

import base64

import pytest

from shared.text.data_urls import DataUrl, parse_data_url

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256))).decode()


@pytest.mark.parametrize("data", [PNG, f"{PNG[:40]}\r\n {PNG[40:]}\t", PNG.rstrip("="), PNG + "=="])
def test_base64_may_have_whitespace_and_any_padding(data: str) -> None:
    assert parse_data_url(f"data:image/png;base64,{data}") == DataUrl("image/png", data)


@pytest.mark.parametrize("character", ["!", "-", "_", "%", "\0", "\x7f", "é", "日", "🙂", "\ud83d", "\u00a0", '"'])
@pytest.mark.parametrize("at", [0, 100, len(PNG)])
def test_any_other_character_makes_it_no_data_url(character: str, at: int) -> None:
    assert parse_data_url(f"data:image/png;base64,{PNG[:at]}{character}{PNG[at:]}") is None


@pytest.mark.parametrize("url", ["https://a.example/b.png", "data:image/png,abc", "data:;base64,abcd", ""])
def test_other_urls(url: str) -> None:
    assert parse_data_url(url) is None
