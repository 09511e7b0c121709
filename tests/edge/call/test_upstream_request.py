"""Requests to providers reveal nothing about the caller."""

from __future__ import annotations

import re

from tests.edge.shared_edge import Sandbox
from tests.upstream_responses import error_response


def test_requests_to_the_provider_do_not_identify_the_caller(sandbox: Sandbox) -> None:
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
    identifiers = {"user": "alice@example.com", "safety_identifier": "alice", "prompt_cache_key": "alice-1"}
    sandbox.chat(who, **identifiers, metadata={"user_id": "alice", "run": "alice's"}, store=True)
    [call] = sandbox.provider.calls
    assert set(call.headers) <= {
        *("host", "content-type", "content-length", "accept", "accept-encoding", "user-agent", "http-referer", "authorization"),
    }
    assert call.headers["http-referer"] == "https://yout.chat"
    assert call.headers["user-agent"] == "yout"
    assert call.headers["authorization"].startswith("Bearer sk-acme-")
    result = repr(call.headers) + call.body.decode()
    known = (
        *who.values(),
        "alice",
        sandbox.secret,
        str(sandbox.account.id),
        sandbox.account.id.hex,
        sandbox.account.email,
        sandbox.model,
    )
    assert [word for word in known if word in result] == []
    assert call.json["store"] is False
    assert call.json["metadata"].keys() == {"user_id"}


def test_a_pseudonym_is_stable_within_a_channel_and_differs_between_channels(sandbox: Sandbox) -> None:
    for user in ("alice", "alice", "bob"):
        sandbox.chat(user=user)
    sandbox.provider.default = error_response(500)
    sandbox.chat(model=sandbox.pair, user="alice")
    alice, again, bob = (call.json["user"] for call in sandbox.provider.calls[:3])
    assert alice == again != bob
    assert re.fullmatch(r"[0-9a-f]{32}", alice)
    assert sandbox.second.calls[0].json["user"] not in (alice, bob)


def test_the_provider_gets_its_own_model_name_and_a_request_for_usage(sandbox: Sandbox) -> None:
    sandbox.chat(stream=True)
    sandbox.chat(stream=False)
    streamed, whole = (call.json for call in sandbox.provider.calls)
    assert streamed["model"] == whole["model"] == "acme-model"
    assert streamed["stream_options"] == {"include_usage": True}
    assert "stream_options" not in whole
