"""`/metrics` of an edge: the same sums from each of its processes, also after one has died."""

from __future__ import annotations

import os
import signal
from typing import Any

from shared.models import EdgeProcess
from tests import factories as build
from tests.conftest import StartWeb
from tests.edge.http_calls import Stream, chat, run_concurrently
from tests.openai_payloads import DONE, chunk, finish, role, usage
from tests.servers.metrics import Scrape
from tests.servers.process import eventually
from tests.upstream import Upstream
from tests.upstream_responses import Gate, error_response, stream

CALLS = 12
CHAT = {"surface": "/v1/chat/completions", "model": "m-1"}


def test_each_process_reports_the_sum_of_all(
    bound_postgres: Any, postgres_url: str, redis_url: str, upstream: Upstream, start_edge: StartWeb
) -> None:
    build.model("m-1", build.channel(upstream.url, name="first"), input=1_000, output=2_000, costs=(500, 1_000))
    _, secret = build.api_key(build.account(1_000_000))
    edge = start_edge(database_url=postgres_url, redis_url=redis_url, edge_workers=2)
    answers = run_concurrently(CALLS, lambda number: chat(edge, secret))
    assert [answer.status for answer in answers] == [200] * CALLS
    upstream.script(error_response(503), error_response(503), error_response(503))
    refused = [
        chat(edge, secret).status,
        chat(edge, "yout-unknown").status,
        chat(edge, secret, model="m-unknown").status,
        chat(edge, secret, headers={"x-yout-max-credits": "1"}).status,
    ]
    assert refused == [502, 401, 404, 402]
    charged = sum(answer.body["yout"]["credits_charged"] for answer in answers)

    def check(scrape: Scrape) -> None:
        assert scrape.values("yout_calls_total", **CHAT, channel="first", status="completed", code="") == [CALLS]
        assert scrape.values("yout_calls_total", **CHAT, channel="first", status="failed", code="upstream_error") == [1]
        assert scrape.total("yout_calls_total", status="refused", code="invalid_api_key", model="", channel="") == 1
        assert scrape.total("yout_calls_total", status="refused", code="model_not_found", model="") == 1
        assert scrape.total("yout_calls_total", status="refused", code="insufficient_credits", model="m-1") == 1
        assert [scrape.total("yout_error_responses_total", status=status) for status in ("401", "402", "404", "502")] == [1] * 4
        assert scrape.values("yout_upstream_failures_total") == [3]
        assert scrape.total("yout_credits_charged_total") == charged
        assert scrape.total("yout_route_credits_charged_total", model="m-1", channel="first") == charged
        assert scrape.total("yout_route_unknown_cost_credits_total") == 0
        assert 0 < scrape.total("yout_provider_cost_credits_total") < charged
        assert scrape.total("yout_first_token_seconds_count", model="m-1", channel="first") == CALLS
        assert scrape.total("yout_call_seconds_bucket", model="m-1", le="+Inf") == CALLS + 1
        assert scrape.total("yout_ledger_queue_seconds_count") > 0
        assert scrape.total("yout_database_seconds_count", operation="ledger") > 0
        assert scrape.total("yout_redis_seconds_count") > 0
        assert scrape.values("yout_holds_open") == scrape.values("yout_running_calls") == [0]

    for _ in range(6):  # each connection is accepted by one of the processes
        check(Scrape(edge.port))
    gate = Gate()
    upstream.script(stream(role(), chunk("Hello"), gate, finish(), usage(7, 3), DONE))
    with Stream(edge, secret) as running:
        running.response_head()
        running.read_text("Hello")
        during = Scrape(edge.port)
        assert during.values("yout_holds_open") == during.values("yout_running_calls") == [1]
        assert during.total("yout_held_credits") > 0
        gate.open()
        running.remaining_events()
    before = Scrape(edge.port).total("yout_calls_total")
    os.kill(EdgeProcess.select().order_by(EdgeProcess.id).first().pid, signal.SIGKILL)
    eventually(lambda: Scrape(edge.port).values("yout_edge_processes") == [2], "the process was replaced")
    after = Scrape(edge.port)
    assert after.total("yout_calls_total") == before
    assert chat(edge, secret).status == 200
    assert after.total("yout_build_info", process="edge") == 1
