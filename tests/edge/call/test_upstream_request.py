"""Requests to providers reveal nothing about the caller."""

from __future__ import annotations

import re

from tests.edge.shared_edge import Lane
from tests.upstream_responses import status


def test_requests_to_the_provider_do_not_identify_the_caller(lane: Lane) -> None:
    who = {
        "user-agent": "MyApp/1.0",
        "x-forwarded-for": "203.0.113.7",
        "cookie": "session=1",
        "x-stainless-os": "Linux",
        "openai-organization": "org-mine",
        "referer": "https://mine.example",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "idempotency-key": "mine-1",
    }
    lane.chat(who, user="alice@example.com", safety_identifier="alice", metadata={"user_id": "alice", "run": "1"}, store=True)
    [call] = lane.vendor.calls
    assert set(call.headers) <= {
        *("host", "content-type", "content-length", "accept", "accept-encoding", "user-agent", "http-referer", "authorization"),
    }
    assert call.headers["http-referer"] == "https://yout.chat"
    assert call.headers["user-agent"] == "yout"
    assert call.headers["authorization"].startswith("Bearer sk-vendor-")
    result = repr(call.headers) + call.body.decode()
    known = (*who.values(), "alice", lane.secret, str(lane.account.id), lane.account.id.hex, lane.account.email, lane.model)
    assert [word for word in known if word in result] == []
    assert call.json["store"] is False
    assert call.json["metadata"]["run"] == "1"


def test_a_pseudonym_is_stable_within_a_channel_and_differs_between_channels(lane: Lane) -> None:
    for user in ("alice", "alice", "bob"):
        lane.chat(user=user)
    lane.vendor.default = status(500)
    lane.chat(model=lane.pair, user="alice")
    alice, again, bob = (call.json["user"] for call in lane.vendor.calls[:3])
    assert alice == again != bob
    assert re.fullmatch(r"[0-9a-f]{32}", alice)
    assert lane.second.calls[0].json["user"] not in (alice, bob)


def test_the_provider_gets_its_own_model_name_and_a_request_for_usage(lane: Lane) -> None:
    lane.chat(stream=True)
    lane.chat(stream=False)
    streamed, whole = (call.json for call in lane.vendor.calls)
    assert streamed["model"] == whole["model"] == "vendor-model"
    assert streamed["stream_options"] == {"include_usage": True}
    assert "stream_options" not in whole
