"""A purge by real workers, on both databases: what is deleted and kept, and that killed workers do not change the result."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import peewee

from shared.core.clock import new_id, now_ms
from shared.core.database import is_sqlite
from shared.files import certificates
from shared.job_queue import JobQueue
from shared.ledger import Claim, sweep
from shared.ledger.verify import verify_ledger
from shared.models import (
    Account,
    Conversation,
    Hold,
    IdempotencyClaim,
    LedgerEntry,
    Message,
    PurgeJob,
    Share,
    StoredResponse,
    UsageLedger,
)
from shared.operations.accounts import adjust_credits
from shared.operations.conversations import ChatMessage, ConversationState, store_turn
from shared.operations.purges import ACTOR, begin_purge, count_purges
from shared.operations.shares import share_messages
from shared.operations.stored_responses import ResponseState, store_response
from tests.databases import allow_tampering
from tests.factories import ORIGIN
from tests.servers.edge import SECRET_KEY, environment_of
from tests.servers.edge import start_worker as start_worker_process
from tests.servers.process import Process, eventually
from tests.workers.holds import HOUR_MS, Customer, assert_ledger_verifies
from tests.yout.proof.faults import plant

StartWorker = Callable[..., Process]
SAID = [ChatMessage("user", "Hi")]
MODELS: tuple[type[Any], ...] = (Conversation, Message, Share, StoredResponse, UsageLedger, Hold, IdempotencyClaim)


def storing_conversation(account: UUID, conversation: UUID | None = None) -> ConversationState:
    return ConversationState(account, conversation or new_id(), conversation is None, True, count_purges(account), [])


def storing_response(account: UUID) -> ResponseState:
    return ResponseState(account, None, True, count_purges(account), [], 0)


def create_history(customer: Customer, *, conversations: int = 3, calls: int = 4) -> dict[str, int]:
    """Create rows of every kind for an account; returns them by table."""
    for _ in range(conversations):
        first = storing_conversation(customer.account)
        assert store_turn(first, SAID, "Hello.", model="m-1", complete=True)
        assert store_turn(storing_conversation(customer.account, first.conversation), SAID, "Again.", model="m-1", complete=False)
    share_messages(customer.account, "A share", SAID)
    assert store_response(storing_response(customer.account), new_id(), [], {}, model="m-1")
    for number in range(calls):
        [call] = customer.hold(lasts_ms=HOUR_MS, claim=Claim(f"{number:064}", "b" * 64))
        customer.settle(call, 10 * (number % 2), has_claim=True)
    customer.hold(calls, lasts_ms=-5)
    sweep(now_ms())  # expired holds stay for a week
    return {
        "conversations": conversations,
        "messages": 4 * conversations,
        "responses": 1,
        "shares": 1,
        "media_jobs": 0,
        "media_files": 0,
        "ledger_entries": 1 + calls // 2,
        "mails": 0,
        "overage_entries": 0,
        "usage_rows": 2 * calls,
        "usage_sums": 0,
        "holds": calls,
        "idempotency_claims": calls,
    }


def rows_of(account: UUID) -> int:
    """Every row that a purge must delete."""
    messages = Message.select().join(Conversation).where(Conversation.account == account).count()
    return messages + sum(model.select().where(model.account == account).count() for model in MODELS if model is not Message)


def job_of(id: UUID) -> PurgeJob:
    job: PurgeJob = PurgeJob.get_by_id(id)
    return job


def await_end(id: UUID, seconds: float = 30) -> dict[str, Any]:
    """Wait for the certificate and verify it."""
    eventually(lambda: job_of(id).status == "done", "the purge is done", seconds)
    document = json.loads(job_of(id).certificate)
    return certificates.verify_certificate(document, certificates.public_key(SECRET_KEY))


def test_an_account_is_purged_and_its_balance_stays(
    bound_database: peewee.Database, any_database_url: str, redis_url: str, start_worker: StartWorker
) -> None:
    customer, other_customer = Customer(), Customer()
    expected = create_history(customer)
    left = create_history(other_customer)
    balance = customer.account_row().balance
    job = begin_purge(customer.account, origin=ORIGIN)
    assert begin_purge(customer.account, origin=ORIGIN).id == job.id, "only one purge at a time"
    start_worker(database_url=any_database_url, redis_url=redis_url)
    certificate = await_end(job.id)
    assert certificate["removed"] == expected
    assert certificate["remains"] == {"balance": balance, "plan_credits": 0, "held": 0, "ledger_entries": 1}
    assert certificate["account"] == str(customer.account)
    assert rows_of(customer.account) == 0
    [opening] = LedgerEntry.select().where(LedgerEntry.account == customer.account)
    assert (opening.seq, opening.amount, opening.balance_after, opening.call) == (1, balance, balance, None)
    assert rows_of(other_customer.account) == sum(left.values()) - left["ledger_entries"]
    adjust_credits(customer.account, 5, "after", origin=ORIGIN)
    assert_ledger_verifies()
    again = begin_purge(customer.account, origin=ORIGIN)
    assert again.id != job.id
    eventually(lambda: job_of(again.id).status == "done", "the second one too")
    assert Account.get_by_id(customer.account).balance == balance + 5
    assert_ledger_verifies()


def test_an_account_without_a_balance_keeps_no_entry(
    bound_database: peewee.Database, any_database_url: str, redis_url: str, start_worker: StartWorker
) -> None:
    customer = Customer(100)
    [call] = customer.hold(lasts_ms=HOUR_MS)
    customer.settle(call, 100)
    job = begin_purge(customer.account, origin=ORIGIN)
    start_worker(database_url=any_database_url, redis_url=redis_url)
    assert await_end(job.id)["remains"] == {"balance": 0, "plan_credits": 0, "held": 0, "ledger_entries": 0}
    assert rows_of(customer.account) == 0
    adjust_credits(customer.account, 7, "after", origin=ORIGIN)
    assert_ledger_verifies()


def test_running_calls_are_waited_for_but_not_new_ones(
    bound_database: peewee.Database, any_database_url: str, redis_url: str, start_worker: StartWorker
) -> None:
    customer = Customer()
    create_history(customer)
    before, looked = storing_conversation(customer.account), storing_response(customer.account)
    [running] = customer.hold(lasts_ms=HOUR_MS)
    job = begin_purge(customer.account, origin=ORIGIN)
    PurgeJob.update(boundary=PurgeJob.boundary + 1).where(PurgeJob.id == job.id).execute()
    eventually(lambda: now_ms() > job.boundary + 1, "the scheduler continues")
    [newer] = customer.hold(lasts_ms=HOUR_MS)
    start_worker(database_url=any_database_url, redis_url=redis_url)
    eventually(lambda: job_of(job.id).step == "calls", "the purge waits for the call")
    assert not store_turn(before, SAID, "Late.", model="m-1", complete=True), "its content must be discarded"
    assert not store_response(looked, new_id(), [], {}, model="m-1")
    balance = customer.account_row().balance
    customer.settle(running, 60)
    certificate = await_end(job.id)
    assert certificate["remains"] == {"balance": balance - 60, "plan_credits": 0, "held": 100, "ledger_entries": 1}
    assert [hold.id for hold in Hold.select().where(Hold.account == customer.account)] == [newer]
    assert_ledger_verifies()
    assert customer.settle(newer, 10).credits == 10
    assert_ledger_verifies()


# A worker kills itself in the transaction of its n-th step, or after having committed it.
KILL = """
import os, signal
actors = import_module("workers.purge").PurgeActors
original, calls = actors.{method}, []

