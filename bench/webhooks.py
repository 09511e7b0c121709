"""How unresponsive webhook servers affect another account: the duration of its media jobs, alone and beside such deliveries.

    python -m bench.webhooks [--callbacks 40] [--jobs 5]

One worker. The deliveries are for cancelled jobs, which are free; their server accepts and reads but never answers.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from shared.core.database import bind_database
from shared.models import MediaJob
from tests import factories
from tests.databases import opened
from tests.edge.media.media_stack import IMAGE, PNG, image_response
from tests.edge.shared_edge import Reply
from tests.servers.edge import environment_of, start_edge, start_worker
from tests.servers.postgres import Postgres
from tests.servers.process import eventually
from tests.servers.redis import RedisServer
from tests.upstream import Upstream
from tests.upstream_responses import no_response
from tests.workers.test_media_jobs import MediaSetup

WAIT_SECONDS = 300


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--callbacks", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=5)
    arguments = parser.parse_args()
    postgres, folder = Postgres(), Path(tempfile.mkdtemp(prefix="callbacks-"))
    redis, upstream, silent = RedisServer("valkey", folder), Upstream(), Upstream()
    upstream.default, silent.default = (lambda _: image_response(PNG)), (lambda _: no_response())
    url = postgres.create_migrated()
    settings = {"database_url": url, "redis_url": redis.url, "data_dir": folder, "outbound_networks": "127.0.0.1/32"}
    environ = environment_of(settings)
    processes: list[Any] = []
    try:
        with opened(url) as target:
            bind_database(target)
            edge = start_edge(folder, environ)
            processes.append(edge)
            setup = MediaSetup(edge, upstream)
            processes.append(start_worker(folder, environ))
            alone = _seconds(setup, arguments.jobs)
            _owe_callbacks(edge, f"{silent.url}/hook", arguments.callbacks)
            eventually(lambda: bool(silent.calls), "the first delivery has started", WAIT_SECONDS)
            beside = _seconds(setup, arguments.jobs)
            print(f"a job alone: {alone:.2f} s")
            print(f"beside {arguments.callbacks} silent callbacks: {beside:.2f} s, {beside / alone:.2f} times as long")
            return 0 if beside < 3 * alone else 1
    finally:
        for process in processes:
            process.kill()
        for server in (upstream, silent):
            server.close()
        redis.kill()
        postgres.stop()


def _seconds(setup: MediaSetup, jobs: int) -> float:
    """Return the median time from creating a job to its end."""
    return statistics.median(_one(setup, setup.order) for _ in range(jobs))


def _one(setup: MediaSetup, order: Any) -> float:
    began = time.monotonic()
    ordered: Reply = order()
    eventually(lambda: setup.job(ordered).status == "succeeded", "the job finished", WAIT_SECONDS)
    return time.monotonic() - began


def _owe_callbacks(edge: Any, url: str, count: int) -> None:
    """Create and cancel this many jobs with a callback, from another account."""
    other = MediaSetup.__new__(MediaSetup)
    other.edge, other.account = edge, factories.account(IMAGE * count * 2)
    other.secret = factories.api_key(other.account)[1]
    for _ in range(count):
        ordered = other.order(callback_url=url)
        other.request("POST", f"/api/media/jobs/{ordered.json['job_uuid']}/cancel/")
    assert MediaJob.select().where(MediaJob.account == other.account.id).count() == count


if __name__ == "__main__":
    sys.exit(main())
