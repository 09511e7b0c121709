"""Parses an upstream's `Retry-After` (RFC 9110, 10.2.3) and the more precise `retry-after-ms`. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime

# `str.isdigit` also accepts characters that `int` refuses, such as "²". Longer waits are ignored.
_SECONDS = re.compile(r"[0-9]{1,5}")
_MILLISECONDS = re.compile(r"[0-9]{1,8}")
MAX_DATE = 40  # characters; an HTTP date has 29


def retry_after_ms(header: Callable[[str], str | None], now: int) -> int | None:
    """Return the milliseconds to wait, or None if there is no such header or it is malformed or implausibly long.

    `header` returns the value of a header by its lower-case name; `now` is in milliseconds UTC. A date in the past counts as 0.
    """
    precise = (header("retry-after-ms") or "").strip()
    if _MILLISECONDS.fullmatch(precise):
        return int(precise)
    text = (header("retry-after") or "").strip()
    if _SECONDS.fullmatch(text):
        return int(text) * 1000
    return _until(text, now) if 0 < len(text) <= MAX_DATE else None


def _until(date: str, now: int) -> int | None:
    try:
        moment = parsedate_to_datetime(date)
        # A date without a zone is UTC, the only zone in HTTP.
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return max(0, int(moment.timestamp() * 1000) - now)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