def killed(*arguments):
    result = original(*arguments)
    calls.append(result)
    if len(calls) == {number}:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

actors.{method} = killed
"""
KILLS = (("_record", 2), ("_record", 1), ("_advance", 2), ("_advance", 90), ("_record", 3))


def test_killed_workers_do_not_change_the_result(
    bound_database: peewee.Database,
    any_database_url: str,
    redis_url: str,
    start_worker: StartWorker,
    processes: list[Process],
    tmp_path: Path,
) -> None:
    customer = Customer()
    expected = create_history(customer, conversations=40, calls=60)
    balance = customer.account_row().balance
    job = begin_purge(customer.account, origin=ORIGIN)
    jobs = JobQueue(redis_url)
    steps = []
    for method, number in KILLS:
        set_due(job.id, now_ms() + HOUR_MS)  # until the worker is ready
        killer = plant(tmp_path / f"kill-{len(steps)}", KILL.format(method=method, number=number), "workers")
        settings = environment_of({"database_url": any_database_url, "redis_url": redis_url})
        processes.append(start_worker_process(tmp_path, {**settings, **killer}))
        set_due(job.id, 0)
        assert jobs.send(ACTOR, str(job.id))
        assert processes[-1].wait() == -signal.SIGKILL
        steps.append(job_of(job.id).step)
        assert_ledger_verifies()
    set_due(job.id, 0)  # skip the rest of the dead worker's lease
    jobs.close()
    start_worker(database_url=any_database_url, redis_url=redis_url)
    certificate = await_end(job.id)
    assert certificate["removed"] == expected
    assert certificate["remains"]["balance"] == balance
    assert steps[0] == steps[1] != "", "the second one was killed before its first commit"
    assert len(set(steps)) > 2, steps
    assert rows_of(customer.account) == 0
    assert customer.account_row().ledger_origin_signature is not None
    assert verify_ledger(now_ms(), SECRET_KEY).problems == ()
    assert not is_sqlite() or bound_database.execute_sql("PRAGMA quick_check").fetchone() == ("ok",)


def test_changed_entries_stop_a_purge_until_they_are_restored(
    bound_database: peewee.Database, any_database_url: str, redis_url: str, start_worker: StartWorker
) -> None:
    customer = Customer()
    create_history(customer)
    allow_tampering(bound_database)
    second = (LedgerEntry.account == customer.account) & (LedgerEntry.seq == 2)
    [entry] = LedgerEntry.select().where(second)
    LedgerEntry.update(created_at=1).where(second).execute()
    job = begin_purge(customer.account, origin=ORIGIN)
    worker = start_worker(database_url=any_database_url, redis_url=redis_url)
    eventually(lambda: job_of(job.id).problem is not None, "the purge is refused", 30)
    problem = f"account {customer.account}, entry 2: its hash does not follow from it and the entry before it"
    refused = job_of(job.id)
    assert (refused.problem, refused.status, refused.step, refused.runner) == (problem, "running", "fold", None)
    assert LedgerEntry.select().where(LedgerEntry.account == customer.account).count() == 3
    eventually(lambda: problem in worker.output(), "the log names the entry")

    LedgerEntry.update(created_at=entry.created_at).where(second).execute()
    PurgeJob.update(due_at=0).where(PurgeJob.id == job.id).execute()  # skip the time until the next attempt
    assert await_end(job.id)["remains"]["ledger_entries"] == 1
    assert job_of(job.id).problem is None


def set_due(id: UUID, at: int) -> None:
    PurgeJob.update(due_at=at).where(PurgeJob.id == id).execute()
