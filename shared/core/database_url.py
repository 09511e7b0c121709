"""Parses `DATABASE_URL`. PostgreSQL URLs are parsed by libpq, so its documentation applies to them.

Pool and statement options of other clients are ignored; other unknown options are rejected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from shared.core.errors import SettingsError
from shared.core.lazy_import import lazy_import
from shared.core.setting_values import is_host_name

if TYPE_CHECKING:
    import psycopg
else:
    psycopg = lazy_import("psycopg")  # an edge on SQLite has none

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
_ACCEPTED = frozenset({"pgbouncer", "supa"})  # not needed: poolers are detected


def postgres_arguments(url: str) -> dict[str, Any]:
    """Return the connection parameters of a `postgres://` URL, named as in libpq. Several hosts are tried in turn.

    Raises `SettingsError`. The message never quotes anything that could be a password.
    """
    base, _, query = url.partition("?")
    kept = [pair for pair in query.split("&") if pair and not _is_foreign(*_pair(pair))]
    try:
        found = psycopg.conninfo.conninfo_to_dict(f"{base}?{'&'.join(kept)}" if kept else base)
    except psycopg.Error:
        raise SettingsError(_UNREADABLE) from None
    arguments = {name: value for name, value in found.items() if value is not None}
    if not arguments.get("dbname"):
        raise SettingsError("DATABASE_URL has no database name; it should end in /name.")
    if not all(map(_is_port, str(arguments.get("port", "")).split(","))):
        raise SettingsError(_UNREADABLE)  # an unescaped slash in the password
    if not all(host.startswith("/") or is_host_name(host) for host in str(arguments.get("host", "")).split(",") if host):
        raise SettingsError("DATABASE_URL has an invalid host name.")
    return arguments


def ignored_options(url: str) -> list[str]:
    """Return the names of options in `url` that are ignored."""
    return [name for name, _ in map(_pair, url.partition("?")[2].split("&")) if name in IGNORED]


def sqlite_path(url: str) -> str:
    """Return the file path in a `sqlite:///` URL. Raises `SettingsError`."""
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc:
        raise SettingsError("DATABASE_URL must have three slashes (sqlite:///path/to/yout.db), or four for an absolute path.")
    if parts.query:
        raise SettingsError("DATABASE_URL must not have options for SQLite; remove the question mark and everything after it.")
    path = path[1:]  # without the third slash, which belongs to the URL
    if not path:
        raise SettingsError("DATABASE_URL has no file name; use sqlite:///path/to/yout.db.")
    if path == ":memory:":
        raise SettingsError("DATABASE_URL must point to a file; processes cannot share an in-memory database.")
    return path


def _is_port(text: str) -> bool:
    return not text or (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65_536)


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return unquote(name), unquote(value)


def _is_foreign(name: str, value: str) -> bool:
    """Return whether an option of another client is to be ignored. Raises `SettingsError` for an unknown option."""
    if name in IGNORED | _ACCEPTED:
        return True
    if not name.isidentifier():  # an unescaped question mark in the password
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
