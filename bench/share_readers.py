"""How readers of a worst-case share affect calls of the same edge process: the gaps between stream chunks.

    python -m bench.share_readers [--readers 30] [--streams 20] [--chunks 200]

The share contains 2 x 95,000 opening brackets, which take a Markdown parser quadratic time. Each stream sends a chunk every
50 ms.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from shared.core.database import bind_database
from shared.operations.conversations import ChatMessage
from shared.operations.shares import share_messages
from tests import factories
from tests.databases import opened
from tests.edge.http_calls import Stream
from tests.openai_payloads import DONE, chunk, finish, usage
from tests.servers.edge import environment_of, start_edge
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from tests.upstream import Upstream
from tests.upstream_responses import Pause, stream

PACE_SECONDS = 0.05
WORST = "[" * 95_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", type=int, default=30)
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--chunks", type=int, default=200)
    arguments = parser.parse_args()
    postgres, folder = Postgres(), Path(tempfile.mkdtemp(prefix="share-readers-"))
    redis, upstream = RedisServer("valkey", folder), Upstream()
    pieces: list[Any] = [piece for _ in range(arguments.chunks) for piece in (chunk("word "), Pause(PACE_SECONDS))]
    upstream.default = lambda _: stream(*pieces, finish(), usage(7, arguments.chunks), DONE)
    url = postgres.create_migrated()
    edge = None
    try:
        with opened(url) as target:
            bind_database(target)
            owner = factories.account(10**9)
            secret = factories.api_key(owner)[1]
            factories.model("m-1", factories.channel(upstream.url))
            slug = share_messages(owner.id, "Brackets", [ChatMessage("user", WORST), ChatMessage("assistant", WORST)]).slug
            edge = start_edge(folder, environment_of({"database_url": url, "redis_url": redis.url, "data_dir": folder}))
            _report("streams alone", _gaps(edge, secret, arguments.streams))
            waits: list[float] = []
            readers = threading.Thread(target=_read_all, args=(edge.port, slug, arguments.readers, waits))
            readers.start()
            _report(f"beside {arguments.readers} readers", _gaps(edge, secret, arguments.streams))
            readers.join()
            print(f"readers: first {min(waits):.2f} s, last {max(waits):.2f} s")
        return 0
    finally:
        if edge is not None:
            edge.kill()
        upstream.close()
        redis.kill()
        postgres.stop()


def _gaps(edge: Any, secret: str, streams: int) -> list[float]:
    """Return all gaps between consecutive chunks of this many concurrent streams, in milliseconds."""

    def one(_: int) -> list[float]:
        times = []
        with Stream(edge, secret) as call:
            call.response_head()
            for _event in call.events():
                times.append(time.monotonic())
        return [(later - earlier) * 1000 for earlier, later in itertools.pairwise(times)]

    with ThreadPoolExecutor(streams) as pool:
        return sorted(gap for gaps in pool.map(one, range(streams)) for gap in gaps)


def _report(what: str, gaps: list[float]) -> None:
    p50, p99 = gaps[len(gaps) // 2], gaps[len(gaps) * 99 // 100]
    print(f"{what}: gaps p50 {p50:.0f} ms, p99 {p99:.0f} ms, longest {gaps[-1]:.0f} ms")


def _read_all(port: int, slug: str, readers: int, waits: list[float]) -> None:
    def read(_: int) -> None:
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        connection.request("GET", f"/c/{slug}")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        connection.close()
        waits.append(time.monotonic() - began)

    with ThreadPoolExecutor(readers) as pool:
        list(pool.map(read, range(readers)))


if __name__ == "__main__":
    sys.exit(main())
