"""Current time in milliseconds since 1970-01-01 UTC, and ids that sort by time."""

from __future__ import annotations

import os
import time
from uuid import UUID

_VERSION_7 = 0x7 << 76
_VARIANT = 0x2 << 62
_LOW_MASK = (1 << 62) - 1
_TICKS_PER_MS = 4096


def now_ms() -> int:
    """Return the current time in milliseconds UTC, the unit of every `_at` column."""
    return time.time_ns() // 1_000_000


def new_id() -> UUID:
    """Return a UUID version 7 (RFC 9562, section 5.7): 48 bits of milliseconds, 12 of their fraction (6.2, method 3), 62 random.

    Ids made by one process sort in the order of their creation, also within one millisecond. New rows go to the end of an index,
    which makes inserts cheap, and processes need no coordination.
    """
    global _last_tick
    tick = time.time_ns() * _TICKS_PER_MS // 1_000_000
    _last_tick = tick = tick if tick > _last_tick else _last_tick + 1  # two ids in one tick, or the clock was set back
    try:
        low = _random_words.pop() & _LOW_MASK
    except IndexError:
        fresh = list(memoryview(os.urandom(_RANDOM_BYTES)).cast("Q"))
        low = fresh.pop() & _LOW_MASK
        _random_words.extend(fresh)
    return UUID(int=(tick // _TICKS_PER_MS << 80) | _VERSION_7 | (tick % _TICKS_PER_MS << 64) | _VARIANT | low)


def id_time(id: UUID) -> int:
    """Return when a version 7 UUID was created, in milliseconds UTC."""
    return id.int >> 80


# Random bytes are read for many ids at once: one system call per id would cost 2.5 % of a call's CPU time.
_RANDOM_BYTES = 4096
_random_words: list[int] = []
_last_tick = 0
os.register_at_fork(after_in_child=_random_words.clear)  # otherwise parent and child would create the same ids
