"""`yout up` with stand-in processes, as a separate process that a test can stop, kill and read."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.servers.process import free_port
from tests.yout.command import Installation

STANDIN = Path(__file__).with_name("standin.py")
PATIENCE_SECONDS = 60


def new_installation(folder: Path, **environment: str) -> Installation:
    """An installation on free ports, without its own secret key."""
    settings = ("YOUT_EDGE_PORT", "YOUT_CONSOLE_PORT", "YOUT_LOCAL_PORT")
    ports = {name: str(free_port()) for name in settings}
    return Installation(folder, **{"SECRET_KEY": "", **ports, **environment})


class Up:
    """A running `yout up`. `manners` sets the behavior of stand-ins by process name."""

    def __init__(
        self, installation: Installation, manners: Mapping[str, str] | None = None, *, local_model: bool = False
    ) -> None:
        self.folder = installation.folder
        self.data = self.folder / "var"
        self.valkey = self.data / "valkey" / "valkey.sock"
        manners = {"web": "", "console": "", "worker": "", **(manners or {})}
        procfile = self.folder / "Procfile"
        procfile.write_text("".join(f"{name}: python {STANDIN} {name} {manner}\n" for name, manner in manners.items()))
        self.output_file = self.folder / "output"
        with self.output_file.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "yout", "up", *([] if local_model else ["--no-local"]), "--procfile", str(procfile)],
                cwd=self.folder,
                env=installation.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self.output_file.read_text()

    def wait_for(self, text: str) -> str:
        """Wait until the output contains `text`; returns the output."""
        wait_until(lambda: text in self.output or self.process.poll() is not None, f"{text!r} in the output")
        assert text in self.output, self.output
        return self.output

    def pids(self) -> list[int]:
        """Pids of all stand-ins started so far, running or not."""
        file = self.data / "pids"
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def ends(self) -> list[str]:
        """Names of the stand-ins that were asked to stop, in order."""
        return (self.data / "ends").read_text().split()

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal and wait for the end."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for the exit code."""
        return self.process.wait(PATIENCE_SECONDS)

    def clean_up(self) -> None:
        """Kill everything that the test left running."""
        for pid in [self.process.pid, *self.pids()]:
            if alive(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE_SECONDS)


def alive(pid: int) -> bool:
    """Whether a process is running. A zombie is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def listening(port: int) -> bool:
    """Whether a server listens on this loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def listening_socket(path: Path) -> bool:
    """Whether a server listens on this Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def wait_until(condition: object, what: str) -> None:
    """Poll `condition()` until it is true; fails after a minute."""
    assert callable(condition)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"timed out waiting for {what}"
        time.sleep(0.05)
