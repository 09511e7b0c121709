"""A long queue of media jobs: its throughput, and whether every credit is accounted for.

    python -m bench.media_queue [--jobs 1000] [--workers 4] [--kill]

The provider is a scripted one on this machine that answers immediately, so only our own work is measured: submission, claims,
files, completion. One answer in ten fails, one delivers half of the images and one is a refusal; one job in twenty is
cancelled. `--kill` kills a worker midway. At the end every job must have ended once, and the ledger must balance.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from shared.core.clock import now_ms
from shared.core.database import bind_database
from shared.ledger.verify import verify_ledger
from shared.models import Account, LedgerEntry, MediaJob, UsageLedger
from tests import factories
from tests.databases import opened
from tests.edge.media.media_stack import IMAGE, PNG, image_response
from tests.servers.edge import environment_of, start_edge, start_worker
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from tests.upstream import Request, Upstream
from tests.upstream_responses import ScriptedResponse, error_response

CREDITS = 10**12
CLIENTS = 8
IMAGES = 2
WORK_SECONDS = 1_800  # maximum lifetime of a job


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kill", action="store_true")
    arguments = parser.parse_args()
    postgres, folder = Postgres(), Path(tempfile.mkdtemp(prefix="media-queue-"))
    redis, upstream = RedisServer("valkey", folder), Upstream()
    url = postgres.create_migrated()
    upstream.default = _answer(upstream)
    environ = environment_of({"database_url": url, "redis_url": redis.url, "data_dir": folder})
    processes: list[Any] = []
    try:
        with opened(url) as target:
            bind_database(target)
            owner = factories.account(CREDITS)
            secret = factories.api_key(owner)[1]
            # breakers are per route, so with more routes an open one does not stop the queue
            for number in range(arguments.workers):
                factories.model(
                    f"image-{number}", factories.channel(upstream.url), kind="image", input=0, output=0, per_call=IMAGE
                )
            edge = start_edge(folder, environ)
            processes.append(edge)
            began = time.monotonic()
            ids = _order(edge.port, secret, arguments.jobs, arguments.workers)
            ordered = time.monotonic()
            workers = [start_worker(folder, environ) for _ in range(arguments.workers)]
            processes += workers
            working = time.monotonic()
            _cancel(edge.port, secret, ids[::20])
            if arguments.kill:
                workers[0].kill()
            while MediaJob.select().where(MediaJob.finished_at.is_null()).exists():
                if time.monotonic() - working > WORK_SECONDS:
                    raise SystemExit(f"The jobs were not finished after {WORK_SECONDS} s.")
                time.sleep(0.25)
            ended = time.monotonic()
            print(f"{arguments.jobs} jobs created in {ordered - began:.1f} s ({arguments.jobs / (ordered - began):.0f} a second)")
            pace = arguments.jobs / (ended - working)
            print(f"processed by {arguments.workers} workers in {ended - working:.1f} s ({pace:.0f} a second)")
            return _account(owner.id)
    finally:
        for process in processes:
            process.kill()
        upstream.close()
        redis.kill()
        postgres.stop()


def _answer(upstream: Upstream) -> Any:
    def answer(_: Request) -> ScriptedResponse:
        return {3: error_response(500), 5: image_response(PNG), 7: error_response(400)}.get(
            len(upstream.calls) % 10, image_response(*[PNG] * IMAGES)
        )

    return answer


def _order(port: int, secret: str, jobs: int, models: int) -> list[str]:
    def order(client: int) -> list[str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        found = []
        for number in range(client, jobs, CLIENTS):
            body = json.dumps({"model": f"image-{number % models}", "prompt": "A lighthouse", "n": IMAGES})
            connection.request("POST", "/api/media/image/", body, {"authorization": f"Bearer {secret}"})
            found.append(json.loads(connection.getresponse().read())["job_uuid"])
        connection.close()
        return found

    with ThreadPoolExecutor(CLIENTS) as pool:
        return [id for ids in pool.map(order, range(CLIENTS)) for id in ids]


def _cancel(port: int, secret: str, ids: list[str]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for id in ids:
        connection.request("POST", f"/api/media/jobs/{id}/cancel/", headers={"authorization": f"Bearer {secret}"})
        connection.getresponse().read()
    connection.close()


def _account(owner: Any) -> int:
    """Print the checks. Returns 0 if all pass."""
    jobs = list(MediaJob.select())
    ends = {state: sum(job.status == state for job in jobs) for state in ("succeeded", "failed", "cancelled")}
    charged = sum(job.credits_charged for job in jobs)
    entries = [-entry.amount for entry in LedgerEntry.select().where(LedgerEntry.kind == "charge")]
    account = Account.get_by_id(owner)
    problems = list(verify_ledger(now_ms()).problems)
    checks = {
        "jobs' charges = ledger's charges": charged == sum(entries),
        "ledger's charges = balance change": sum(entries) == CREDITS - account.balance,
        "one usage row per job": UsageLedger.select().count() == len(jobs),
        "at most one charge per job": len(entries) == sum(1 for job in jobs if job.credits_charged),
        "nothing held": account.held == 0,
        "ledger verification passes": not problems,
    }
    print(f"{ends}; {charged} credits charged for {charged // IMAGE} images")
    for what, right in checks.items():
        print(f"{'ok ' if right else 'NO '} {what}")
    print(*problems, sep="\n", end="")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
