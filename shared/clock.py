"""Time as the project counts it: whole milliseconds since 1970-01-01 UTC, and ids that sort by time."""

from __future__ import annotations

import os
import time
from uuid import UUID

_VERSION_7 = 0x7 << 76
_VARIANT = 0x2 << 62


def now_ms() -> int:
    """The present moment, milliseconds UTC: the unit of every `_at` column."""
    return time.time_ns() // 1_000_000


def new_id() -> UUID:
    """A version 7 UUID (RFC 9562, section 5.7): 48 bits of milliseconds, then 74 random bits.

    Sorting by time keeps index inserts at the right edge; random bits need no coordination between processes.
    """
    random_bits = int.from_bytes(os.urandom(10), "big")
    random_bits &= ~(0xF << 76) & ~(0x3 << 62)
    return UUID(int=(now_ms() << 80) | random_bits | _VERSION_7 | _VARIANT)
