"""Random operations on media jobs, on both databases: each job ends once, is charged at most once, and leaves no hold."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import peewee
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from shared import ledger, media
from shared.billing.pricing import MediaUnits, PriceList, media_charge, media_quote
from shared.core.clock import new_id, now_ms
from shared.core.database import transaction
from shared.core.errors import CreditsHeld, IdempotencyConflict, InsufficientCredits, NotFound
from shared.dialects.media import MediaCall
from shared.files.storage import new_key
from shared.identity.api_key_format import digest
from shared.identity.payer import KeyPayer
from shared.ledger import Claim, Reservation
from shared.ledger.verify import verify_ledger
from shared.media import CANCELLED, JobRequest, JobResult, Output
from shared.models import Account, Hold, IdempotencyClaim, MediaJob, MediaOutput, UsageLedger
from tests import factories

COST = 40
CREDITS = 1_000
PRICE = PriceList(uuid4(), 0, 0, 0, None, COST, 0)
HOUR_MS = 3_600_000

jobs = st.integers(0, 5)


class MediaOperations(RuleBasedStateMachine):
    """One account submits image jobs. Workers, customers and sweeps act on them in any order, late and repeatedly."""

    @initialize()
    def open(self) -> None:
        self.account = factories.account(CREDITS).id
        self.secret = factories.api_key(Account.get_by_id(self.account))[1]
        self.ids: list[UUID] = []
        self.claims: dict[UUID, list[MediaJob]] = {}  # the jobs that each worker believes it has claimed, even after losing them
        self.results: dict[UUID, tuple[str, int]] = {}  # the result of each finished job
        self.withdrawn: set[UUID] = set()
        self.expired: set[UUID] = set()

    @rule(count=st.integers(1, 10), key=st.sampled_from(["", "a", "b"]))
    def order(self, count: int, key: str) -> None:
        now = now_ms()
        call = MediaCall("image", "m-1", {"prompt": "x"}, MediaUnits(count), {"n": count})
        claim = Claim((key * 64)[:64], f"{count:064}") if key else None
        ask = Reservation(
            new_id(), "m-1", media_quote(PRICE, call.units), now + HOUR_MS, KeyPayer(digest(self.secret)), claim=claim
        )
        free, refused = self.row().balance - self.row().held, ""
        try:
            with transaction():
                submitted = media.submit(ask, JobRequest(call, "sealed", now + HOUR_MS), now)
        except InsufficientCredits:
            assert self.row().balance < count * COST
        except CreditsHeld:
            assert free < count * COST <= self.row().balance
        except IdempotencyConflict as conflict:
            refused = conflict.code  # the same key with another count, or after its job was withdrawn
        else:
            assert submitted.is_new is (submitted.job.id not in self.ids)
            if submitted.is_new:
                self.ids.append(submitted.job.id)
        assert not refused or key

    @rule(job=jobs)
    def take(self, job: int) -> None:
        if (id := self.picked_job(job)) is not None:
            MediaJob.update(claimed_until=1).where((MediaJob.id == id) & MediaJob.claimed_until.is_null(False)).execute()
            hand = uuid4()
            taken = media.lease_job(id, hand, now_ms())
            assert (taken is None) is (id in self.results or id in self.withdrawn)
            if taken is not None:
                self.claims.setdefault(id, []).append(taken)

    @rule(job=jobs, worker=st.integers(0, 3), delivered=st.integers(0, 10))
    def deliver(self, job: int, worker: int, delivered: int) -> None:
        held = self.claimed_job(job, worker)
        if held is not None:
            made = min(delivered, held.options["n"])
            outputs = [Output(new_key(), "image/png", 1) for _ in range(made)]
            cost = media_charge(PRICE, MediaUnits(made))
            end = (
                JobResult("succeeded", outputs=outputs, cost=cost, files_expire_at=1)
                if made
                else JobResult("failed", "nothing_delivered")
            )
            self.finish(held, end, held.claimed_by)

    @rule(job=jobs, worker=st.integers(0, 3), orderly=st.booleans())
    def pause(self, job: int, worker: int, orderly: bool) -> None:
        if (held := self.claimed_job(job, worker)) is not None:
            media.release_until(held, now_ms(), without_attempt=orderly)

    @rule(job=jobs)
    def cancel(self, job: int) -> None:
        id = self.picked_job(job)
        if id is None or id in self.withdrawn:
            return
        before = id in self.results
        with transaction():
            ended = media.cancel_job(self.account, id)
        if not before:
            self.note(ended)
        with pytest.raises(NotFound):
            media.cancel_job(uuid4(), id)

    @rule(job=jobs)
    def time_out(self, job: int) -> None:
        if (id := self.picked_job(job)) is not None and (row := MediaJob.get_or_none(MediaJob.id == id)) is not None:
            self.finish(row, JobResult("failed", "job_timeout"), None)

    @rule(job=jobs)
    def withdraw(self, job: int) -> None:
        if (id := self.picked_job(job)) is not None:
            with transaction():
                if media.undo_submission(self.account, id, now_ms()):
                    self.withdrawn.add(id)

    @rule(job=jobs)
    def expire_the_hold(self, job: int) -> None:
        """The sweep of holds ran before any sweep of media jobs."""
        if (id := self.picked_job(job)) is not None and Hold.update(expires_at=1).where(
            Hold.id == id, Hold.state == "held"
        ).execute():
            ledger.sweep(now_ms())
            self.expired.add(id)

    @invariant()
    def every_credit_is_accounted_for(self) -> None:
        if not hasattr(self, "account"):
            return
        rows = {row.id: row for row in MediaJob.select().where(MediaJob.account == self.account)}
        assert set(rows) == set(self.ids) - self.withdrawn
        open_jobs = [row for row in rows.values() if row.finished_at is None]
        assert {row.id for row in open_jobs} == set(rows) - set(self.results)
        assert self.row().held == sum(row.credits_held for row in open_jobs if row.id not in self.expired)
        assert CREDITS - self.row().balance == sum(charged for _, charged in self.results.values())
        for id, end in self.results.items():
            assert (rows[id].status, rows[id].credits_charged, rows[id].sealed_params) == (*end, None)
            assert UsageLedger.get(UsageLedger.id == id).credits == end[1]
            assert MediaOutput.select().where(MediaOutput.job == id).count() * COST >= end[1]
        assert verify_ledger(now_ms()).problems == ()

    def teardown(self) -> None:
        if hasattr(self, "account"):
            IdempotencyClaim.delete().where(IdempotencyClaim.account == self.account).execute()

    def finish(self, job: MediaJob, end: JobResult, hand: UUID | None) -> None:
        ended = media.finish(job, end, lease_id=hand)
        if ended is not None:
            assert job.id not in self.results
            self.note(ended)

    def note(self, job: MediaJob) -> None:
        assert job.status in ("succeeded", "failed", CANCELLED.status)
        self.results[job.id] = (job.status, job.credits_charged)

    def picked_job(self, number: int) -> UUID | None:
        return self.ids[-1 - number % len(self.ids)] if self.ids else None

    def claimed_job(self, job: int, worker: int) -> MediaJob | None:
        id = self.picked_job(job)
        claimed_job = self.claims.get(id, []) if id is not None else []
        return claimed_job[worker % len(claimed_job)] if claimed_job else None

    def row(self) -> Any:
        return Account.get_by_id(self.account)


def test_random_operations(bound_database: peewee.Database) -> None:
    run_state_machine_as_test(
        MediaOperations,
        settings=settings(max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)),
    )
