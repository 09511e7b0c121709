"""Media jobs when processes are killed and servers fail: each ends once, with one charge or refund, and none is lost."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from obstore.store import LocalStore

from shared.billing.request_shape import request_shape
from shared.catalog.failover import MAX_COOLDOWN_MS, status_failure
from shared.core.clock import now_ms
from shared.files.storage import Storage, new_key
from shared.ledger.request_shapes import read_shape
from shared.ledger.verify import verify_ledger
from shared.media.retention import delete_orphans
from shared.media.thumbnails import thumbnail_key
from shared.models import Account, ChannelModel, Hold, LedgerEntry, MediaJob, MediaOutput, UsageLedger
from tests import factories
from tests.edge.http_calls import run_concurrently
from tests.edge.media.media_stack import CANARY, IMAGE, PNG, default_script, image_response, video_job
from tests.edge.shared_edge import Reply, read
from tests.servers.edge import WebProcess
from tests.servers.process import Process, eventually
from tests.servers.redis import RedisServer
from tests.upstream import Request, Upstream
from tests.upstream_responses import Gate, delayed, error_response
from workers.media_jobs import pause_ms

CREDITS = 100_000_000
IMAGE_COST = 300  # what the provider charges us
KILLS = 6
StartWeb = Callable[..., WebProcess]
StartWorker = Callable[..., Process]


class MediaSetup:
    """An account, a model of each kind, and an edge that accepts its jobs."""

    def __init__(self, edge: WebProcess, upstream: Upstream) -> None:
        self.edge, self.upstream = edge, upstream
        self.account = factories.account(CREDITS)
        self.secret = factories.api_key(self.account)[1]
        channel = factories.channel(upstream.url)
        factories.model("image-1", channel, kind="image", input=0, output=0, per_call=IMAGE)
        ChannelModel.update(further_costs=[["per_call", 0, IMAGE_COST]]).execute()
        factories.model("video-1", channel, kind="video", input=0, output=0, per_5_seconds=IMAGE)
        eventually(lambda: "video-1" in self.request("GET", "/v1/models").body.decode(), "the edge knows the models")

    def request(self, method: str, path: str, body: object = None) -> Reply:
        with closing(http.client.HTTPConnection("127.0.0.1", self.edge.port, timeout=30)) as connection:
            data = json.dumps(body).encode() if body is not None else None
            connection.request(method, path, data, {"authorization": f"Bearer {self.secret}"})
            return read(connection.getresponse())

    def order(self, kind: str = "image", **fields: Any) -> Reply:
        model = "image-1" if kind == "image" else "video-1"
        return self.request("POST", f"/api/media/{kind}/", {"model": model, "prompt": CANARY, **fields})

    def job(self, reply: Reply) -> MediaJob:
        found: MediaJob = MediaJob.get_by_id(reply.json["job_uuid"])
        return found

    @property
    def spent(self) -> int:
        return CREDITS - int(Account.get_by_id(self.account.id).balance)

    @property
    def held(self) -> int:
        return int(Account.get_by_id(self.account.id).held)

    def assert_consistent(self) -> None:
        """Asserts that every job ended once, with one usage row and at most one charge, and that the ledger verifies."""
        jobs = list(MediaJob.select())
        assert not [job for job in jobs if job.finished_at is None]
        charges = LedgerEntry.select().where(LedgerEntry.kind == "charge")
        assert sum(-entry.amount for entry in charges) == self.spent == sum(job.credits_charged for job in jobs)
        assert UsageLedger.select().count() == len(jobs)
        costs = {job.id: IMAGE_COST * job.options["delivered"] or None for job in jobs if job.kind == "image"}
        assert {row.id: row.provider_cost for row in UsageLedger.select() if row.id in costs} == costs
        assert not LedgerEntry.select().where(LedgerEntry.kind == "refund").exists()  # unused holds are released, not refunded
        assert self.held == 0
        assert verify_ledger(now_ms()).problems == ()


def expire_leases() -> None:
    """Let the leases of dead workers expire."""
    MediaJob.update(claimed_until=1, due_at=1).where(MediaJob.finished_at.is_null()).execute()


@pytest.fixture
def setup(
    bound_postgres: Any, postgres_url: str, redis_url: str, tmp_path: Path, start_edge: StartWeb, upstream: Upstream
) -> MediaSetup:
    upstream.default = default_script
    return MediaSetup(start_edge(database_url=postgres_url, redis_url=redis_url, data_dir=tmp_path), upstream)


@pytest.fixture
def work(postgres_url: str, redis_url: str, tmp_path: Path, start_worker: StartWorker) -> Callable[[], Process]:
    """Starts another worker."""
    return lambda: start_worker(database_url=postgres_url, redis_url=redis_url, data_dir=tmp_path, media_answer_seconds=20)


@pytest.fixture
def gate(upstream: Upstream) -> Iterator[Gate]:
    """The provider delays every image until the gate opens."""
    made = Gate()
    upstream.default = lambda request: delayed(made, image_response(PNG))
    yield made
    if not made._opened.done():
        made.open()


@pytest.mark.parametrize(
    ("retry_after_ms", "expected"),
    [(None, 5_000), (0, 5_000), (4_999, 5_000), (30_000, 30_000), (99_999_000, MAX_COOLDOWN_MS)],
)
def test_the_pause_of_a_job_follows_retry_after_within_bounds(retry_after_ms: int | None, expected: int) -> None:
    assert pause_ms(5_000, status_failure(503, retry_after_ms)) == expected


def test_a_job_whose_workers_are_killed_six_times(setup: MediaSetup, work: Callable[[], Process], gate: Gate) -> None:
    ordered = setup.order()
    for kill in range(1, KILLS + 1):
        worker = work()
        if kill < KILLS:
            eventually(lambda: len(setup.upstream.calls) == kill, "a worker has claimed the job")  # noqa: B023  (used at once)
            assert setup.job(ordered).attempts == kill
        else:
            eventually(lambda: setup.job(ordered).status == "failed", "the job is abandoned")
        worker.kill()
        expire_leases()
    worker = work()
    job = setup.job(ordered)
    assert (job.status, job.error_code, job.credits_charged, job.sealed_params) == ("failed", "worker_lost", 0, None)
    assert (setup.spent, Hold.select().count(), UsageLedger.get().status) == (0, 0, "failed")
    setup.assert_consistent()


def test_a_job_continues_after_its_worker_died(setup: MediaSetup, work: Callable[[], Process], gate: Gate) -> None:
    ordered = setup.order()
    worker = work()
    gate.wait_reached()
    worker.kill()
    expire_leases()
    gate.open()
    work()
    eventually(lambda: setup.job(ordered).status == "succeeded", "another worker makes it")
    assert (setup.job(ordered).attempts, setup.spent) == (2, IMAGE)
    setup.assert_consistent()


@contextmanager
def locked(url: str, account: Any) -> Iterator[None]:
    with psycopg.connect(url) as postgres:
        postgres.execute("SELECT 1 FROM account WHERE id = %s FOR UPDATE", (account,))
        yield


def test_a_worker_killed_in_the_last_statement_charges_once(
    setup: MediaSetup, work: Callable[[], Process], postgres_url: str, tmp_path: Path
) -> None:
    ordered = setup.order()
    with locked(postgres_url, setup.account.id):
        worker = work()
        eventually(lambda: bool(setup.upstream.calls), "the provider is called")
        setup.upstream.calls[0].wait_outcome()
        eventually(
            lambda: any("#" not in file.name for file in stored(tmp_path)),
            "the image is stored, and the end waits for the account",
        )
        worker.kill()
    assert (setup.spent, setup.job(ordered).status) == (0, "running")
    expire_leases()
    work()
    eventually(lambda: setup.job(ordered).status == "succeeded", "another worker makes it again")
    assert setup.spent == IMAGE
    setup.assert_consistent()
    assert len(stored(tmp_path)) == 2  # one is not referenced by any row
    key = MediaOutput.get().storage_key
    storage = Storage(LocalStore(tmp_path / "media"))
    for owner in (key, new_key()):
        storage.put(thumbnail_key(owner), b"a thumbnail")
    delete_old_orphans(tmp_path)
    assert sorted(found.key for found in storage.list()) == [key, thumbnail_key(key)]


def stored(folder: Path) -> list[Path]:
    """The files of media jobs, without the ledger's seals."""
    return [path for path in (folder / "media").rglob("*") if path.is_file() and "ledger-heads" not in path.parts]


