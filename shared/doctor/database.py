"""Checks of the database, and of what it contains."""

from __future__ import annotations

import socket
import sqlite3
import ssl
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import peewee
import redis

from shared.core.billing_periods import next_month_start
from shared.core.clock import now_ms
from shared.core.database import is_sqlite, transaction
from shared.core.database_errors import is_temporary
from shared.core.redis_client import open_client
from shared.core.schema_version import require_current
from shared.core.settings import Settings
from shared.doctor.runner import CheckFailed
from shared.ledger.partitions import TABLES, has_default_rows, is_owner, list_partitions
from shared.ledger.probe import probe_writes
from shared.models import AIModel, AlertCheck, AuditEntry, Channel, ChannelModel, PurgeJob
from shared.sealed_columns import count_undecryptable, require_secret_key
from shared.startup import require_readable, require_rights

MIN_POSTGRES = 140_000  # older releases are no longer maintained
MIN_SQLITE = (3, 35, 0)  # the first with RETURNING
MAX_SKEW_MS = 2_000
WORKER_SECONDS = 180  # workers evaluate the alerts every minute
CONNECT_SECONDS = 3.0
_MAX_CONNECTIONS = 16
_CHANNELS_SECONDS = 8.0  # for all channels, below the deadline of a check
_MAX_NAMED = 5


def check_database(settings: Settings, target: peewee.Database) -> str:
    """Fail if the database cannot be reached, is too old, or refuses a write. Writes a row, which is rolled back."""
    try:
        require_readable(target)
        with target.connection_context():
            _check_version(target)
            require_rights(target)
            if target.table_exists("audit_entry"):
                _try_write()
    except peewee.PeeweeException as error:
        lines = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
        what = "The database of DATABASE_URL is unavailable" if is_temporary(error) else "The database refuses a write"
        hint = "Check that the server is up, that address, user and password are right, and that it is not read-only or full."
        raise CheckFailed(f"{what}: {lines}. {hint}") from None
    if is_sqlite(target) and settings.production:
        return "SQLite stores everything on this machine's disk: run `yout backup` regularly."
    return ""


def _check_version(target: Any) -> None:
    if is_sqlite(target):
        if sqlite3.sqlite_version_info < MIN_SQLITE:
            raise CheckFailed(f"SQLite {sqlite3.sqlite_version} is too old: use Python with SQLite 3.35 or newer.")
        return
    version = target.connection().info.server_version
    if version < MIN_POSTGRES:
        raise CheckFailed(
            f"PostgreSQL {version // 10_000} is too old: use {MIN_POSTGRES // 10_000} or newer. The tests run on 18."
        )


class _RolledBack(Exception):
    """Rolls back the trial write."""


def _try_write() -> None:
    with suppress(_RolledBack), transaction():
        probe_writes()
        AuditEntry.create(actor="doctor", action="doctor.write", target="rolled back")
        raise _RolledBack


def check_migrations(target: peewee.Database) -> str:
    """Fail if the schema does not match this code."""
    with target.connection_context():
        require_current(target)
    return ""


def check_secret_key(settings: Settings, target: peewee.Database) -> str:
    """Fail if SECRET_KEY does not decrypt the stored values. The remark mentions values that only a former key decrypts."""
    with target.connection_context():
        require_secret_key(target, settings.secret_key)
        wrong = count_undecryptable(target, settings.secret_key)
        former = count_undecryptable(target, str(settings.secret_key))
    if wrong:
        shown = ", ".join(f"{count} {label}" for label, count in wrong.items())
        raise CheckFailed(
            f"SECRET_KEY does not decrypt {shown}. Run `yout secret rotate --former` with the key that they were encrypted with,"
            " or enter them again in the console."
        )
    if former:
        return "Some values are still encrypted with the former SECRET_KEY: run `yout secret rotate`."
    if settings.secret_key.fallback:
        return "Nothing needs SECRET_KEY_FALLBACK: unset it once all processes use the new SECRET_KEY."
    return ""


def check_clock(settings: Settings, target: peewee.Database | None) -> str:
    """Fail if the clocks of this machine, the database server and Redis differ by more than `MAX_SKEW_MS`."""
    skews = {}
    if target is not None and not is_sqlite(target):
        with suppress(peewee.PeeweeException):  # the check `database` reports it
            skews["the database server"] = _skew(partial(_database_time, target))
    with suppress(redis.RedisError):  # the check `redis` reports it
        skews["Redis"] = _skew(partial(_redis_time, settings))
    wrong = [f"{abs(skew) / 1000:.1f} s from the clock of {name}" for name, skew in skews.items() if abs(skew) > MAX_SKEW_MS]
    if wrong:
        raise CheckFailed(
            f"This machine's clock differs by {', '.join(wrong)}. Run an NTP client, such as chrony, on all machines."
        )
    return ""


def _skew(read: Callable[[], int]) -> int:
    """Return by how many milliseconds another clock is ahead, assuming that request and response took equally long."""
    before = now_ms()
    theirs = read()
    return theirs - (before + now_ms()) // 2


