"""Parsing an upstream's Retry-After headers: any text gives a delay or None, never an exception."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dialects.retry_after import retry_after_ms

NOW = 1_790_000_000_000  # Mon, 21 Sep 2026 14:13:20 GMT


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "30"}, 30_000),
        ({"retry-after": " 30 "}, 30_000),
        ({"retry-after": "0"}, 0),
        ({"retry-after-ms": "250", "retry-after": "30"}, 250),
        ({"retry-after-ms": "²", "retry-after": "30"}, 30_000),
        ({"retry-after": "Mon, 21 Sep 2026 14:13:50 GMT"}, 30_000),
        ({"retry-after": "Mon, 21 Sep 2026 14:13:50 -0000"}, 30_000),
        ({"retry-after": "Mon, 21 Sep 2026 14:13:50"}, 30_000),
        ({"retry-after": "Mon, 21 Sep 2026 14:12:50 GMT"}, 0),
        *(({"retry-after": text}, None) for text in ("", "-1", "+1", "1.5", "1e3", "9" * 6, "9" * 5_000)),
        *(({"retry-after": text}, None) for text in ("²", "1²", "١٢", "१२", "１２")),
        *(
            ({"retry-after": text}, None)
            for text in (
                *("Mon, 21 Sep 99999 14:13:50 GMT", "Mon, 99 Sep 2026 14:13:50 GMT", "Mon, 21 Sep 2026 99:13:50 GMT"),
                *("Mon, 21 Sep 2026 14:13:50 +99999999", "Fri, 31 Feb 2026 00:00:00 GMT", "soon", ",", "GMT", "M" * 60_000),
            )
        ),
    ],
)
def test_accepted_values(headers: dict[str, str], expected: int | None) -> None:
    assert retry_after_ms(headers.get, NOW) == expected


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_text_raises(seconds: str, milliseconds: str) -> None:
    wait = retry_after_ms({"retry-after": seconds, "retry-after-ms": milliseconds}.get, NOW)
    assert wait is None or wait >= 0
