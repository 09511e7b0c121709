"""Which responses are compressed, and how."""

from __future__ import annotations

import gzip

import brotli
import pytest

from shared.text.compression import compress, is_compressible, is_safe_to_compress


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("text/html; charset=utf-8", True),
        ("text/css", True),
        ("text/javascript; charset=utf-8", True),
        ("application/json", True),
        ("application/problem+json", True),
        ("image/svg+xml", True),
        ("text/event-stream", False),
        ("text/event-stream; charset=utf-8", False),
        ("TEXT/EVENT-STREAM", False),
        ("application/jsonl", False),
        ("image/png", False),
        ("font/woff2", False),
        ("application/octet-stream", False),
        ("", False),
    ],
)
def test_text_is_compressed_but_not_streams_and_media(content_type: str, expected: bool) -> None:
    assert is_compressible(content_type) is expected


@pytest.mark.parametrize(
    ("has_cookie", "fetch_site", "expected"),
    [
        (False, None, True),
        (False, "cross-site", True),
        (True, "same-origin", True),
        (True, "none", True),
        (True, "same-site", False),
        (True, "cross-site", False),
        (True, None, False),
        (True, "", False),
    ],
)
def test_requests_that_another_site_can_send_get_no_compressed_secrets(
    has_cookie: bool, fetch_site: str | None, expected: bool
) -> None:
    assert is_safe_to_compress(has_cookie, fetch_site) is expected


@pytest.mark.parametrize("once", [False, True])
def test_compressed_data_is_smaller_and_complete(once: bool) -> None:
    data = b"the same words, " * 1000
    assert brotli.decompress(compress(data, "br", once)) == data
    assert gzip.decompress(compress(data, "gzip", once)) == data
    assert max(len(compress(data, coding, once)) for coding in ("br", "gzip")) < len(data) / 20
    assert compress(data, "gzip") == compress(data, "gzip")  # without the time of day
