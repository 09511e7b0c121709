"""Parsing `DATABASE_URL` as libpq does, and options of other clients in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shared.core.database import open_database
from shared.core.database_url import ignored_options, postgres_arguments, sqlite_path
from shared.core.errors import SettingsError
from tests.servers.process import free_port


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://db/yout", {"host": "db", "dbname": "yout"}),
        (
            "postgresql://ada:p%40ss%2F%23@db:5433/yout?sslmode=require",
            {"host": "db", "port": "5433", "user": "ada", "password": "p@ss/#", "dbname": "yout", "sslmode": "require"},
        ),
        ("postgresql:///yout?host=/run/postgresql", {"host": "/run/postgresql", "dbname": "yout"}),
        ("postgresql://[::1]:5/yout", {"host": "::1", "port": "5", "dbname": "yout"}),
        (
            "postgresql://one:5432,two:5433/yout?target_session_attrs=read-write",
            {"host": "one,two", "port": "5432,5433", "dbname": "yout", "target_session_attrs": "read-write"},
        ),
        ("postgres://db/yout?ssl=true", {"host": "db", "dbname": "yout", "sslmode": "require"}),
        ("postgres://db/yout?pgbouncer=true&connection_limit=1&schema=public", {"host": "db", "dbname": "yout"}),
        ("postgres://db/yout?options=endpoint%3Dx", {"host": "db", "dbname": "yout", "options": "endpoint=x"}),
    ],
)
def test_accepted_urls(url: str, expected: dict[str, str]) -> None:
    assert postgres_arguments(url) == expected


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgres://db", "has no database name"),
        ("postgres://db/", "has no database name"),
        ("postgres://db:many/yout", "cannot be parsed"),
        ("postgres://db:99999/yout", "cannot be parsed"),
        ("postgres://db:²/yout", "cannot be parsed"),
        ("postgres://one,a..b/yout", "invalid host name"),
        ("postgres://ada:hunter%zz2@db/yout", "cannot be parsed"),
        ("postgres://ada:hunter/2@db/yout", "cannot be parsed"),
        ("postgres://ada:hunter?2@db/yout", "cannot be parsed"),
        ("postgres://db/yout?schema=private", "schema option"),
        ("postgres://db/yout?sslacept=strict", "unknown option 'sslacept'; remove it"),
        ("postgres://db/yout?sslmode=require&charset=utf8", "unknown option 'charset'; remove it"),
    ],
)
def test_rejected_urls(url: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as refused:
        open_database(url)
    assert "hunter" not in str(refused.value)


def test_ignored_options_are_reported() -> None:
    url = "postgres://db/yout?sslmode=require&connection_limit=1&pgbouncer=true&pool_timeout=3"
    assert ignored_options(url) == ["connection_limit", "pool_timeout"]


def test_several_hosts_are_tried_in_turn(postgres_url: str) -> None:
    server = postgres_url.partition("@")[2]
    two: Any = open_database(
        f"postgresql://postgres@127.0.0.1:{free_port()},{server}?target_session_attrs=read-write&pgbouncer=true"
    )
    with two.connection_context():
        assert two.execute_sql("SELECT 1").fetchone() == (1,)
    two.close_all()


@pytest.mark.parametrize(("url", "path"), [("sqlite:///x/yout.db", "x/yout.db"), ("sqlite:////x/a%20b.db", "/x/a b.db")])
def test_a_file(url: str, path: str) -> None:
    assert sqlite_path(url) == path


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite://yout.db", "three slashes"),
        ("sqlite:///", "has no file name"),
        ("sqlite:///:memory:", "must point to a file"),
        ("sqlite:///yout.db?mode=ro", "options"),
    ],
)
def test_no_file(url: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        open_database(url)


def test_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="cannot be created: Not a directory"):
        open_database(f"sqlite:///{tmp_path}/file/inside/yout.db")
