"""Time as the project counts it: whole milliseconds since 1970-01-01 UTC, and ids that sort by time."""

from __future__ import annotations

import os
import time
from uuid import UUID

_VERSION_7 = 0x7 << 76
_VARIANT = 0x2 << 62
_LOW_MASK = (1 << 62) - 1


def now_ms() -> int:
    """The present moment, milliseconds UTC: the unit of every `_at` column."""
    return time.time_ns() // 1_000_000


def new_id() -> UUID:
    """A version 7 UUID (RFC 9562, section 5.7): 48 bits of milliseconds, then 74 random bits.

    Sorting by time keeps index inserts at the right edge; random bits need no coordination between processes.
    """
    if not _random_words:
        _random_words.extend(memoryview(os.urandom(_RANDOM_BYTES)).cast("Q"))
    low = _random_words.pop() & _LOW_MASK
    high = _random_words.pop() & 0xFFF
    return UUID(int=(now_ms() << 80) | _VERSION_7 | (high << 64) | _VARIANT | low)


# The system's random bits, fetched for many ids at once: a system call for each would be a fortieth of a whole call's CPU.
_RANDOM_BYTES = 4096
_random_words: list[int] = []
os.register_at_fork(after_in_child=_random_words.clear)  # or parent and child would make the same ids
