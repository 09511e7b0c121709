"""A startup failure prints one line and exits with an error code, never a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.databases import opened
from tests.servers.edge import SECRET_KEY
from tests.servers.process import ROOT, START_SECONDS


def start(folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m edge`, which is expected to exit with an error."""
    settings = {"SECRET_KEY": SECRET_KEY, "YOUT_DATA_DIR": str(folder), "PYTHONPATH": str(ROOT), **environ}
    argv = [sys.executable, "-m", "edge"]
    return subprocess.run(argv, env=settings, cwd=folder, capture_output=True, text=True, timeout=START_SECONDS, check=False)


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"YOUT_EDGE_PORT": "http"}, "YOUT_EDGE_PORT must be a whole number"),
        ({"YOUT_ENV": "production", "SECRET_KEY": ""}, "SECRET_KEY must be set"),
        ({"YOUT_EDGE_WORKERS": "2"}, "must be 1 with SQLite"),
        ({"DATABASE_URL": "mysql://somewhere/yout"}, "DATABASE_URL must start with"),
        (
            {"DATABASE_URL": "postgres://db/yout?connect_timeout=soon"},
            "DATABASE_URL cannot be used: bad value for",
        ),
        ({"DATABASE_URL": "sqlite:///text.db"}, "DATABASE_URL cannot be used: file is not a database"),
    ],
)
def test_an_invalid_or_insecure_setting_prevents_startup(tmp_path: Path, environ: dict[str, str], words: str) -> None:
    (tmp_path / "text.db").write_text("Not a database. " * 100)
    refused = start(tmp_path, **environ)
    assert refused.returncode == 2
    assert refused.stderr.startswith("edge: ")
    assert words in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_an_unknown_schema_version_prevents_startup(tmp_path: Path, sqlite_url: str) -> None:
    empty = start(tmp_path, DATABASE_URL=f"sqlite:///{tmp_path}/empty.db")
    assert (empty.returncode, empty.stderr.count("\n")) == (2, 1)
    assert "Run `yout migrate` first" in empty.stderr
    with opened(sqlite_url) as database:
        database.execute_sql("INSERT INTO schema_migration (name, applied) VALUES ('9999_drop_names_since_99_0', '2026-01-01')")
    newer = start(tmp_path, DATABASE_URL=sqlite_url)
    assert (newer.returncode, newer.stderr.count("\n")) == (2, 1)
    assert "newer than this code" in newer.stderr


def test_an_unreachable_database_prevents_startup(tmp_path: Path) -> None:
    refused = start(tmp_path, DATABASE_URL="postgresql://nobody@127.0.0.1:1/yout")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert refused.stderr.startswith("edge: The database of DATABASE_URL is unavailable: ")
