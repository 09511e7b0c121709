"""The worker as an operator runs it, on real servers: holds are released despite crashes and outages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.core.clock import now_ms
from shared.core.database import drop_connection
from shared.models import EdgeProcess
from tests.servers.edge import environment_of
from tests.servers.postgres import Postgres
from tests.servers.process import ROOT, Process, eventually
from tests.servers.redis import RedisServer
from tests.workers.holds import AMOUNT, HOUR_MS, Customer, assert_ledger_verifies, expired_calls, locked, state_of
from tests.workers.queue_messages import Queue

NOWHERE = "redis://127.0.0.1:1/0"
StartWorker = Callable[..., Process]


@pytest.mark.usefixtures("bound_database")
def test_abandoned_holds_are_released(any_database_url: str, redis_url: str, start_worker: StartWorker) -> None:
    customer = Customer()
    dead = EdgeProcess.create(host="edge-1", pid=1, seen_at=now_ms() - HOUR_MS)
    alive = EdgeProcess.create(host="edge-2", pid=2, seen_at=now_ms() + HOUR_MS)
    [overdue] = customer.hold()
    [orphan] = customer.hold(lasts_ms=HOUR_MS, edge_process=dead.id)
    [running] = customer.hold(lasts_ms=HOUR_MS, edge_process=alive.id)
    start_worker(database_url=any_database_url, redis_url=redis_url)
    # Missing heartbeats are ignored for `GRACE_MS` after the start.
    eventually(lambda: customer.held == AMOUNT, "only the running call's hold is left", 60)
    assert [state_of(call) for call in (overdue, orphan, running)] == ["expired", "expired", "held"]
    assert_ledger_verifies()


@pytest.mark.usefixtures("bound_database")
def test_a_worker_killed_mid_sweep_leaves_a_consistent_ledger(
    any_database_url: str, redis_url: str, queue: Queue, start_worker: StartWorker
) -> None:
    customer = Customer()
    customer.hold(5)
    with locked(any_database_url, customer):
        worker = start_worker(database_url=any_database_url, redis_url=redis_url)
        queue.send("sweep_holds")
        eventually(lambda: not queue.waiting(), "the worker has the message and waits for the account")
        worker.kill()
    assert (customer.held, expired_calls(), queue.unfinished()) == (5 * AMOUNT, 0, 1)
    start_worker(database_url=any_database_url, redis_url=redis_url)
    eventually(lambda: customer.held == 0, "the next worker sweeps")
    queue.expire_heartbeats()
    eventually(lambda: not queue.unfinished(), "the next worker takes over the message")
    assert (expired_calls(), queue.dead_letters()) == (5, 0)
    assert_ledger_verifies()


@pytest.mark.usefixtures("bound_database")
def test_two_workers_release_nothing_twice(
    any_database_url: str, redis_url: str, queue: Queue, start_worker: StartWorker
) -> None:
    customers = [Customer() for _ in range(3)]
    workers = [start_worker(database_url=any_database_url, redis_url=redis_url) for _ in range(2)]
    for customer in customers:
        customer.hold(300)
    for _ in range(8):
        queue.send("sweep_holds")
    eventually(lambda: not queue.unfinished(), "every sweep is done")
    assert [customer.held for customer in customers] == [0, 0, 0]
    assert (expired_calls(), queue.dead_letters()) == (900, 0)
    assert_ledger_verifies()
    assert not any("Traceback" in worker.output() for worker in workers)


@pytest.mark.usefixtures("bound_database")
@pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
def test_holds_are_released_without_redis_and_messages_resume_with_it(
    any_database_url: str, own_redis: RedisServer, start_worker: StartWorker
) -> None:
    customer = Customer()
    own_redis.kill()
    customer.hold()
    worker = start_worker(database_url=any_database_url, redis_url=own_redis.url)
    eventually(lambda: customer.held == 0, "swept, although Redis was never available")

    own_redis.restart()
    queue = Queue(own_redis.url)
    queue.send("sweep_holds")
    eventually(lambda: not queue.unfinished(), "Redis is there: the message is processed")
    assert queue.dead_letters() == 0
    queue.close()

    own_redis.kill()
    customer.hold()
    eventually(lambda: customer.held == 0, "swept, although Redis is down again", 40)
    eventually(lambda: worker.output().count("Redis is unavailable") == 2, "the second outage is logged")
    assert worker.terminate() == 0
    result = worker.output()
    assert (result.count("Redis is unavailable"), result.count("Redis is available again")) == (2, 1)
    assert "connection error" not in result
    assert "Traceback" not in result


@pytest.mark.parametrize("any_database_url", ["postgresql"], indirect=True)
def test_a_worker_waits_for_a_lost_database(
    bound_database: Any, any_database_url: str, postgres: Postgres, redis_url: str, queue: Queue, start_worker: StartWorker
) -> None:
    customer = Customer()
    worker = start_worker(database_url=any_database_url, redis_url=redis_url, worker_threads=1)
    postgres.cut_off(any_database_url)
    drop_connection()  # the test's own connection was closed too
    queue.send("sweep_holds")
    eventually(lambda: "The database is unavailable" in worker.output(), "the scheduler notices the outage")
    eventually(lambda: "Retrying message" in worker.output(), "the actor meets the outage")
    postgres.reconnect(any_database_url)
    customer.hold()
    eventually(lambda: "The database is available again" in worker.output(), "the scheduler continues")
    eventually(lambda: customer.held == 0, "the hold is swept")
    eventually(lambda: not queue.unfinished(), "the message is retried")
    lines = [json.loads(line)["message"] for line in worker.log.read_text().splitlines()]
    assert sum("The database is" in line for line in lines) == 2  # of all schedulers together
    assert_ledger_verifies()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(sqlite_url: str, redis_url: str, start_worker: StartWorker, number: signal.Signals) -> None:
    worker = start_worker(database_url=sqlite_url, redis_url=redis_url)
    assert worker.terminate(number) == 0
    assert f"stopping on {number.name}" in worker.output()
    assert "Worker has been shut down." in worker.output()


def run_refused(folder: Path, **settings: Any) -> tuple[int, str]:
    """Exit code and full output of a worker that must not start."""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment_of({"data_dir": folder, **settings})}
    argv = [sys.executable, "-m", "workers"]
    done = subprocess.run(argv, env=environ, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def test_an_unknown_schema_version(empty_database_url: str, tmp_path: Path) -> None:
    code, said = run_refused(tmp_path, database_url=empty_database_url, redis_url=NOWHERE)
    assert code == 2
    assert said.startswith("workers: The database is missing the migration 0001_")
    assert said.count("\n") == 1


def test_an_invalid_setting(tmp_path: Path) -> None:
    code, said = run_refused(tmp_path, worker_threads=0)
    assert (code, said) == (2, "workers: YOUT_WORKER_THREADS must be between 1 and 64, not 0.\n")


def test_an_unreachable_database(tmp_path: Path) -> None:
    code, said = run_refused(tmp_path, database_url="postgresql://somebody:secret@127.0.0.1:1/yout")
    assert code == 1
    assert said.startswith("workers: The database of DATABASE_URL is unavailable: ")
    assert said.count("\n") == 1
    assert "secret" not in said
