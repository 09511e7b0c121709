"""Leaves PostgreSQL's driver out of a process that uses SQLite: 7 MB and 0.04 s. Peewee imports it whenever it is installed."""

from __future__ import annotations

import sys

from shared.core.errors import YoutError
from shared.core.settings import Settings


def leave_out_psycopg() -> None:
    """Make `import psycopg` fail in this process if it uses SQLite. Call it before Peewee is imported."""
    try:
        settings = Settings.load()
    except (YoutError, OSError):  # `run_process` reports it
        return
    if settings.uses_sqlite:
        sys.modules["psycopg"] = None  # type: ignore[assignment]  # "The import system" of Python defines what None does
