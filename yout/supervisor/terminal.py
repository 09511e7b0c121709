"""The output of `yout up`: whole lines, each prefixed with the process name, or JSON."""

from __future__ import annotations

import threading
import time

from shared.core.log_format import json_line


class Terminal:
    """Standard output, shared by the threads that read the children's output."""

    def __init__(self, names: list[str], *, json: bool = False) -> None:
        self._json = json
        self._width = max(len(name) for name in [*names, "yout"])
        self._lock = threading.Lock()
        self._open = True

    def line(self, name: str, text: str) -> None:
        """Print one line of the process `name`. In JSON, lines that a process did not format itself become messages."""
        if not self._json:
            self._print(f"{name:{self._width}} | {text}")
        elif text.startswith("{"):
            self._print(text)
        else:
            self._print(json_line(name, time.time(), "info", f"yout.{name}", text, {}).decode())

    def text(self, text: str) -> None:
        """Print human-readable text: as it is, or in JSON as one message."""
        if self._json:
            self.line("yout", text)
        else:
            self._print(text)

    def _print(self, text: str) -> None:
        """Print text. It is dropped if standard output is closed, so that the stack can still stop in order."""
        with self._lock:
            if not self._open:
                return
            try:
                print(text, flush=True)
            except OSError:
                self._open = False
