"""`yout migrate`: migrate the database schema."""

from __future__ import annotations

import signal
import sys

from yout.arguments import CommandContext, Commands, Parser, add_command
from yout.result import Result


def register(commands: Commands[Parser]) -> None:
    add_command(commands, "migrate", "migrate the database to the current schema", _migrate, database=False)


def _migrate(call: CommandContext) -> Result:
    from shared.core.clock import now_ms
    from shared.core.procfile_runner import process_name
    from shared.core.schema_version import MIGRATIONS, migrate, require_current
    from shared.ledger.partitions import create_partitions
    from shared.sealed_columns import require_secret_key
    from yout.command_database import database_session
    from yout.secret_key import ensure_secret_key

    settings = ensure_secret_key(call.settings)
    with database_session(settings, check_schema=False) as database:
        applied = migrate(database)
        create_partitions(now_ms())  # for workers that may not create tables
        require_current(database)
        require_secret_key(database, settings.secret_key)
    current = max(path.stem for path in MIGRATIONS.glob("[0-9]*.py"))
    text = "\n".join(f"Applied {name}." for name in applied) or f"The schema is up to date ({current})."
    if name := process_name():
        print(f"{text} {name} waits until it is stopped, because the others would end with it.", file=sys.stderr, flush=True)
        signal.pause()
    return Result({"id": current, "applied": applied}, text)
