"""Traces: the data about a call that a collector gets, and the data that it must never get."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from edge.store.tracing import is_private
from shared.core.errors import SettingsError
from shared.models import Account
from tests import factories as build
from tests.conftest import StartWeb
from tests.edge.http_calls import Stream, chat
from tests.openai_payloads import chunk, role
from tests.servers.collector import Collector, attributes
from tests.servers.process import eventually
from tests.upstream import Upstream
from tests.upstream_responses import Gate, error_response, stream

CANARY = "a lighthouse in the fog"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def collector() -> Iterator[Collector]:
    running = Collector()
    yield running
    running.close()


@pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
def test_a_call_is_a_span_with_its_steps_as_children(
    bound_database: Any, any_database_url: str, redis_url: str, upstream: Upstream, start_edge: StartWeb, collector: Collector
) -> None:
    build.model("m-1", build.channel(upstream.url, name="first"), input=1_000, output=2_000)
    owner = build.account(email="ada@lighthouse.example")
    _, secret = build.api_key(owner, name="laptop")
    edge = start_edge(database_url=any_database_url, redis_url=redis_url, otlp_endpoint=collector.url)
    upstream.script(error_response(500, {"error": {"message": CANARY, "code": CANARY}}))
    joined = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1", "user-agent": CANARY}
    said = [{"role": "user", "content": CANARY}]
    with Stream(edge, secret, joined, messages=said) as call:
        request_id = call.response_head().headers["x-request-id"]
        assert call.remaining_events()[-1] == {"done": True}
    assert chat(edge, "yout-unknown", messages=said).status == 401
    gate = Gate()
    upstream.script(stream(role(), chunk("Hello"), gate))
    with Stream(edge, secret, messages=said) as cut:
        cut.response_head()
        cut.read_text("Hello")
    eventually(lambda: Account.get_by_id(owner.id).held == 0, "the cut call is settled")
    gate.open()
    assert edge.terminate() == 0  # sends the remaining spans

    roots = {span.span_id: span for span in collector.spans if span.name == "POST /v1/chat/completions"}
    assert len(roots) == 3
    [first] = [span for span in roots.values() if span.trace_id.hex() == TRACE]
    assert (first.parent_span_id.hex(), first.kind) == (PARENT, first.SPAN_KIND_SERVER)
    expected = {
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "yout.request_id": request_id,
        "yout.account": str(owner.id),
        "yout.model": "m-1",
        "yout.channel": "first",
        "yout.status": "completed",
        "yout.credits": 13,
        "yout.attempts": 2,
    }
    assert expected.items() <= attributes(first).items()
    steps = sorted(
        (span for span in collector.spans if span.parent_span_id == first.span_id), key=lambda span: span.start_time_unix_nano
    )
    assert [span.name for span in steps] == ["limiter", "reserve", "attempt", "attempt", "relay", "settle"]
    failed, served = (span for span in steps if span.name == "attempt")
    assert (attributes(failed)["error.type"], attributes(failed)["http.response.status_code"]) == ("status_500", 500)
    assert (failed.status.code, served.status.code) == (failed.status.STATUS_CODE_ERROR, served.status.STATUS_CODE_UNSET)
    assert {"yout.channel": "first", "http.response.status_code": 200}.items() <= attributes(served).items()
    assert all(first.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano for span in steps)

    # The trace continues at the provider, which is at a private address here.
    assert upstream.calls[1].headers["traceparent"] == f"00-{TRACE}-{served.span_id.hex()}-01"
    others = [attributes(span) for span in roots.values() if span is not first]
    assert [one["http.response.status_code"] for one in others if "yout.status" not in one] == [401]
    assert [one["yout.error"] for one in others if "yout.status" in one] == ["client_closed"]
    assert collector.services == {"yout-edge"}
    for private in (CANARY, secret, "lighthouse.example", "laptop", build.UPSTREAM_SECRET):
        assert private.encode() not in collector.data


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("http://127.0.0.1:8002/v1", True),
        ("http://[::1]:8002/v1", True),
        ("https://10.1.2.3/v1", True),
        ("http://localhost:1234", True),
        ("http://llm.internal/v1", True),
        ("https://api.openai.com/v1", False),
        ("https://8.8.8.8/v1", False),
    ],
)
def test_whether_a_provider_is_in_the_operators_network(url: str, private: bool) -> None:
    assert is_private(url) is private


def test_missing_packages_are_reported(make_settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge.services import _open_tracer

    monkeypatch.setitem(sys.modules, "edge.store.tracing", None)
    with pytest.raises(SettingsError, match=r"requirements/otel\.txt"):
        _open_tracer(make_settings(otlp_endpoint="http://127.0.0.1:4318"))
