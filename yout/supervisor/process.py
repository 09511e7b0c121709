"""A supervised child process: its own process group, output prefixed with its name, terminated with the supervisor."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from shared.core.errors import SettingsError

POLL_SECONDS = 0.05
_PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before any fork, because a forked child must not import


class Child:
    """A started process. Each line of its output is prefixed with `name`.

    It leads its own process group, so that Ctrl-C reaches only the supervisor, which then stops everything in order. If the
    supervisor is killed, the kernel sends the child SIGTERM (Linux only). `environment` has further variables. `ended` is called
    after its last line.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        show: Callable[[str, str], None],
        environment: Mapping[str, str] | None = None,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self._ended = ended
        try:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
                text=True,
                errors="replace",
                process_group=0,
                preexec_fn=_exit_with_parent(os.getpid()),
            )
        except OSError as error:
            raise SettingsError(f"Cannot start {name}: {error}.") from None
        self._reader = threading.Thread(target=self._read, args=(show,), daemon=True, name=f"output of {name}")
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """Return None while it runs, else its exit code, or 128 + N if signal N ended it."""
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    def stop(self, grace_seconds: float, skip_grace: Callable[[], bool]) -> bool:
        """Send SIGTERM, then kill the whole group after `grace_seconds` or as soon as `hurried()` is true.

        Returns whether the process exited by itself.
        """
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        while self.exit_code() is None and time.monotonic() < deadline and not skip_grace():
            time.sleep(POLL_SECONDS)
        exited = self.exit_code() is not None
        self._end_group()
        self._process.wait()
        self._reader.join(timeout=1)  # read its last output; a grandchild outside the group could keep the pipe open
        return exited

    def kill(self) -> None:
        """Kill the whole group at once, like a crash."""
        self._end_group()
        self._process.wait()
        self._reader.join(timeout=1)

    def _signal(self, number: signal.Signals) -> None:
        if self.exit_code() is None:
            self._process.send_signal(number)

    def _end_group(self) -> None:
        """Kill the rest of the process group: its leader, or processes that outlived the leader."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # no process left (macOS raises PermissionError for a zombie)
            return

    def _read(self, show: Callable[[str, str], None]) -> None:
        assert self._process.stdout is not None  # noqa: S101  (stdout=PIPE)
        with self._process.stdout as output:
            for line in output:
                show(self.name, line.rstrip())
        self._ended()


def _exit_with_parent(parent: int) -> Callable[[], None] | None:
    """Return a function for the child to run before exec: it requests SIGTERM when the supervisor's main thread exits."""
    if _libc is None:
        return None
    prctl, exit_now, parent_of = _libc.prctl, os._exit, os.getppid

    def request_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if parent_of() != parent:  # the parent exited before this request took effect
            exit_now(1)

    return request_signal
