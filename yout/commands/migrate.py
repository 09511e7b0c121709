"""`yout migrate`: bring the schema up to date, or fail the deploy."""

from __future__ import annotations

from yout.arguments import Commands, Invocation, Parser, add_command
from yout.result import Result


def register(commands: Commands[Parser]) -> None:
    add_command(commands, "migrate", "bring the database to the schema of this code", _migrate, database=False)


def _migrate(call: Invocation) -> Result:
    from shared.schema import MIGRATIONS, migrate, require_current
    from yout.secret_key import ensure_secret_key
    from yout.session import database_session

    with database_session(ensure_secret_key(call.settings), check_schema=False) as database:
        applied = migrate(database)
        require_current(database)
    current = max(path.stem for path in MIGRATIONS.glob("[0-9]*.py"))
    text = "\n".join(f"Applied {name}." for name in applied) or f"Nothing to do: the schema is at {current}."
    return Result({"id": current, "applied": applied}, text)
