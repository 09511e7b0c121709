"""Detects the current conditions. Each function reads the bound database, or this machine, and changes nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

from peewee import SQL, fn

from shared.alerts.state import Condition, Observation
from shared.core.database import database
from shared.core.machine import CLEAR_FACTOR, GIB, disk_spaces
from shared.core.settings import Settings
from shared.core.tls_certificates import MIN_DAYS, days_left, tls_servers
from shared.ledger.visitor_pool import MIN_CALL_CREDITS, POOL_ACCOUNT_ID
from shared.mail.outbox import count_overdue
from shared.models import Account, ApiKey, AuditEntry, Channel, Hold, MediaJob, PurgeJob
from shared.operations.channel_checks import flagged_channels
from shared.operations.price_check import latest_check
from shared.rollup import Scope, TimeSpan, read_figures

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
CALLS_MS = 10 * MINUTE_MS  # period over which the calls of a channel are counted
MIN_CALLS = 5  # with fewer calls, the share of failures means little
FAILING_SHARE = 0.25  # a channel is failing from this share of failed calls on
RECOVERED_SHARE = 0.1  # and has recovered at this share or less
STUCK_JOB_MS = 10 * MINUTE_MS  # in the queue
LATE_MS = MINUTE_MS  # after a job's deadline
STALE_HOLD_MS = 5 * MINUTE_MS  # after a hold's deadline: workers expire holds every 10 s
LATE_PURGE_MS = HOUR_MS
EXPIRING_KEY_MS = 7 * DAY_MS
LONG_KEY_MS = 30 * DAY_MS  # keys with a shorter lifetime are meant to expire
OLD_BACKUP_MS = 8 * DAY_MS
BACKUP_ACTION = "backup.create"  # in the audit log
MAX_COUNT = 1_000
LOCAL_KINDS = ("disk_full",)  # about one machine
EXPIRY_KINDS = ("certificate_expiring", "keys_expiring")  # slower to check, and slow to change
CALL_KINDS = ("channel_failing", "no_channel")
OTHER_KINDS = (
    *("channel_flagged", "price_below_cost", "jobs_stuck", "purges_stuck", "purges_refused", "mail_unsent"),
    *("holds_stale", "visitor_pool_empty", "backup_old"),
)


def observe_calls(now: int) -> Observation:
    """Find channels whose calls fail, and calls for which no channel was available."""
    names: Any = Channel.select(Channel.id, Channel.name).where(Channel.status == "active").tuples()
    active, recovered = [], {("channel_failing", str(id)) for (id,) in _disabled_channels()}
    groups = read_figures(Scope(), TimeSpan(now - CALLS_MS, now), "channel", now).groups
    for id, name in names:
        tally = groups.get(id)
        if tally is None or tally.calls < MIN_CALLS or tally.error_rate is None:
            continue
        if tally.error_rate >= FAILING_SHARE:
            details = {"name": name, "failed": tally.failed, "calls": tally.calls}
            active.append(Condition("channel_failing", str(id), details))
        elif tally.error_rate <= RECOVERED_SHARE:
            recovered.add(("channel_failing", str(id)))
    unserved = groups.get(None)
    if unserved is not None and unserved.failed >= MIN_CALLS:
        active.append(Condition("no_channel", "", {"failed": unserved.failed}))
    return Observation(CALL_KINDS, active, needs_recovery=("channel_failing",), recovered=recovered)


def _disabled_channels() -> Iterable[Any]:
    rows: Iterable[Any] = Channel.select(Channel.id).where(Channel.status != "active").tuples()
    return rows


def observe_rows(settings: Settings, now: int) -> Observation:
    """Find all other conditions that are visible in the database."""
    overdue = (PurgeJob.status != "done") & (PurgeJob.due_at < now - LATE_PURGE_MS)
    stale = (Hold.state == "held") & (Hold.expires_at < now - STALE_HOLD_MS)
    found = [
        *(Condition("channel_flagged", str(channel.id), {"name": channel.name}) for channel, _ in flagged_channels()),
        *_prices(),
        *_counted("jobs_stuck", _stuck_jobs(now)),
        *_counted("purges_stuck", PurgeJob.select(SQL("1")).where(overdue)),
        *_refused_purges(),
        *_counted("holds_stale", Hold.select(SQL("1")).where(stale)),
        *_pool(settings),
        *_backup(now),
    ]
    unsent = count_overdue()
    if unsent:
        found.append(Condition("mail_unsent", "", {"count": unsent}))
    return Observation(OTHER_KINDS, found)


def _counted(kind: str, query: Any) -> list[Condition]:
    count = int(query.limit(MAX_COUNT).count())
    return [Condition(kind, "", {"count": count})] if count else []


def _prices() -> list[Condition]:
    below = latest_check().below
    if not below:
        return []
    return [Condition("price_below_cost", "", {"count": len(below), "models": [one["model"] for one in below[:3]]})]


def _stuck_jobs(now: int) -> Any:
    waits = (MediaJob.status == "queued") & (MediaJob.created_at < now - STUCK_JOB_MS)
    late = MediaJob.finished_at.is_null() & (MediaJob.deadline_at < now - LATE_MS)
    return MediaJob.select(SQL("1")).where(waits | late)


def _refused_purges() -> list[Condition]:
    refused = (PurgeJob.status != "done") & PurgeJob.problem.is_null(False)
    problems = [row.problem for row in PurgeJob.select(PurgeJob.problem).where(refused).order_by(PurgeJob.id).limit(MAX_COUNT)]
    return [Condition("purges_refused", "", {"count": len(problems), "problem": problems[0]})] if problems else []


def _expiring_keys(now: int) -> Any:
    expires = (ApiKey.expires_at > now) & (ApiKey.expires_at < now + EXPIRING_KEY_MS) & ApiKey.revoked_at.is_null()
    return ApiKey.select(SQL("1")).where(expires & (ApiKey.expires_at - ApiKey.created_at >= LONG_KEY_MS))


def _pool(settings: Settings) -> list[Condition]:
    if not settings.visitor_pool_credits:
        return []
    pool: Any = Account.select(Account.balance, Account.held).where(Account.id == POOL_ACCOUNT_ID).tuples().first()
    if pool is None or pool[0] - pool[1] >= MIN_CALL_CREDITS:
        return []
    return [Condition("visitor_pool_empty", "", {"credits": settings.visitor_pool_credits})]


def _backup(now: int) -> list[Condition]:
    """Return the condition of an old backup, if `yout backup` was ever used."""
    made_at = AuditEntry.select(fn.MAX(AuditEntry.created_at)).where(AuditEntry.action == BACKUP_ACTION).scalar()
    if made_at is None or made_at >= now - OLD_BACKUP_MS:
        return []
    return [Condition("backup_old", "", {"days": (now - made_at) // DAY_MS})]


def observe_machine(settings: Settings) -> tuple[Observation, str]:
    """Find full disks of this machine. Also returns the machine's name, which is the subject of its alerts."""
    host = socket.gethostname()[:200]
    spaces = disk_spaces(settings)
    low = [space for space in spaces if space.is_low()]
    active = []
    if low:
        details = {"host": host, "path": str(low[0].path), "free": f"{low[0].free / GIB:.1f}"}
        active.append(Condition("disk_full", host, details))
    undecided = {("disk_full", host)} if any(space.is_low(CLEAR_FACTOR) for space in spaces) else set()
    return Observation(LOCAL_KINDS, active, undecided), host


def observe_expirations(settings: Settings, now: int) -> Observation:
    """Find TLS certificates and API keys that expire soon. Connects to the servers and reads all keys, so call it rarely."""
    active, undecided = _counted("keys_expiring", _expiring_keys(now)), set()
    database.close()  # do not hold a connection while waiting for servers
    for server in tls_servers(settings):
        subject = f"{server.variable} {server.host}"[:200]
        days = days_left(server)
        if days is None:
            undecided.add(("certificate_expiring", subject))
        elif days < MIN_DAYS:
            details = {"variable": server.variable, "host": server.host, "days": days}
            active.append(Condition("certificate_expiring", subject, details))
    return Observation(EXPIRY_KINDS, active, undecided)
