"""Parses `DATABASE_URL`. libpq parses PostgreSQL URLs, so its documentation applies to them.

Options of other clients that only concern their pools and statements are ignored; other unknown options are refused.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from shared.errors import SettingsError
from shared.setting_values import is_host_name

# Pool and prepared statement options of Prisma, Rails, SQLAlchemy, asyncpg, pgjdbc and node-postgres.
IGNORED = frozenset(
    {
        *(
            "connection_limit",
            "pool",
            "pool_size",
            "pool_timeout",
            "max_overflow",
            "max_idle_connection_lifetime",
            "socket_timeout",
        ),
        *("statement_cache_size", "prepared_statement_cache_size", "prepared_statements", "prepareThreshold", "uselibpqcompat"),
    }
)
_UNREADABLE = "DATABASE_URL cannot be parsed; percent-encode special characters in its password (%XX)."
_ACCEPTED = frozenset({"pgbouncer", "supa"})  # poolers are detected without it


def postgres_arguments(url: str) -> dict[str, Any]:
    """The connection parameters in a `postgres://` URL, as libpq names them; several hosts are tried in turn.

    Raises `SettingsError`; the message never quotes a possible password.
    """
    base, _, query = url.partition("?")
    kept = [pair for pair in query.split("&") if pair and not _is_foreign(*_pair(pair))]
    try:
        found = conninfo_to_dict(f"{base}?{'&'.join(kept)}" if kept else base)
    except psycopg.Error:
        raise SettingsError(_UNREADABLE) from None
    arguments = {name: value for name, value in found.items() if value is not None}
    if not arguments.get("dbname"):
        raise SettingsError("DATABASE_URL names no database; it should end in /name.")
    if not all(map(_is_port, str(arguments.get("port", "")).split(","))):
        raise SettingsError(_UNREADABLE)  # a slash in a password ends the host early
    if not all(host.startswith("/") or is_host_name(host) for host in str(arguments.get("host", "")).split(",") if host):
        raise SettingsError("DATABASE_URL names a host that cannot exist.")
    return arguments


def ignored_options(url: str) -> list[str]:
    """The names of options in `url` that have no effect here."""
    return [name for name, _ in map(_pair, url.partition("?")[2].split("&")) if name in IGNORED]


def sqlite_path(url: str) -> str:
    """The file that a `sqlite:///` URL names. Raises `SettingsError`."""
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc:
        raise SettingsError("DATABASE_URL must have three slashes, sqlite:///path/to/yout.db, or four for an absolute path.")
    if parts.query:
        raise SettingsError("DATABASE_URL must not have options after a SQLite file; remove what follows the question mark.")
    path = path[1:]  # the third slash belongs to the URL; a fourth begins an absolute path
    if not path:
        raise SettingsError("DATABASE_URL names no file; write sqlite:///path/to/yout.db.")
    if path == ":memory:":
        raise SettingsError("DATABASE_URL must name a file; an in-memory database cannot be shared by the processes.")
    return path


def _is_port(text: str) -> bool:
    return not text or (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65_536)


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return unquote(name), unquote(value)


def _is_foreign(name: str, value: str) -> bool:
    """Whether an option belongs to another client and is ignored. Raises `SettingsError` for an unknown one."""
    if name in IGNORED | _ACCEPTED:
        return True
    if not name.isidentifier():  # the rest of a password with a question mark in it
        raise SettingsError(_UNREADABLE)
    if name == "schema":
        if value != "public":
            raise SettingsError(
                "DATABASE_URL has a schema option, but only 'public' is supported; set the role's search_path instead."
            )
        return True
    if name != "ssl" and name not in _known():
        raise SettingsError(f"DATABASE_URL has an unknown option {name[:40]!r}; remove it.")
    return False


def _known() -> frozenset[str]:
    return frozenset(option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults())
