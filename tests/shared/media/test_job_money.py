"""Media jobs in any order of what may befall them, on both databases: one end, one charge at most, nothing held for ever."""

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
from shared.core.errors import IdempotencyConflict, InsufficientCredits, NotFound
from shared.dialects.media import MediaCall
from shared.files.storage import new_key
from shared.identity.api_key_format import digest
from shared.ledger import Claim, Reservation
from shared.ledger.verify import verify
from shared.media import CANCELLED, End, Output, Wish
from shared.models import Account, Hold, IdempotencyClaim, MediaJob, MediaOutput, UsageLedger
from tests import factories

COST = 40
CREDITS = 1_000
PRICE = PriceList(uuid4(), 0, 0, 0, None, COST, 0)
HOUR_MS = 3_600_000

jobs = st.integers(0, 5)


class Studio(RuleBasedStateMachine):
    """One account orders pictures; workers, customers and sweeps do what they like with its jobs, late and twice."""

    @initialize()
    def open(self) -> None:
        self.account = factories.account(CREDITS).id
        self.secret = factories.api_key(Account.get_by_id(self.account))[1]
        self.ids: list[UUID] = []
        self.hands: dict[UUID, list[MediaJob]] = {}  # what each worker believes to have in hand, also when it has lost it
        self.ends: dict[UUID, tuple[str, int]] = {}  # how each job ended, once
        self.withdrawn: set[UUID] = set()
        self.expired: set[UUID] = set()

    @rule(count=st.integers(1, 10), key=st.sampled_from(["", "a", "b"]))
    def order(self, count: int, key: str) -> None:
        now = now_ms()
        call = MediaCall("image", "m-1", {"prompt": "x"}, MediaUnits(count), {"n": count})
        claim = Claim((key * 64)[:64], f"{count:064}") if key else None
        ask = Reservation(new_id(), "m-1", media_quote(PRICE, call.units), now + HOUR_MS, digest(self.secret), claim=claim)
        free, refused = self.row().balance - self.row().held, ""
        try:
            with transaction():
                submitted = media.submit(ask, Wish(call, "sealed", now + HOUR_MS), now)
        except InsufficientCredits:
            assert free < count * COST
        except IdempotencyConflict as conflict:
            refused = conflict.kind  # the same key with another number, or after its job was withdrawn
        else:
            assert submitted.fresh is (submitted.job.id not in self.ids)
            if submitted.fresh:
                self.ids.append(submitted.job.id)
        assert not refused or key

    @rule(job=jobs)
    def take(self, job: int) -> None:
        if (id := self.some(job)) is not None:
            MediaJob.update(claimed_until=1).where((MediaJob.id == id) & MediaJob.claimed_until.is_null(False)).execute()
            hand = uuid4()
            taken = media.claim(id, hand, now_ms())
            assert (taken is None) is (id in self.ends or id in self.withdrawn)
            if taken is not None:
                self.hands.setdefault(id, []).append(taken)

    @rule(job=jobs, worker=st.integers(0, 3), delivered=st.integers(0, 10))
    def deliver(self, job: int, worker: int, delivered: int) -> None:
        held = self.believed(job, worker)
        if held is not None:
            made = min(delivered, held.options["n"])
            outputs = [Output(new_key(), "image/png", 1) for _ in range(made)]
            cost = media_charge(PRICE, MediaUnits(made))
            end = End("succeeded", outputs=outputs, cost=cost, keep_until=1) if made else End("failed", "nothing_delivered")
            self.finish(held, end, held.claimed_by)

    @rule(job=jobs, worker=st.integers(0, 3), orderly=st.booleans())
    def pause(self, job: int, worker: int, orderly: bool) -> None:
        if (held := self.believed(job, worker)) is not None:
            media.pause(held, now_ms(), orderly=orderly)

    @rule(job=jobs)
    def cancel(self, job: int) -> None:
        id = self.some(job)
        if id is None or id in self.withdrawn:
            return
        before = id in self.ends
        with transaction():
            ended = media.cancel(self.account, id)
        if not before:
            self.note(ended)
        with pytest.raises(NotFound):
            media.cancel(uuid4(), id)

    @rule(job=jobs)
    def time_out(self, job: int) -> None:
        if (id := self.some(job)) is not None and (row := MediaJob.get_or_none(MediaJob.id == id)) is not None:
            self.finish(row, End("failed", "job_timeout"), None)

    @rule(job=jobs)
    def withdraw(self, job: int) -> None:
        if (id := self.some(job)) is not None:
            with transaction():
                if media.withdraw(id, now_ms()):
                    self.withdrawn.add(id)

    @rule(job=jobs)
    def expire_the_hold(self, job: int) -> None:
        """Nobody swept the media for so long that the sweep of holds came first."""
        if (id := self.some(job)) is not None and Hold.update(expires_at=1).where(Hold.id == id, Hold.state == "held").execute():
            ledger.sweep(now_ms())
            self.expired.add(id)

    @invariant()
    def every_credit_is_accounted_for(self) -> None:
        if not hasattr(self, "account"):
            return
        rows = {row.id: row for row in MediaJob.select().where(MediaJob.account == self.account)}
        assert set(rows) == set(self.ids) - self.withdrawn
        open_jobs = [row for row in rows.values() if row.finished_at is None]
        assert {row.id for row in open_jobs} == set(rows) - set(self.ends)
        assert self.row().held == sum(row.credits_held for row in open_jobs if row.id not in self.expired)
        assert CREDITS - self.row().balance == sum(charged for _, charged in self.ends.values())
        for id, end in self.ends.items():
            assert (rows[id].status, rows[id].credits_charged, rows[id].sealed_params) == (*end, None)
            assert UsageLedger.get(UsageLedger.id == id).credits == end[1]
            assert MediaOutput.select().where(MediaOutput.job == id).count() * COST >= end[1]
        assert verify(now_ms()).problems == ()

    def teardown(self) -> None:
        if hasattr(self, "account"):
            IdempotencyClaim.delete().where(IdempotencyClaim.account == self.account).execute()

    def finish(self, job: MediaJob, end: End, hand: UUID | None) -> None:
        ended = media.finish(job, end, hand=hand)
        if ended is not None:
            assert job.id not in self.ends
            self.note(ended)

    def note(self, job: MediaJob) -> None:
        assert job.status in ("succeeded", "failed", CANCELLED.status)
        self.ends[job.id] = (job.status, job.credits_charged)

    def some(self, number: int) -> UUID | None:
        return self.ids[-1 - number % len(self.ids)] if self.ids else None

    def believed(self, job: int, worker: int) -> MediaJob | None:
        id = self.some(job)
        believed = self.hands.get(id, []) if id is not None else []
        return believed[worker % len(believed)] if believed else None

    def row(self) -> Any:
        return Account.get_by_id(self.account)


def test_random_lives(bound_database: peewee.Database) -> None:
    run_state_machine_as_test(
        Studio,
        settings=settings(max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)),
    )
