"""When a call is sampled to compare its provider's token counts with ours (`edge.call.token_sampling`)."""

from __future__ import annotations

import time
from uuid import UUID

SAMPLE_SECONDS = 10.0  # between two samples of a channel: counting takes milliseconds of CPU time


class TokenSampling:
    """Decides which calls of this process are sampled."""

    def __init__(self) -> None:
        # The first samples wait, so that the process that counts does not start beside the first calls.
        self._first = time.monotonic() + SAMPLE_SECONDS
        self._next: dict[UUID, float] = {}  # time of the next sample by channel, in seconds of `time.monotonic`

    def is_due(self, channel: UUID) -> bool:
        """Return whether no call of the channel was sampled recently."""
        return time.monotonic() >= self._next.get(channel, self._first)

    def mark(self, channel: UUID) -> None:
        """Record that a call of the channel is sampled."""
        self._next[channel] = time.monotonic() + SAMPLE_SECONDS
