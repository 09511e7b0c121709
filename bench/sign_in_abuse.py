"""Sign-in abuse: its effect on other users and on memory.

    python -m bench.sign_in_abuse [--wrong 400] [--chunked 100] [--connections 40]

An edge on PostgreSQL and Valkey receives first sign-ins with chunked bodies (15 MB, without Content-Length), then wrong sign-ins
from 40 addresses. During each, one customer makes chat calls and one user repeatedly signs in with the correct password. The
attackers run in their own process. Prints the edge's memory (RSS) before, at its peak and after; the median call alone and
during the attack; and the time until a correct sign-in got a session or a 503. Other load distorts the times, so the load
average is printed too.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import re
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from shared.core.database import bind_database
from shared.identity.passwords import hash_password
from shared.operations.web_accounts import sign_up
from tests import factories
from tests.databases import opened
from tests.servers.edge import WebProcess, environment_of, start_edge
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from tests.upstream import Upstream

EMAIL, PASSWORD = "owner@example.com", "correct horse battery"
ADDRESSES = 40
BODY_BYTES = 15_000_000
ALONE_SECONDS = 5.0
MAX_GROWTH_MB, MAX_SLOWDOWN, MAX_SIGN_IN_SECONDS = 50, 3.0, 3.0


class Form(NamedTuple):
    """The sign-in form as a browser stores it."""

    cookie: str
    token: str


class Beside(NamedTuple):
    """Measurements during an attack: call times in ms, status and seconds of correct sign-ins, RSS in MB."""

    calls: list[float]
    sign_ins: list[tuple[int, float]]
    rss: list[float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wrong", type=int, default=400)
    parser.add_argument("--chunked", type=int, default=100)
    parser.add_argument("--connections", type=int, default=40)
    arguments = parser.parse_args()
    postgres, folder = Postgres(), Path(tempfile.mkdtemp(prefix="sign-in-abuse-"))
    redis, upstream = RedisServer("valkey", folder), Upstream()
    url = postgres.create_migrated()
    settings: dict[str, Any] = {"database_url": url, "redis_url": redis.url, "data_dir": folder}
    edge: WebProcess | None = None
    try:
        with opened(url) as rows:
            bind_database(rows)
            account = sign_up(EMAIL, hash_password(PASSWORD), 10**9)
            secret = factories.api_key(account)[1]
            factories.model("m-1", factories.channel(upstream.url), input=1, output=1)
            edge = start_edge(folder, environment_of({**settings, "trusted_proxies": ("127.0.0.1",)}))
            return _measure(edge, secret, arguments)
    finally:
        if edge is not None:
            edge.kill()
        upstream.close()
        redis.kill()
        postgres.stop()


def _measure(edge: WebProcess, secret: str, arguments: argparse.Namespace) -> int:
    port = edge.port
    for _ in range(3):  # so that the memory before the attack includes one-time allocations
        _sign_in(port, _form(port), EMAIL, PASSWORD, "198.51.100.7")
    alone = _beside(edge, secret, lambda: time.sleep(ALONE_SECONDS))
    chunked = _beside(edge, secret, lambda: _attack(_send_chunked, port, arguments.chunked, 4))
    wrong = _beside(edge, secret, lambda: _attack(_guess, port, arguments.wrong, arguments.connections))
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    before, base = alone.rss[-1], statistics.median(alone.calls)
    good = True
    for name, found in (("alone", alone), ("chunked", chunked), ("wrong", wrong)):
        growth, slowdown = max(found.rss) - before, statistics.median(found.calls) / base
        longest = max(seconds for _, seconds in found.sign_ins)
        statuses = dict(Counter(status for status, _ in found.sign_ins))
        print(
            f"{name:8} RSS {before:.0f} MB, highest +{growth:.0f}, after +{found.rss[-1] - before:.0f};"
            f" {len(found.calls)} calls, median {statistics.median(found.calls):.1f} ms ({slowdown:.2f} x alone);"
            f" right password {statuses}, longest {longest:.2f} s"
        )
        good &= (
            growth < MAX_GROWTH_MB and slowdown < MAX_SLOWDOWN and longest < MAX_SIGN_IN_SECONDS and set(statuses) <= {303, 503}
        )
    print("within the limits" if good else "NOT within the limits")
    return 0 if good else 1


def _beside(edge: WebProcess, secret: str, work: Callable[[], None]) -> Beside:
    """Run `work`, with a caller, a signing-in user and a memory monitor in parallel."""
    stop, found = threading.Event(), Beside([], [], [])

    def call() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", edge.port, timeout=60)
        body = json.dumps({"model": "m-1", "messages": [{"role": "user", "content": "Hi"}]})
        while not stop.is_set():
            began = time.perf_counter()
            connection.request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {secret}"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"a call returned {answer.status}")
            found.calls.append((time.perf_counter() - began) * 1000)
            time.sleep(0.01)

    def sign_in() -> None:
        while not stop.is_set():
            form = _form(edge.port)
            began = time.perf_counter()
            status = _sign_in(edge.port, form, EMAIL, PASSWORD, "198.51.100.7")
            found.sign_ins.append((status, time.perf_counter() - began))
            time.sleep(0.25)

    def look() -> None:
        while not stop.is_set():
            found.rss.append(_rss_mb(edge.process.pid))
            time.sleep(0.02)

    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(one) for one in (call, sign_in, look)]
        try:
            work()
        finally:
            stop.set()
        for one in running:
            one.result()
    found.rss.append(_rss_mb(edge.process.pid))
    return found


def _attack(send: Callable[[int, int], int], port: int, requests: int, connections: int) -> None:
    began = time.perf_counter()
    process = multiprocessing.get_context("spawn").Process(target=_run_attack, args=(send, port, requests, connections))
    process.start()
    process.join()
    print(f"{send.__name__.strip('_')}: {requests} requests in {time.perf_counter() - began:.1f} s")


def _run_attack(send: Callable[[int, int], int], port: int, requests: int, connections: int) -> None:
    with ThreadPoolExecutor(connections) as pool:
        answers = Counter(pool.map(lambda number: send(port, number), range(requests)))
    print(f"  answers {dict(answers)}")


def _guess(port: int, number: int) -> int:
    return _sign_in(port, _form(port), f"victim-{number}@example.com", "wrong horse battery", f"203.0.113.{number % ADDRESSES}")


def _send_chunked(port: int, number: int) -> int:
    form, piece = _form(port), b"x" * 50_000

    def pieces() -> Iterator[bytes]:
        yield urlencode({"csrf_token": form.token, "password": "x" * 12, "email": ""}).encode()
        for _ in range(BODY_BYTES // len(piece)):
            yield piece

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with suppress(OSError):
        connection.request(
            "POST", "/sign-in", pieces(), _headers(port, form, f"203.0.113.{number % ADDRESSES}"), encode_chunked=True
        )
    try:
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0  # the server closed the connection during the upload
    finally:
        connection.close()


def _form(port: int) -> Form:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/sign-in")
    answer = connection.getresponse()
    page = answer.read().decode()
    cookie = (answer.getheader("set-cookie") or "").split(";")[0]
    connection.close()
    found = re.search(r'name="csrf_token" value="([^"]*)"', page)
    return Form(cookie, unescape(found[1]) if found else "")


def _sign_in(port: int, form: Form, email: str, password: str, address: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = urlencode({"csrf_token": form.token, "email": email, "password": password})
    connection.request("POST", "/sign-in", body, _headers(port, form, address))
    status = connection.getresponse().status
    connection.close()
    return status


def _headers(port: int, form: Form, address: str) -> dict[str, str]:
    headers = {"content-type": "application/x-www-form-urlencoded", "origin": f"http://127.0.0.1:{port}"}
    return {**headers, "cookie": form.cookie, "x-forwarded-for": address, "accept": "text/html"}


def _rss_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024  # type: ignore[index]  # the kernel always says it


if __name__ == "__main__":
    sys.exit(main())