def _database_time(target: peewee.Database) -> int:
    with target.connection_context():
        row = target.execute_sql("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)").fetchone()
    return int(row[0])


def _redis_time(settings: Settings) -> int:
    with open_client(settings.redis_url, CONNECT_SECONDS, CONNECT_SECONDS) as client:
        seconds, microseconds = client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def check_worker(target: peewee.Database) -> str:
    """Fail if no worker has evaluated the alerts for `WORKER_SECONDS`."""
    with target.connection_context():
        if not target.table_exists(AlertCheck._meta.table_name):
            raise CheckFailed("The database has no table for this check yet. Run `yout migrate`.")
        checked_at = AlertCheck.select(AlertCheck.checked_at).where(AlertCheck.id == 1).scalar() or 0
    age = (now_ms() - checked_at) // 1000
    if age <= WORKER_SECONDS:
        return ""
    since = f"No worker has run for {timedelta(seconds=age)}" if checked_at else "No worker has run yet"
    raise CheckFailed(f"{since}. Start one (`worker` in the Procfile, or `yout up`), and read its log if it exits.")


def check_partitions(target: peewee.Database) -> str:
    """Fail if `usage_ledger` or `ledger_entry` has no partition for the next month, or rows outside of its partitions."""
    with target.connection_context():
        needed = next_month_start(next_month_start(now_ms()))
        missing = [table for table in TABLES if not any(each.until >= needed for each in list_partitions(table))]
        misplaced = [f"{table}_default" for table in TABLES if has_default_rows(table)]
        advice = "Read the worker's log." if is_owner() else "Run `yout migrate` as their owner, at least once a month."
    if missing:
        raise CheckFailed(f"No partition for the next month: {', '.join(missing)}. {advice}")
    if misplaced:
        raise CheckFailed(
            f"There are rows in {', '.join(misplaced)}, because a partition was missing or a machine's clock was wrong. {advice}"
        )
    return ""


def check_purges(target: peewee.Database) -> str:
    """Fail if a worker refuses purges, because ledger entries that they replace were changed."""
    with target.connection_context():
        refused = (PurgeJob.status != "done") & PurgeJob.problem.is_null(False)
        jobs = list(PurgeJob.select(PurgeJob.id, PurgeJob.problem).where(refused).order_by(PurgeJob.id).limit(_MAX_NAMED + 1))
    if jobs:
        shown = "; ".join(f"{job.id} ({job.problem})" for job in jobs[:_MAX_NAMED]) + ("; and more" if jobs[_MAX_NAMED:] else "")
        raise CheckFailed(
            f"Refused purges: {shown}. Someone may have changed the database: run `yout ledger verify`, keep a dump, and restore"
            " the changed rows from a backup. The purges go on by themselves."
        )
    return ""


def check_channels(target: peewee.Database) -> str:
    """Fail if a channel that serves a model cannot be connected to. Sends no request."""
    with target.connection_context():
        urls = _channel_urls()
    reasons = _connection_failures(set(urls.values()))
    failed = [f"{name} ({reasons[url]})" for name, url in urls.items() if reasons[url]]
    if failed:
        shown = ", ".join(failed[:_MAX_NAMED]) + (f" and {len(failed) - _MAX_NAMED} others" if len(failed) > _MAX_NAMED else "")
        raise CheckFailed(
            f"Cannot connect to {shown}. Check the base URL, DNS and firewall, or pause the channel in the console."
        )
    return ""


def _channel_urls() -> dict[str, str]:
    """Return the base URLs of the channels that serve an enabled model, by name."""
    now = now_ms()
    serving = (Channel.status == "active") & (Channel.out_until.is_null() | (Channel.out_until <= now))
    routes = ChannelModel.select(Channel.name, Channel.base_url).join(Channel).switch(ChannelModel).join(AIModel)
    rows: Any = routes.where(serving & (ChannelModel.status == "active") & (AIModel.status == "active")).distinct().tuples()
    return dict(rows)


def _connection_failures(urls: Collection[str]) -> dict[str, str]:
    """Return why each URL cannot be connected to, or "". Unlike those of a pool, these threads do not block the exit."""
    reasons: dict[str, str] = {}
    remaining = iter(list(urls))

    def connect() -> None:
        for url in remaining:
            reasons[url] = _connection_failure(url)

    count = min(_MAX_CONNECTIONS, len(urls))
    threads = [threading.Thread(target=connect, name="check of channels", daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + _CHANNELS_SECONDS
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return {url: reasons.get(url, "not checked in time") for url in urls}


def _connection_failure(url: str) -> str:
    """Return why a connection (with TLS for https) cannot be made, or ""."""
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((parts.hostname or "", port), CONNECT_SECONDS) as plain:
            if parts.scheme == "https":
                ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname).close()
    except ssl.SSLCertVerificationError as error:
        return f"certificate not valid: {error.verify_message}"
    except TimeoutError:
        return "no answer"
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or type(error).__name__
    return ""
