"""The life of the stack: ports, data, processes, readiness, the welcome; then watch, and stop in order."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from shared.settings import Settings
from yout.secret_key import ensure_secret_key
from yout.supervisor.data_folder import claimed
from yout.supervisor.greeting import greeting
from yout.supervisor.parts import Part, embedded_parts, in_stop_order, procfile_parts
from yout.supervisor.ports import require_free
from yout.supervisor.prepare import prepare_database
from yout.supervisor.process import POLL_SECONDS, Child
from yout.supervisor.procfile import PROJECT_PROCFILE
from yout.supervisor.terminal import Terminal

READY_SECONDS = 120  # the first start of a model on a slow disk; a process that dies is noticed at once
CHECK_INTERVAL_SECONDS = 0.1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_stack(settings: Settings, *, local_model: bool, procfile: Path | None = None) -> int:
    """Start everything, print how to use it, and run until a signal comes (gives 0) or a process ends (gives its code, never 0).

    Raises `SettingsError` before anything is started when a port is taken, the data folder is in use or a setting is wrong.
    """
    settings = ensure_secret_key(settings)
    with claimed(settings.data_dir):
        parts = [
            *embedded_parts(settings, local_model=local_model),
            *procfile_parts(settings, procfile or PROJECT_PROCFILE),
        ]  # fmt: skip
        require_free(part.listener for part in parts if part.listener is not None)
        welcome = prepare_database(settings, local_model=local_model)
        stack = Stack(parts)
        with stack.listening_to_signals():
            return stack.run(greeting(settings, welcome))


class Stack:
    """The running processes. Signals only count up `_asked`: the loops look at it, so that nothing happens inside a handler."""

    def __init__(self, parts: list[Part]) -> None:
        self._parts = {part.name: part for part in parts}
        self._children: dict[str, Child] = {}
        self._asked = 0
        self._terminal = Terminal([part.name for part in parts])

    @contextmanager
    def listening_to_signals(self) -> Iterator[None]:
        """Count the signals that ask for the end, in the block."""
        former = {number: signal.getsignal(number) for number in _SIGNALS}
        for number in _SIGNALS:
            if not (number == signal.SIGHUP and former[number] == signal.SIG_IGN):  # nohup means it
                signal.signal(number, self._ask)
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked += 1

    def run(self, welcome: str) -> int:
        """The whole life, from the first start to the last end. Nothing that was started outlives this call."""
        try:
            code = self._start()
            if code is None and not self._asked:
                self._terminal.text(welcome)
            while code is None and not self._asked:
                time.sleep(POLL_SECONDS)
                code = self._dead()
            return code or 0
        finally:
            self._stop()

    def _start(self) -> int | None:
        """Start all, the broker before those who need it. Gives an exit code when that comes to nothing."""
        broker = [part for part in self._parts.values() if part.name == "valkey"]
        others = [part for part in self._parts.values() if part.name != "valkey"]
        for parts in (broker, others):
            for part in parts:
                self._children[part.name] = Child(part.name, part.arguments, self._terminal.line)
            code = self._wait_until_ready(parts)
            if code is not None or self._asked:
                return code
        return None

    def _wait_until_ready(self, parts: list[Part]) -> int | None:
        deadline = time.monotonic() + READY_SECONDS
        waiting = {part.name: part.ready for part in parts if part.ready is not None}
        while not self._asked:
            missing = {name: check() for name, check in waiting.items()}
            waiting = {name: check for name, check in waiting.items() if missing[name] is not None}
            code = self._dead()
            if code is not None or not waiting:
                return code
            if time.monotonic() > deadline:
                name = next(iter(waiting))
                self._say(f"{name} is not ready after {READY_SECONDS} s: {missing[name]}. Stopping.")
                return 1
            time.sleep(CHECK_INTERVAL_SECONDS)
        return None

    def _dead(self) -> int | None:
        """The exit code for the first process that ended, None while all run."""
        for name, child in self._children.items():
            code = child.exit_code()
            if code is not None:
                log = self._parts[name].log
                place = f"in {log}" if log else "above"
                self._say(f"{name} ended with exit code {code}; what it said is {place}. Stopping the others.")
                return code or 1
        return None

    def _stop(self) -> None:
        """End all in order, each within its grace; one more signal hurries."""
        asked = self._asked
        if asked:
            self._say("Stopping in order; Ctrl-C again to hurry.")
        for name in in_stop_order(list(self._children)):
            if not self._children[name].stop(self._parts[name].grace_seconds, lambda: self._asked > asked):
                self._say(f"{name} did not end in time and was killed.")

    def _say(self, text: str) -> None:
        self._terminal.line("yout", text)
