"""The output of `yout up`: whole lines, each prefixed with the process name."""

from __future__ import annotations

import threading


class Terminal:
    """Standard output, shared by the threads that read the children's output."""

    def __init__(self, names: list[str]) -> None:
        self._width = max(len(name) for name in [*names, "yout"])
        self._lock = threading.Lock()
        self._open = True

    def line(self, name: str, text: str) -> None:
        """Print one line prefixed with `name`."""
        self.text(f"{name:{self._width}} | {text}")

    def text(self, text: str) -> None:
        """Print text as it is. If standard output is closed, the line is dropped, so that the stack is still stopped in order."""
        with self._lock:
            if not self._open:
                return
            try:
                print(text, flush=True)
            except OSError:
                self._open = False
