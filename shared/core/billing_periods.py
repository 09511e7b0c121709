"""Calendar days and months in UTC, computed from milliseconds. Pure."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime, timedelta
from functools import lru_cache

DAY_MS = 24 * 3600 * 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def day_of(ms: int) -> int:
    """Return the day's number, counted from 1970-01-01."""
    return ms // DAY_MS


def next_day_start(day: int) -> int:
    """Return the start of the next day."""
    return (day + 1) * DAY_MS


def month_of(ms: int) -> int:
    """Return the calendar month as a readable number: 202612."""
    return _month_of_day(ms // DAY_MS)


@lru_cache(maxsize=64)  # every charge needs its month
def _month_of_day(day: int) -> int:
    date = _date(day * DAY_MS)
    return date.year * 100 + date.month


def month_time(month: int) -> int:
    """Return the start of a month given as a readable number, in ms: the reverse of `month_of`."""
    return _milliseconds(datetime(month // 100, month % 100, 1, tzinfo=UTC))


def format_month(ms: int) -> str:
    """Format the calendar month for names: 2026_12."""
    return _date(ms).strftime("%Y_%m")


def month_start(ms: int) -> int:
    """Return the start of the calendar month."""
    return _milliseconds(_date(ms).replace(day=1, hour=0, minute=0, second=0, microsecond=0))


def next_month_start(ms: int) -> int:
    """Return the start of the next calendar month."""
    return next_renewal(month_start(ms), 1)


def next_renewal(ms: int, anchor_day: int) -> int:
    """Return the same time of day on the `anchor_day` of the next month, or on its last day if it is shorter.

    Because it counts from the anchor, a subscription of the 31st returns to the 31st after February.
    """
    date = _date(ms)
    year, month = (date.year + 1, 1) if date.month == 12 else (date.year, date.month + 1)
    day = min(anchor_day, monthrange(year, month)[1])
    return _milliseconds(date.replace(year=year, month=month, day=day))


def format_timestamp(ms: int) -> str:
    """Format a time for error messages: 2026-12-01T00:00:00Z."""
    return _date(ms).strftime("%Y-%m-%dT%H:%M:%SZ")


def anchor_day(ms: int) -> int:
    """Return the day of the month."""
    return _date(ms).day


def _date(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)


def _milliseconds(date: datetime) -> int:
    return (date - _EPOCH) // timedelta(milliseconds=1)
