"""What `yout up` prints: lines under the name of who said them, never two at once."""

from __future__ import annotations

import threading


class Terminal:
    """Standard output, shared by the threads that read the children's output."""

    def __init__(self, names: list[str]) -> None:
        self._width = max(len(name) for name in [*names, "yout"])
        self._lock = threading.Lock()
        self._read = True

    def line(self, name: str, text: str) -> None:
        """One line under `name`."""
        self.text(f"{name:{self._width}} | {text}")

    def text(self, text: str) -> None:
        """Text as it is. When nobody reads any more it is dropped: the stack must still be stopped in order."""
        with self._lock:
            if not self._read:
                return
            try:
                print(text, flush=True)
            except OSError:
                self._read = False
