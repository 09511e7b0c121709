"""The Procfile: `name: command`, one process a line, as Heroku-like platforms and honcho read it."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from shared.core.errors import SettingsError

PROJECT_PROCFILE = Path(__file__).resolve().parent.parent.parent / "Procfile"
NOT_STARTED = frozenset({"release"})  # a step that runs before the processes; `yout up` migrates by itself
_LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(\S.*)")


def read_procfile(path: Path) -> dict[str, list[str]]:
    """The processes to start, in the file's order, each with its arguments.

    `python` and `yout` mean those of this environment. There is no shell: a command is a program and its arguments. Raises
    `SettingsError` for a line that is no process, and for a file without any.
    """
    try:
        lines = path.read_text().splitlines()
    except OSError as problem:
        raise SettingsError(f"The Procfile cannot be read: {problem}.") from None
    processes = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None:
            raise SettingsError(f"{path}, line {number}: a process is written as name: command, not {line!r}.")
        if found[1] not in NOT_STARTED:
            processes[found[1]] = _arguments(found[2], f"{path}, line {number}")
    if not processes:
        raise SettingsError(f"{path} names no process to start.")
    return processes


def _arguments(command: str, place: str) -> list[str]:
    try:
        program, *rest = shlex.split(command)
    except ValueError as problem:
        raise SettingsError(f"{place}: {problem}.") from None
    if program == "python":
        return [sys.executable, *rest]
    return [sys.executable, "-m", "yout", *rest] if program == "yout" else [program, *rest]
