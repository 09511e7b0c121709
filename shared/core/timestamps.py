"""ISO 8601 timestamps with milliseconds in UTC, for the native API and certificates. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def format_timestamp(ms: int | None) -> str | None:
    """Format milliseconds UTC as `2027-01-31T09:30:00.000Z`; None stays None."""
    if ms is None:
        return None
    return (EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def parse_timestamp(text: str) -> int:
    """Parse an ISO 8601 timestamp to milliseconds UTC. Raises `ValueError` if it is invalid or has no UTC offset."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("timestamp without UTC offset")
    return (moment - EPOCH) // timedelta(milliseconds=1)
