"""`bench.sdk_retries`, bounded: connections of the official SDKs are cut at random bytes, and each call is charged once."""

from __future__ import annotations

from bench.sdk_retries import Setup, answer, cut_connections
from tests.edge.shared_edge import Sandbox, Stack


def test_calls_whose_connections_are_cut_are_charged_once(stack: Stack, sandbox: Sandbox) -> None:
    other = stack.edge(keepalive_first_seconds=1, keepalive_seconds=1)
    sandbox.provider.default = answer
    setup = Setup(
        [sandbox.edge.port, other.port],
        sandbox.secret,
        sandbox.account.id,
        sandbox.model,
        sandbox.redis_url,
        lambda: sandbox.provider.calls,
    )
    report = cut_connections(setup, cuts=12, seed=3, threads=6)
    assert report.problems == []
    assert report.cuts.total() == 12
    assert report.replayed
