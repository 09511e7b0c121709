"""A process on SQLite without PostgreSQL's driver: what it loads, and that its database errors are still told apart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.process import ROOT, START_SECONDS

PROGRAM = """
import sqlite3
from shared.core.sqlite_only import leave_out_psycopg
leave_out_psycopg()
import peewee
from shared.core.database import open_database
from shared.core.database_errors import classify_error, describe_error, sqlstate
from shared.ledger import reserve

print(peewee.psycopg is not None)
database = peewee.SqliteDatabase(":memory:")
for sql in ("SELECT * FROM missing", "SELECT ?"):
    try:
        database.execute_sql(sql)
    except peewee.PeeweeException as error:
        print(classify_error(error).name, describe_error(error), sqlstate(error))
print(classify_error(peewee.OperationalError("lost")).name, classify_error(ValueError()).name)
"""
ERRORS = [
    "BUG OperationalError (SQLITE_ERROR) None",
    "BUG ProgrammingError None",
    "TEMPORARY BUG",
]


def run(folder: Path, url: str) -> list[str]:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DATABASE_URL": url}
    command = [sys.executable, "-c", PROGRAM]
    return subprocess.check_output(command, cwd=folder, env=environ, text=True, timeout=START_SECONDS).splitlines()


def test_sqlite_needs_no_driver(tmp_path: Path) -> None:
    assert run(tmp_path, f"sqlite:///{tmp_path}/yout.db") == ["False", *ERRORS]


@pytest.mark.parametrize("url", ["postgresql://localhost/yout", "mysql://localhost/yout"])
def test_other_processes_load_it(tmp_path: Path, url: str) -> None:
    assert run(tmp_path, url) == ["True", *ERRORS]
