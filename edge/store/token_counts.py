"""Cached token counts. Agents send the same messages again in every turn, and clients retry calls."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable

MAX_ENTRIES = 16_384


class TokenCounts:
    """Counts pieces of text with `count_tokens`. Keeps only hashes and counts, never text.

    The hashes are seeded at random by the interpreter, so a caller cannot choose texts that collide.
    """

    def __init__(self, count_tokens: Callable[[str], Awaitable[int]]) -> None:
        self._count_tokens = count_tokens
        self._counts: OrderedDict[tuple[int, int], int] = OrderedDict()

    async def count(self, pieces: Iterable[str]) -> int:
        """Return the tokens of all `pieces` together."""
        total = 0
        for piece in pieces:
            key = hash(piece), len(piece)
            counted = self._counts.get(key)
            if counted is None:
                counted = self._counts[key] = await self._count_tokens(piece)
                if len(self._counts) > MAX_ENTRIES:
                    self._counts.popitem(last=False)
            else:
                self._counts.move_to_end(key)
            total += counted
        return total
