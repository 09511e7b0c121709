"""Staff actions on media jobs: polling, failing and refunding, each effective once."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from shared.core.clock import new_id, now_ms
from shared.core.errors import InvalidInput, NotFound
from shared.ledger.verify import verify_ledger
from shared.media import finish_job
from shared.models import AuditEntry, LedgerEntry, MediaJob
from shared.operations.audit import Origin
from shared.operations.media_jobs import cancel_job, fail_job, find_job, poll_job, refund_job
from tests.workers.holds import AMOUNT, HOUR_MS, PRICE, Customer

ANA = Origin("ana@yout.example", "10.0.0.9")


def open_job(customer: Customer, **columns: Any) -> UUID:
    """An open job with its hold."""
    [call] = customer.hold(lasts_ms=HOUR_MS)
    MediaJob.create(
        id=call,
        account=customer.account,
        kind="image",
        model="m-1",
        price=PRICE.id,
        sealed_params="sealed",
        due_at=now_ms() + HOUR_MS,
        deadline_at=now_ms() + HOUR_MS,
        credits_held=AMOUNT,
        **columns,
    )
    return call


def succeeded_job(customer: Customer, cost: int) -> UUID:
    job = open_job(customer)
    assert finish_job.finish(MediaJob.get_by_id(job), finish_job.JobResult("succeeded", cost=cost), lease_id=None)
    return job


@pytest.mark.parametrize(
    ("operation", "status", "action"), [(fail_job, "failed", "job.fail"), (cancel_job, "cancelled", "job.cancel")]
)
def test_an_open_job_is_failed_once_and_its_hold_released(bound_database, operation, status, action):
    customer = Customer(credits=1_000)
    job = open_job(customer)
    assert operation(job, "the provider is down", origin=ANA).status == status
    row = MediaJob.get_by_id(job)
    assert (row.status, row.sealed_params, row.credits_charged) == (status, None, 0)
    assert (customer.account_row().balance, customer.held) == (1_000, 0)
    with pytest.raises(InvalidInput, match="already ended"):
        operation(job, "again", origin=ANA)
    [trail] = AuditEntry.select().where(AuditEntry.action == action)
    assert (trail.target, trail.after["reason"]) == (str(job), "the provider is down")
    assert verify_ledger(now_ms()).problems == ()


def test_a_finished_job_is_refunded_once(bound_database):
    customer = Customer(credits=1_000)
    job = succeeded_job(customer, 60)
    assert customer.account_row().balance == 940
    assert refund_job(job, "it was blank", origin=ANA) == 60
    with pytest.raises(InvalidInput, match="already refunded"):
        refund_job(job, "it was blank", origin=ANA)
    assert customer.account_row().balance == 1_000
    assert LedgerEntry.select().where(LedgerEntry.kind == "refund").count() == 1
    assert AuditEntry.select().where(AuditEntry.action == "job.refund").count() == 1
    assert verify_ledger(now_ms()).problems == ()


def test_an_uncharged_job_cannot_be_refunded(bound_database):
    customer = Customer(credits=1_000)
    job = open_job(customer)
    for _ in range(2):
        with pytest.raises(InvalidInput, match="nothing to refund"):
            refund_job(job, "x", origin=ANA)
        if MediaJob.get_by_id(job).finished_at is None:
            cancel_job(job, "x", origin=ANA)
    assert not LedgerEntry.select().where(LedgerEntry.kind == "refund").exists()


def test_a_poll_makes_an_open_job_due_and_rejects_a_finished_one(bound_database):
    customer = Customer()
    job = open_job(customer)
    poll_job(job, origin=ANA)
    assert MediaJob.get_by_id(job).due_at <= now_ms()
    cancel_job(job, "x", origin=ANA)
    with pytest.raises(InvalidInput, match="is cancelled"):
        poll_job(job, origin=ANA)


def test_the_prompt_is_never_decrypted_and_an_unknown_job_is_not_found(bound_database):
    job = open_job(Customer(), callback_url="https://x.example/?token=secret")
    assert {find_job(job).sealed_params, find_job(job).callback_url} == {None}
    for operation in (
        lambda: find_job(new_id()),
        lambda: fail_job(new_id(), "x", origin=ANA),
        lambda: poll_job(new_id(), origin=ANA),
    ):
        with pytest.raises(NotFound, match="No job"):
            operation()
