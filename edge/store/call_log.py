"""The call log: one line per call, without content, written in batches off the request path."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from shared.core.log_format import json_line

FLUSH_SECONDS = 0.25
LOGGER = "yout.call"
TEXT = "INFO {logger}: {request_id} {model} via {channel}: {status}{problem}, {credits} credits, {duration_ms} ms"


class CallLog:
    """Writes lines to standard error: JSON, or text for a terminal."""

    def __init__(self, *, json: bool = True) -> None:
        self._json = json
        self._entries: list[tuple[int, dict[str, Any]]] = []
        self._timer: asyncio.TimerHandle | None = None

    def write(self, at_ms: int, entry: dict[str, Any]) -> None:
        """Queue the line of a call that was settled at this time."""
        self._entries.append((at_ms, entry))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)

    def close(self) -> None:
        """Write the queued lines."""
        if self._timer is not None:
            self._timer.cancel()
        self._flush()

    def _flush(self) -> None:
        self._timer = None
        entries, self._entries = self._entries, []
        if entries:
            sys.stderr.buffer.write(b"\n".join(self._line(at_ms, entry) for at_ms, entry in entries) + b"\n")
            sys.stderr.buffer.flush()

    def _line(self, at_ms: int, entry: dict[str, Any]) -> bytes:
        if self._json:
            return json_line("edge", at_ms / 1000, "info", LOGGER, f"call {entry['status']}", entry)
        return TEXT.format(logger=LOGGER, problem=f" ({entry['error']})" if entry["error"] else "", **entry).encode()
