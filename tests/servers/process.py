"""One real program: started on a free port, waited for, its output kept in a file, never left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
STOP_SECONDS = 60
INSTALL_SECONDS = 240  # of packages from a registry; below what a test may take in all
_TAIL_BYTES = 20_000


class StartFailed(AssertionError):
    """A program ended, or said nothing, before it was ready; the message carries the end of its output."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(check: Callable[[], bool], what: str, seconds: float = 20, interval: float = 0.02) -> None:
    """Return as soon as `check()` is true; fail with `what` when it never is. For effects that no event announces."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        time.sleep(interval)


def dies_with_parent(argv: Sequence[str], signal_name: str = "TERM") -> list[str]:
    """`argv`, sent `signal_name` by the kernel when the test run dies without cleaning up (Linux; elsewhere unchanged)."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", signal_name, *argv] if setpriv else list(argv)


class Process:
    """A running program with its output in `log`. It leads a process group of its own, so that `kill` reaches its children."""

    def __init__(self, name: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                argv,
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._popen.poll()

    def output(self) -> str:
        """The end of what it printed."""
        return self.log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")

    def wait_ready(self, ready: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        """Return when `ready()` is true. Raises `StartFailed` when it ends before that, or after `seconds`."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self.returncode is not None:
                raise StartFailed(f"{self.name} ended with {self.returncode} before it was ready:\n{self.output()}")
            if time.monotonic() > deadline:
                raise StartFailed(f"{self.name} was not ready after {seconds} s:\n{self.output()}")
            time.sleep(0.02)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the program itself, not to its children."""
        self._popen.send_signal(number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for its end and return the exit code."""
        return self._popen.wait(seconds)

    def terminate(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop, wait, and return its exit code. What doesn't stop is killed and raises `TimeoutExpired`."""
        self.send_signal(number)
        try:
            return self.wait()
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL the program and its children, as a crash or the out-of-memory killer would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait(STOP_SECONDS)


def start_on_free_port(start: Callable[[int], Process], ready: Callable[[Process, int], bool]) -> tuple[Process, int]:
    """Start a program on a free port; once more on another one when it ended at once (somebody took the port in between)."""
    for last_attempt in (False, False, True):
        port = free_port()
        process = start(port)
        try:
            process.wait_ready(lambda: ready(process, port))  # noqa: B023  (called before the next turn)
        except StartFailed:
            ended_by_itself = process.returncode is not None
            process.kill()
            if last_attempt or not ended_by_itself:
                raise
        else:
            return process, port
    raise AssertionError("unreachable")
