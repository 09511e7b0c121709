"""Start a program on a free port, wait until it is ready, keep its output in a file, and never leave it running."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
STOP_SECONDS = 60
INSTALL_SECONDS = 240  # for installing packages from a registry; below the timeout of a test
FIRST_PORT, LAST_PORT = 10_000, 32_767  # of servers that tests start
UNSAFE_PORTS = {10_080}  # Chromium opens no page at these
_TAIL_BYTES = 20_000


class StartFailed(AssertionError):
    """A program exited or did not become ready in time; the message contains the end of its output."""


def _ports() -> Iterator[int]:
    """Yield ports below the kernel's ephemeral range; each test process has its own part.

    If the kernel chose the port, any connection could take it before the server binds it, and another server would answer there.
    """
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    size = (LAST_PORT - FIRST_PORT) // count
    yield from (FIRST_PORT + worker * size + (os.getpid() * 97 + number) % size for number in itertools.count())


_PORTS = _ports()


def free_port() -> int:
    """An unused TCP port of 127.0.0.1, which no other test of this run gets."""
    for port in itertools.islice(_PORTS, 1_000):
        if port not in UNSAFE_PORTS and is_free(port):
            return port
    raise AssertionError("1,000 ports in a row are in use")


def is_free(port: int) -> bool:
    """Return whether a server could listen on this TCP port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def eventually(check: Callable[[], bool], what: str, seconds: float = 20, interval: float = 0.02) -> None:
    """Return as soon as `check()` is true; otherwise fail with `what`. For effects without an event to wait for."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"waited {seconds} s for: {what}"
        time.sleep(interval)


def dies_with_parent(argv: Sequence[str], signal_name: str = "TERM") -> list[str]:
    """`argv`, which gets `signal_name` from the kernel if the test run dies without cleaning up (Linux only)."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", signal_name, *argv] if setpriv else list(argv)


class Process:
    """A running program with its output in `log`. It leads its own process group, so that `kill` also reaches its children."""

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
        """The end of its output."""
        return self.log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")

    def wait_ready(self, ready: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        """Return when `ready()` is true. Raises `StartFailed` if the program exits first, or after `seconds`."""
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
        """Send it a signal, wait, and return its exit code. A program that does not stop is killed, raising `TimeoutExpired`."""
        self.send_signal(number)
        try:
            return self.wait()
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL the program and its children, like a crash or the out-of-memory killer."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait(STOP_SECONDS)


def start_on_free_port(start: Callable[[int], Process], ready: Callable[[Process, int], bool]) -> tuple[Process, int]:
    """Start a program on a free port; try once more if it exits at once, because the port may have been taken meanwhile."""
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
