"""Runs the stack: chooses ports, prepares data, starts processes, prints the banner, watches the processes, and stops them in
order."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from shared.core.settings import PORTS_FILE, Settings
from shared.core.smtp_url import CONSOLE
from yout.data_folder import locked_data_folder, write_private_file
from yout.secret_key import ensure_secret_key
from yout.supervisor.banner import format_banner
from yout.supervisor.init_database import migrate_database, prepare_catalog
from yout.supervisor.ports import PORT_FIELDS, choose_ports, require_free_ports
from yout.supervisor.process import POLL_SECONDS, Child
from yout.supervisor.process_specs import ProcessSpec, embedded_processes, local_health_url, procfile_processes, sort_for_stopping
from yout.supervisor.procfile import PROJECT_PROCFILE
from yout.supervisor.ready import served_models
from yout.supervisor.terminal import Terminal

READY_SECONDS = 120  # long enough to load a model from a slow disk; the exit of a process is noticed at once
CHECK_INTERVAL_SECONDS = 0.1
DEMO_VISITOR_POOL_CREDITS = 50_000
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_stack(settings: Settings, *, local_model: bool, procfile: Path | None = None) -> int:
    """Start everything, print how to use it, and run until a signal (returns 0) or until a process exits (its code, never 0).

    Raises `SettingsError` before anything is started if a port is in use, the data folder is locked or a setting is invalid.
    """
    settings = ensure_secret_key(settings)
    with locked_data_folder(settings.data_dir):
        settings = choose_ports(settings, Settings.explicit_fields())
        os.environ.setdefault("YOUT_LOG_FORMAT", settings.log_format or "text")  # its output is read by people
        given = Settings.explicit_fields() | Settings.emptied_fields()  # `YOUT_SMTP_URL=` turns emails off
        demo = demo_environment(settings, given, local_model=local_model)
        os.environ.update(demo)
        settings = replace(settings, smtp_url=demo.get("YOUT_SMTP_URL", settings.smtp_url))
        embedded = embedded_processes(settings, local_model=local_model)
        project = procfile_processes(settings, procfile or PROJECT_PROCFILE)
        require_free_ports(part.listener for part in [*project, *embedded] if part.listener is not None)
        migrate_database(settings)

        def welcome() -> str:
            served = served_models(local_health_url(settings)) if local_model else frozenset[str]()
            return format_banner(settings, prepare_catalog(settings, served))

        stack = Stack(embedded, project, welcome, json_lines=settings.log_format == "json")
        with _published_ports(settings), stack.counting_signals():
            return stack.run()


def demo_environment(settings: Settings, given: Collection[str], *, local_model: bool) -> dict[str, str]:
    """Return further variables for the processes in development, unless their fields are `given`.

    The console shows emails, so that their links can be used without a mail server. With the local model, which costs nothing,
    visitors may chat.
    """
    if settings.environment != "development":
        return {}
    chosen = {}
    if "smtp_url" not in given:
        chosen["YOUT_SMTP_URL"] = CONSOLE
    if local_model and "visitor_pool_credits" not in given:
        chosen["YOUT_VISITOR_POOL_CREDITS"] = str(DEMO_VISITOR_POOL_CREDITS)
    return chosen


@contextmanager
def _published_ports(settings: Settings) -> Iterator[None]:
    """Write the chosen ports to a file, for the stack's processes and other commands."""
    path = settings.data_dir / PORTS_FILE
    write_private_file(path, json.dumps({name: getattr(settings, name) for name in PORT_FIELDS}) + "\n")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


class Stack:
    """The running processes. Signal handlers only increment `_signals_received`; the loops check it.

    The `project` processes start after the `embedded` ones are ready and `welcome()`, which may use them, has returned the
    text to print.
    """

    def __init__(
        self, embedded: list[ProcessSpec], project: list[ProcessSpec], welcome: Callable[[], str], *, json_lines: bool = False
    ) -> None:
        parts = [*embedded, *project]
        self._embedded, self._project, self._welcome = embedded, project, welcome
        self._parts = {part.name: part for part in parts}
        self._children: dict[str, Child] = {}
        self._signals_received = 0
        self._terminal = Terminal([part.name for part in parts], json=json_lines)

    @contextmanager
    def counting_signals(self) -> Iterator[None]:
        """Count termination signals in the block."""
        former = {number: signal.getsignal(number) for number in _SIGNALS}
        for number in _SIGNALS:
            if not (number == signal.SIGHUP and former[number] == signal.SIG_IGN):  # keep nohup's setting
                signal.signal(number, self._ask)
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._signals_received += 1

    def run(self) -> int:
        """Run until stopped. No started process outlives this call."""
        try:
            code = self._start()
            while code is None and not self._signals_received:
                time.sleep(POLL_SECONDS)
                code = self._dead()
            return code or 0
        finally:
            self._stop()

    def _start(self) -> int | None:
        """Start all processes, the embedded servers first. Returns an exit code on failure."""
        code = self._start_parts(self._embedded)
        if code is not None or self._signals_received:
            return code
        text = self._welcome()
        code = self._start_parts(self._project)
        if code is None and not self._signals_received:
            self._terminal.text(text)
        return code

    def _start_parts(self, parts: list[ProcessSpec]) -> int | None:
        for part in parts:
            self._children[part.name] = Child(part.name, part.arguments, self._terminal.line)
        return self._wait_until_ready(parts)

    def _wait_until_ready(self, parts: list[ProcessSpec]) -> int | None:
        deadline = time.monotonic() + READY_SECONDS
        waiting = {part.name: part.ready for part in parts if part.ready is not None}
        while not self._signals_received:
            missing = {name: check() for name, check in waiting.items()}
            waiting = {name: check for name, check in waiting.items() if missing[name] is not None}
            code = self._dead()
            if code is not None or not waiting:
                return code
            if time.monotonic() > deadline:
                name = next(iter(waiting))
                self._print(f"{name} is not ready after {READY_SECONDS} s: {missing[name]}. Stopping.")
                return 1
            time.sleep(CHECK_INTERVAL_SECONDS)
        return None

    def _dead(self) -> int | None:
        """Return the exit code for the first process that exited, or None while all run."""
        for name, child in self._children.items():
            code = child.exit_code()
            if code is not None:
                log = self._parts[name].log
                place = f"in {log}" if log else "above"
                self._print(f"{name} exited with code {code}; see its output {place}. Stopping the others.")
                return code or 1
        return None

    def _stop(self) -> None:
        """Stop all in order, each within its grace period; another signal kills the rest."""
        initial_signals = self._signals_received
        if initial_signals:
            self._print("Stopping. Press Ctrl-C again to stop immediately.")
        for name in sort_for_stopping(list(self._children)):
            if not self._children[name].stop(self._parts[name].grace_seconds, lambda: self._signals_received > initial_signals):
                self._print(f"{name} did not stop in time and was killed.")

    def _print(self, text: str) -> None:
        self._terminal.line("yout", text)