def delete_old_orphans(folder: Path) -> None:
    for path in stored(folder):
        os.utime(path, (0, 0))
    for _ in range(256):
        delete_orphans(Storage(LocalStore(folder / "media")))


def test_a_started_video_is_not_submitted_twice(setup: MediaSetup, work: Callable[[], Process]) -> None:
    setup.upstream.default = lambda request: video_job("in_progress", 30)
    ordered = setup.order("video")
    worker = work()
    eventually(lambda: setup.job(ordered).progress == 30, "the provider is working on it")
    worker.kill()
    expire_leases()
    setup.upstream.default = default_script
    work()
    eventually(lambda: setup.job(ordered).status == "succeeded", "another worker asks after it")
    [submitted] = setup.upstream.calls
    row = UsageLedger.get()
    assert bytes(row.request_sha256) == sha256(submitted.body).digest()
    assert read_shape(row.request_shape) == request_shape(submitted.json, submitted.headers)
    setup.assert_consistent()


def test_a_lost_message_is_sent_again(setup: MediaSetup, work: Callable[[], Process], redis_url: str) -> None:
    ordered = setup.order()
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    work()
    MediaJob.update(due_at=1).execute()
    eventually(lambda: setup.job(ordered).status == "succeeded", "the sweep finds it")
    setup.assert_consistent()


