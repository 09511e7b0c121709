"""What Linux tells of processes and cores: CPU time, memory, and how busy a core was."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


class Cores(NamedTuple):
    """Two cores: one for the gateway alone, one for the upstream, the load, and the servers that a gateway uses."""

    gateway: int
    load: int


def choose_cores() -> Cores:
    """The first and the last core that this process may use. Raises `SystemExit` when there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise SystemExit("The benchmark needs two cores: one for the gateway, one for the load.")
    return Cores(allowed[0], allowed[-1])


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        member = waiting.pop()
        found.append(member)
        waiting += children.get(member, [])
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, its descendants, and those of them that have ended."""
    ticks = 0
    for member in family(pid):
        ticks += sum(int(value) for value in _stat(member)[11:15])
    return ticks / _TICKS_A_SECOND


def memory_kb(pid: int) -> int:
    """Proportional set size of a process and its descendants: shared pages count once, by parts."""
    total = 0
    for member in family(pid):
        try:
            lines = (_PROC / str(member) / "smaps_rollup").read_text().splitlines()
        except OSError:  # it ended in between
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def busy_seconds(core: int) -> float:
    """Time that a core was not idle since the machine started."""
    line = next(line for line in (_PROC / "stat").read_text().splitlines() if line.startswith(f"cpu{core} "))
    user, nice, system, _idle, _waiting, *interrupts = (int(value) for value in line.split()[1:9])
    return (user + nice + system + sum(interrupts)) / _TICKS_A_SECOND


def _stat(pid: int) -> list[str]:
    """The fields of proc(5)'s `stat` after the command's name (the state is the first); none when the process is gone."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
