"""Uptime and latency of each model over the last day, from the hourly usage sums, read at most once in five minutes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from edge.store.database_reader import DatabaseReader
from shared.core.clock import now_ms
from shared.core.errors import DatabaseUnavailable
from shared.rollup import Scope, TimeSpan, read_figures, rolled_until

DAY_MS = 24 * 3_600_000
CACHE_SECONDS = 300.0
# Figures of fewer calls mean little, and would reveal the outcome of a single call.
MIN_CALLS = 20


class ModelFigures(NamedTuple):
    """Figures of one model. `uptime` is the share of calls that did not fail, 0 to 1; latencies are in ms, None if unknown."""

    uptime: float
    first_token_ms: int | None
    slow_first_token_ms: int | None  # 95th percentile


class ModelHealth:
    """The figures by model id. Models with fewer than `MIN_CALLS` calls have none."""

    def __init__(self, reader: DatabaseReader) -> None:
        self._reader = reader
        self._figures: Mapping[str, ModelFigures] = {}
        self._read_again_at = 0.0
        self._lock = asyncio.Lock()

    async def last_day(self) -> Mapping[str, ModelFigures]:
        """Return the figures by model id; the previous ones if the database is unavailable."""
        async with self._lock:
            if time.monotonic() >= self._read_again_at:
                self._read_again_at = time.monotonic() + CACHE_SECONDS
                with suppress(DatabaseUnavailable):  # the pages also work without figures
                    self._figures = await self._reader.read(partial(read_last_day, now_ms()))
            return self._figures


def read_last_day(now: int) -> dict[str, ModelFigures]:
    """Return the figures of the last 24 summed hours. Empty if nothing was summed for a day, because no worker runs."""
    until = rolled_until()
    if until < now - DAY_MS:
        return {}
    found = read_figures(Scope(), TimeSpan(until - DAY_MS, until), "model", now, ("first_token",)).groups
    return {
        model: ModelFigures(1 - tally.failed / tally.calls, tally.first_token_ms(0.5), tally.first_token_ms(0.95))
        for model, tally in found.items()
        if tally.calls >= MIN_CALLS
    }