def test_a_timed_out_job_is_refunded(setup: MediaSetup, work: Callable[[], Process], gate: Gate) -> None:
    waiting, running = setup.order(), setup.order()
    work()
    gate.wait_reached()
    MediaJob.update(deadline_at=1).execute()
    for ordered in (waiting, running):
        eventually(lambda: setup.job(ordered).error_code == "job_timeout", "the sweep ends it")  # noqa: B023  (used at once)
    assert (setup.spent, setup.held) == (0, 0)
    gate.open()
    for call in setup.upstream.calls:
        call.wait_outcome()
    assert setup.order().status == 202  # the late images do no harm, and the next job succeeds
    eventually(lambda: MediaJob.select().where(MediaJob.status == "succeeded").count() == 1, "the next one is made")
    setup.assert_consistent()


def test_without_redis_no_job_is_accepted_and_none_is_lost(
    bound_postgres: Any,
    postgres_url: str,
    own_redis: RedisServer,
    tmp_path: Path,
    start_edge: StartWeb,
    start_worker: StartWorker,
    upstream: Upstream,
) -> None:
    upstream.default = default_script
    setup = MediaSetup(start_edge(database_url=postgres_url, redis_url=own_redis.url, data_dir=tmp_path), upstream)
    taken = setup.order()
    for outage in (own_redis.kill, own_redis.freeze):
        outage()
        for _ in range(2):
            refused = setup.order()
            assert (refused.status, refused.error["code"]) == (503, "service_unavailable")
            assert int(refused.headers["retry-after"]) > 0
        own_redis.thaw() if outage == own_redis.freeze else own_redis.restart()
    assert (MediaJob.select().count(), setup.spent, setup.held) == (1, 0, IMAGE)
    start_worker(database_url=postgres_url, redis_url=own_redis.url, data_dir=tmp_path)
    MediaJob.update(due_at=1).execute()
    eventually(lambda: setup.job(taken).status == "succeeded", "the job that was taken is made")
    eventually(lambda: setup.order().status == 202, "jobs are accepted again")
    eventually(lambda: not MediaJob.select().where(MediaJob.finished_at.is_null()).exists(), "and made")
    setup.assert_consistent()


def test_the_prompt_is_never_stored_in_plain_text(
    setup: MediaSetup, work: Callable[[], Process], gate: Gate, redis_url: str, postgres_url: str
) -> None:
    ordered = setup.order()
    worker = work()
    gate.wait_reached()
    assert setup.job(ordered).sealed_params is not None
    assert CANARY not in everything(redis_url, postgres_url)
    gate.open()
    eventually(lambda: setup.job(ordered).status == "succeeded", "the job ends")
    assert setup.job(ordered).sealed_params is None
    assert CANARY not in everything(redis_url, postgres_url) + worker.output() + setup.edge.process.output()


def everything(redis_url: str, postgres_url: str) -> str:
    """All rows, and everything in Redis."""
    found: list[object] = []
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter():
            found += [key, client.dump(key)]
            if client.type(key) == b"hash":
                found.append(client.hgetall(key))
    with psycopg.connect(postgres_url) as postgres:
        for (table,) in postgres.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall():
            found += postgres.execute(f'SELECT * FROM "{table}"').fetchall()
    assert len(found) > 10
    return repr(found)


def test_many_jobs_are_charged_exactly(setup: MediaSetup, work: Callable[[], Process]) -> None:
    """Four workers; of every ten responses one fails, one is half complete and one is invalid, and some jobs are cancelled."""

    def answer(request: Request) -> Any:
        number = len(setup.upstream.calls) % 10
        return {3: error_response(500), 5: image_response(PNG), 7: error_response(400)}.get(number, image_response(PNG, PNG))

    setup.upstream.default = answer
    ordered = [reply for group in range(6) for reply in run_concurrently(10, lambda _: setup.order(n=2))]
    assert {reply.status for reply in ordered} == {202}
    assert setup.held == 60 * 2 * IMAGE
    workers = [work() for _ in range(4)]
    for reply in ordered[::7]:
        setup.request("POST", f"/api/media/jobs/{reply.json['job_uuid']}/cancel/")
    workers[0].kill()
    expire_leases()
    eventually(lambda: not MediaJob.select().where(MediaJob.finished_at.is_null()).exists(), "every job ends", 60)
    ends = {state: MediaJob.select().where(MediaJob.status == state).count() for state in ("succeeded", "failed", "cancelled")}
    assert sum(ends.values()) == 60
    assert ends["succeeded"] >= 20
    assert setup.spent % IMAGE == 0
    setup.assert_consistent()
