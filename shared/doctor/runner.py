"""Runs checks in parallel, each in a thread of its own and with a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import peewee

from shared.core.errors import YoutError
from shared.core.failure_report import describe_failure

DEADLINE_SECONDS = 10.0


class Check(NamedTuple):
    """The result of a check. `advice` says what to do; if the check passed, it is a remark or empty."""

    name: str
    ok: bool
    advice: str = ""


class CheckFailed(Exception):
    """A check failed. The message says what is wrong, and what to do."""


def run_checks(
    checks: Mapping[str, Callable[[], str]],
    needs: Mapping[str, str] = MappingProxyType({}),
    deadline_seconds: float = DEADLINE_SECONDS,
) -> list[Check]:
    """Run all checks at once and return their results in the same order, within the deadline.

    A check returns a remark or "", or raises `CheckFailed` or another error with a message. A check that `needs` another one
    waits for it, and fails if that one failed. A check that does not end in time fails; its thread does not keep the process
    alive.
    """
    results: dict[str, Check] = {}
    threads: dict[str, threading.Thread] = {}
    for name, check in checks.items():
        needed = threads.get(needs.get(name, ""))
        threads[name] = threading.Thread(target=_run, args=(name, check, needed, results), name=f"check {name}", daemon=True)
        threads[name].start()
    until = time.monotonic() + deadline_seconds
    for thread in threads.values():
        thread.join(max(0.0, until - time.monotonic()))
    late = f"No result within {deadline_seconds:g} s. Check that the server responds, and that no firewall is in between."
    return [results.get(name) or Check(name, False, late) for name in checks]


def _run(name: str, check: Callable[[], str], needed: threading.Thread | None, results: dict[str, Check]) -> None:
    if needed is not None:
        needed.join()
        other = needed.name.removeprefix("check ")
        if not results[other].ok:
            results[name] = Check(name, False, f"Not checked, because the check `{other}` failed.")
            return
    results[name] = _result(name, check)


def _result(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, True, check())
    except (CheckFailed, YoutError) as failed:
        return Check(name, False, str(failed))
    except peewee.PeeweeException as error:
        lines = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
        return Check(name, False, f"The database returned an error: {lines}")
    except Exception as error:  # a check that fails in an unknown way must not hide the others
        where = describe_failure(error).splitlines()
        return Check(name, False, f"The check itself failed: {where[0]}, {where[-1].strip()}. Please report it.")
