"""Times in request bodies."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from shared.core.errors import InvalidRequest
from shared.core.timestamps import parse_timestamp

_EXPECTED = "an ISO 8601 time with a UTC offset, such as 2027-01-31T09:30:00Z"
Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, extra={"expected": _EXPECTED})]


def parse_time(name: str, text: str) -> int:
    """Parse the value of the field `name` to ms UTC. Raises `InvalidRequest`."""
    try:
        return parse_timestamp(text)
    except ValueError:
        raise InvalidRequest(f"'{name}' must be {_EXPECTED}.", name) from None
