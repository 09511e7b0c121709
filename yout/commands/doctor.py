"""`yout doctor`: check everything that this installation needs, and say how to fix it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from shared.core.settings import Settings
from yout.arguments import CommandContext, Commands, Parser, add_command
from yout.result import Result

if TYPE_CHECKING:  # these import the tables, which `--help` does not need
    from shared.doctor import Check

ANSWER_SECONDS = 6  # timeout of a database statement, below the deadline of a check


def register(commands: Commands[Parser]) -> None:
    add_command(commands, "doctor", "check the installation and say how to fix problems", _doctor, database=False)


def _doctor(_call: CommandContext) -> Result:
    import logging

    from shared.doctor.local import check_settings

    logging.getLogger().addHandler(logging.NullHandler())  # the checks report the failures that these modules would log
    first, settings = check_settings()
    checks = [first]
    if settings is not None:
        checks += _run_all(settings)
    ok = all(check.ok for check in checks)
    lines = [f"{'ok  ' if check.ok else 'FAIL'} {check.name:13}{check.advice}".rstrip() for check in checks]
    failed = sum(not check.ok for check in checks)
    summary = "All checks passed." if ok else f"{failed} of {len(checks)} checks failed."
    data = {"ok": ok, "checks": [check._asdict() for check in checks]}
    return Result(data, "\n".join([*lines, summary]), exit_code=0 if ok else 1)


def _run_all(settings: Settings) -> list[Check]:
    import threading

    from playhouse.pool import PooledDatabase

    from shared.core.database import bind_database, database, open_database
    from shared.core.database_url import sqlite_path
    from shared.core.errors import SettingsError
    from shared.doctor import NEEDS, Check, checks_of, run_checks

    problem, target = "", None
    if settings.uses_sqlite and not Path(sqlite_path(settings.database_url)).is_file():  # connecting would create it
        problem = f"There is no database at {sqlite_path(settings.database_url)}. Run `yout migrate`, or `yout restore` a backup."
    else:
        try:
            target = open_database(settings.database_url, statement_timeout_seconds=ANSWER_SECONDS)
        except SettingsError as error:
            problem = str(error)
    missing = [Check("database", False, problem)] if problem else []
    former = database.obj
    if target is not None:
        bind_database(target)
    try:
        return missing + run_checks(checks_of(settings, target) | {"limiter": partial(_check_limiter, settings)}, NEEDS)
    finally:
        database.initialize(former)
        running = any(thread.name.startswith("check ") for thread in threading.enumerate())
        if isinstance(target, PooledDatabase) and not running:  # a check that is still connecting holds the pool's lock
            target.close_idle()


def _check_limiter(settings: Settings) -> str:
    """Fail if the script of the edge's rate limits does not run on Redis, or on a node of the cluster."""
    import asyncio

    from edge.store.limiter import Limiter
    from shared.doctor import CheckFailed

    async def runs() -> bool:
        limiter = Limiter(settings.redis_url, 10)
        try:
            return await limiter.check()
        finally:
            await limiter.close()

    if not asyncio.run(runs()):
        raise CheckFailed(
            "The limiter's script does not run on Redis, so each edge process limits calls by itself."
            " Check that the server allows scripts (EVAL, EVALSHA) and answers within 0.5 s."
        )
    return ""
