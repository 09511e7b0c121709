"""Moments as people type them into a filter, UTC: `2026-11-24`, `2026-11-24T14:05`. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from shared.core.errors import InvalidInput


def read_moment(text: str) -> int:
    """Milliseconds UTC. Raises `InvalidInput`; a time zone other than UTC is refused, because the console shows UTC alone."""
    try:
        moment = datetime.fromisoformat(text.strip().removesuffix("Z"))
        if moment.tzinfo is not None:
            raise ValueError
        return int(moment.replace(tzinfo=UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise InvalidInput(f"{text!r} is no moment; write it as 2026-11-24 or 2026-11-24T14:05, in UTC.") from None
