"""Moments as the native API and certificates write them: ISO 8601, in UTC, to the millisecond. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso_moment(ms: int | None) -> str | None:
    """Milliseconds UTC as `2027-01-31T09:30:00.000Z`; None stays None."""
    if ms is None:
        return None
    return (EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def read_moment(text: str) -> int:
    """Milliseconds UTC of an ISO 8601 moment. Raises `ValueError` for anything else, and for one without its offset from UTC."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a moment without its offset from UTC")
    return (moment - EPOCH) // timedelta(milliseconds=1)
