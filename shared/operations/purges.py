"""Purges: an account asks to be emptied. What that takes is done by a worker, step by step; here it begins and is looked up."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from peewee import fn

from shared.clock import now_ms
from shared.database import transaction
from shared.errors import NotFound, PurgeRunning
from shared.ledger.allowances import visitor_allowance
from shared.ledger.collapse import Collapsed, forget_visitor
from shared.ledger.rows import lock_accounts
from shared.ledger.visitors import POOL, Standing, VisitorTerms, standing
from shared.models import Hold, PurgeJob
from shared.operations.audit import Origin, record

ACTOR = "purge"  # of the workers, told the job's id
NO_SUCH_PURGE = "There is no such purge of your account."


class VisitorPurge(NamedTuple):
    """What was removed of a visitor, and the one thing that remains: how far today's allowance is used."""

    removed: Collapsed
    remains: Standing


def begin_purge(account: UUID, *, actor: str, address: str = "") -> PurgeJob:
    """Begin to empty an account, and give the job; one that is under way is given as it is. Raises `NotFound`.

    Calls that run now are waited for, and what they still write is removed too. From here on nothing new can be stored or shared,
    until the job is done.
    """
    with transaction():
        lock_account(account)
        unfinished: PurgeJob | None = PurgeJob.get_or_none(_unfinished(account))
        if unfinished is not None:
            return unfinished
        now = now_ms()
        # Another edge's clock may be ahead: what is open now is waited for, whatever it says of its beginning.
        newest = Hold.select(fn.MAX(Hold.created_at)).where((Hold.account == account) & (Hold.state == "held")).scalar()
        job: PurgeJob = PurgeJob.create(account=account, boundary=max(now, newest or 0), due_at=now, created_at=now)
        record(Origin(actor, address), "account.purge", account, after={"purge": str(job.id)})
        return job


def purge_visitor(visitor: str, terms: VisitorTerms, now: int) -> VisitorPurge:
    """Forget what is known of a visitor, by the digest of today: the calls they made. How much they used today stays."""
    with transaction():
        removed = forget_visitor(POOL, visitor_allowance(visitor, now))
        return VisitorPurge(removed, standing(visitor, terms, now))


def find_purge(account: UUID, purge: str | UUID) -> PurgeJob:
    """The account's own purge of this id. Raises `NotFound`, for somebody else's too."""
    try:
        id = purge if isinstance(purge, UUID) else UUID(purge)
    except ValueError:
        raise NotFound(NO_SUCH_PURGE) from None
    job: PurgeJob | None = PurgeJob.get_or_none((PurgeJob.id == id) & (PurgeJob.account == account))
    if job is None:
        raise NotFound(NO_SUCH_PURGE)
    return job


def latest_purge(account: UUID) -> PurgeJob | None:
    """The account's newest purge, finished or not."""
    job: PurgeJob | None = PurgeJob.select().where(PurgeJob.account == account).order_by(PurgeJob.id.desc()).first()
    return job


def lock_account(account: UUID) -> None:
    """Let nobody begin a purge, nor move a credit, before this transaction ends. Raises `NotFound` for an unknown account."""
    if account not in lock_accounts([account])():
        raise NotFound("There is no such account.")


def purges_begun(account: UUID) -> int:
    """How many purges the account has begun so far: it only ever grows."""
    return int(PurgeJob.select(fn.COUNT(PurgeJob.id)).where(PurgeJob.account == account).scalar())


def refuse_while_purging(account: UUID) -> None:
    """Raise `PurgeRunning` while a purge of the account is unfinished."""
    if PurgeJob.select().where(_unfinished(account)).exists():
        raise PurgeRunning


def _unfinished(account: UUID) -> object:
    return (PurgeJob.account == account) & (PurgeJob.status != "done")
