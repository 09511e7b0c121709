"""Parses the timestamps of filters, in UTC: `2026-11-24`, `2026-11-24T14:05`. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from shared.core.errors import InvalidInput
from shared.text.translation import gettext


def parse_timestamp(text: str) -> int:
    """Return milliseconds UTC. Raises `InvalidInput`, also for an offset other than Z: the console shows only UTC."""
    try:
        moment = datetime.fromisoformat(text.strip().removesuffix("Z"))
        if moment.tzinfo is not None:
            raise ValueError
        return int(moment.replace(tzinfo=UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise InvalidInput(
            gettext("{text!r} is not a valid time. Use 2026-11-24 or 2026-11-24T14:05, in UTC.", text=text)
        ) from None
