"""Reads the Procfile: `name: command`, one process per line, as Heroku-like platforms and honcho do."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from shared.core.errors import SettingsError

PROJECT_PROCFILE = Path(__file__).resolve().parent.parent.parent / "Procfile"
NOT_STARTED = frozenset({"release"})  # runs before the processes on such platforms; `yout up` runs migrations itself
_LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(\S.*)")


def read_procfile(path: Path) -> dict[str, list[str]]:
    """Return the processes to start, in order, each with its arguments.

    `python` and `yout` are those of this environment. There is no shell: a command is a program and its arguments. Raises
    `SettingsError` for an invalid line, and for a file without processes.
    """
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise SettingsError(f"Cannot read the Procfile: {error}.") from None
    processes = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise SettingsError(f"{path}, line {number}: expected `name: command`, not {line!r}.")
        if match[1] not in NOT_STARTED:
            processes[match[1]] = _arguments(match[2], f"{path}, line {number}")
    if not processes:
        raise SettingsError(f"{path} defines no process to start.")
    return processes


def _arguments(command: str, place: str) -> list[str]:
    try:
        program, *rest = shlex.split(command)
    except ValueError as error:
        raise SettingsError(f"{place}: {error}.") from None
    if program == "python":
        return [sys.executable, *rest]
    return [sys.executable, "-m", "yout", *rest] if program == "yout" else [program, *rest]
