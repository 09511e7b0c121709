"""The call log: one structured line per call, without content, written in batches off the request path."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import orjson

FLUSH_SECONDS = 0.25


class CallLog:
    """Writes JSON lines to standard error."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def write(self, entry: dict[str, Any]) -> None:
        """Queue one line."""
        self._lines.append(orjson.dumps(entry))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)

    def close(self) -> None:
        """Write the queued lines."""
        if self._timer is not None:
            self._timer.cancel()
        self._flush()

    def _flush(self) -> None:
        self._timer = None
        lines, self._lines = self._lines, []
        if lines:
            sys.stderr.buffer.write(b"\n".join(lines) + b"\n")
            sys.stderr.buffer.flush()
