"""One child process: its own process group, its output line by line under its name, and no life after ours."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

from shared.core.errors import SettingsError

POLL_SECONDS = 0.05
_PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before any fork: a forked child must not import


class Child:
    """A started process. `name` heads every line that it prints.

    It leads a process group of its own, so that Ctrl-C reaches the supervisor only, which then stops all in order. When the
    supervisor is killed outright, the kernel sends the child SIGTERM (Linux).
    """

    def __init__(self, name: str, arguments: Sequence[str], show: Callable[[str, str], None]) -> None:
        self.name = name
        try:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                text=True,
                errors="replace",
                process_group=0,
                preexec_fn=_die_with(os.getpid()),
            )
        except OSError as problem:
            raise SettingsError(f"{name} cannot be started: {problem}.") from None
        self._reader = threading.Thread(target=self._read, args=(show,), daemon=True, name=f"output of {name}")
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs; else its code, 128 + N when signal N ended it."""
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    def stop(self, grace_seconds: float, hurried: Callable[[], bool]) -> bool:
        """Ask it to end, and end it and all of its group by force after `grace_seconds`, or as soon as `hurried()`.

        Gives whether it went by itself.
        """
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        while self.exit_code() is None and time.monotonic() < deadline and not hurried():
            time.sleep(POLL_SECONDS)
        willing = self.exit_code() is not None
        self._end_group()
        self._process.wait()
        self._reader.join(timeout=1)  # its last words; a grandchild that left the group could hold the pipe open
        return willing

    def _signal(self, number: signal.Signals) -> None:
        if self.exit_code() is None:
            self._process.send_signal(number)

    def _end_group(self) -> None:
        """What is left of the group, the leader or processes it left behind."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # nobody left (macOS says the latter when only a zombie is)
            return

    def _read(self, show: Callable[[str, str], None]) -> None:
        assert self._process.stdout is not None  # noqa: S101  (it was asked for)
        with self._process.stdout as output:
            for line in output:
                show(self.name, line.rstrip())


def _die_with(parent: int) -> Callable[[], None] | None:
    """What the child does before its program starts: ask to be told to end when the supervisor's main thread is gone."""
    if _libc is None:
        return None
    prctl, exit_now, parent_of = _libc.prctl, os._exit, os.getppid

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if parent_of() != parent:  # it was gone before we asked
            exit_now(1)

    return tie
