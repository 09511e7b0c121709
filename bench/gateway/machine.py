"""Process and core statistics from Linux: CPU time, memory, and core utilization."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


class Cores(NamedTuple):
    """Two cores: one for the gateway alone; one for the upstream, the load, and the gateway's servers."""

    gateway: int
    load: int


def choose_cores() -> Cores:
    """Return the first and the last core that this process may use. Raises `SystemExit` if there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise SystemExit("The benchmark needs two cores: one for the gateway, one for the load.")
    return Cores(allowed[0], allowed[-1])


def family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
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
    """Return user and system time of a process and its descendants, including those that have ended."""
    ticks = 0
    for member in family(pid):
        ticks += sum(int(value) for value in _stat(member)[11:15])
    return ticks / _TICKS_A_SECOND


def memory_kb(pid: int) -> int:
    """Return the proportional set size of a process and its descendants, which divides shared pages between them."""
    total = 0
    for member in family(pid):
        try:
            lines = (_PROC / str(member) / "smaps_rollup").read_text().splitlines()
        except OSError:  # it exited in the meantime
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def busy_seconds(core: int) -> float:
    """Return the non-idle time of a core since boot."""
    line = next(line for line in (_PROC / "stat").read_text().splitlines() if line.startswith(f"cpu{core} "))
    user, nice, system, _idle, _waiting, *interrupts = (int(value) for value in line.split()[1:9])
    return (user + nice + system + sum(interrupts)) / _TICKS_A_SECOND


def _stat(pid: int) -> list[str]:
    """Return the fields of proc(5)'s `stat` after the command name (the state is the first); empty if the process is gone."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
