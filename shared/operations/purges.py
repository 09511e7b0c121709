"""Purges: start one, find one, and check for a running one. A worker does the work, step by step."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from peewee import fn

from shared.core.clock import now_ms
from shared.core.database import is_sqlite, transaction
from shared.core.errors import NotFound, PurgeRunning
from shared.ledger.allowances import visitor_allowance
from shared.ledger.compaction import RemovedRows, delete_visitor_calls
from shared.ledger.sql import execute, lock_accounts
from shared.ledger.visitor_pool import POOL_ACCOUNT_ID, VisitorAllowance, VisitorSettings, visitor_allowance_state
from shared.models import Account, Hold, PurgeJob
from shared.operations.audit import Origin, record_audit_entry
from shared.text.translation import lazy_gettext

ACTOR = "purge"  # actor of purges in the audit log
NO_SUCH_PURGE = "No such purge of your account."


class VisitorPurge(NamedTuple):
    """What was removed for a visitor, and what remains: the usage of today's allowance."""

    removed: RemovedRows
    allowance: VisitorAllowance


def begin_purge(account: UUID, *, origin: Origin) -> PurgeJob:
    """Start a purge of an account and return the job, or return the unfinished one. Raises `NotFound`.

    The purge waits for running calls and also removes the rows that they write. Until it is done, nothing new can be stored or
    shared.
    """
    with transaction():
        lock_content(account)
        lock_account(account)
        unfinished: PurgeJob | None = PurgeJob.get_or_none(_unfinished(account))
        if unfinished is not None:
            return unfinished
        now = now_ms()
        # Another edge process's clock may be ahead, so the boundary covers all calls that are open now.
        newest = Hold.select(fn.MAX(Hold.created_at)).where((Hold.account == account) & (Hold.state == "held")).scalar()
        job: PurgeJob = PurgeJob.create(account=account, boundary=max(now, newest or 0), due_at=now, created_at=now)
        record_audit_entry(origin, "account.purge", account, after={"purge": str(job.id)})
        return job


def purge_visitor(visitor: str, terms: VisitorSettings, now: int) -> VisitorPurge:
    """Delete a visitor's calls of today. The usage of today's allowance stays."""
    with transaction():
        removed = delete_visitor_calls(POOL_ACCOUNT_ID, visitor_allowance(visitor, now))
        return VisitorPurge(removed, visitor_allowance_state(visitor, terms, now))


def find_purge(account: UUID, purge: str | UUID) -> PurgeJob:
    """Return the account's purge with this id. Raises `NotFound`, also for another account's."""
    try:
        id = purge if isinstance(purge, UUID) else UUID(purge)
    except ValueError:
        raise NotFound(NO_SUCH_PURGE) from None
    job: PurgeJob | None = PurgeJob.get_or_none((PurgeJob.id == id) & (PurgeJob.account == account))
    if job is None:
        raise NotFound(NO_SUCH_PURGE)
    return job


def latest_purge(account: UUID) -> PurgeJob | None:
    """Return the account's latest purge, finished or not."""
    job: PurgeJob | None = PurgeJob.select().where(PurgeJob.account == account).order_by(PurgeJob.id.desc()).first()
    return job


def lock_content(account: UUID) -> None:
    """Lock what the account stores until the end of the transaction: nothing is added, no purge starts. Raises `NotFound`.

    The account's row is not locked, so that its calls are charged without waiting.
    """
    if not is_sqlite():  # there, BEGIN IMMEDIATE has locked the whole file
        execute("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", [account.hex])
    if not Account.select().where(Account.id == account).exists():
        raise NotFound(lazy_gettext("No such account."))


def lock_account(account: UUID) -> None:
    """Lock the account until the end of the transaction: no credits move. Raises `NotFound`."""
    if account not in lock_accounts([account])():
        raise NotFound(lazy_gettext("No such account."))


def count_purges(account: UUID) -> int:
    """Return the number of purges that the account has started. It never decreases."""
    return int(PurgeJob.select(fn.COUNT(PurgeJob.id)).where(PurgeJob.account == account).scalar())


def require_no_purge(account: UUID) -> None:
    """Raise `PurgeRunning` if a purge of the account is unfinished."""
    if PurgeJob.select().where(_unfinished(account)).exists():
        raise PurgeRunning


def _unfinished(account: UUID) -> object:
    return (PurgeJob.account == account) & (PurgeJob.status != "done")
