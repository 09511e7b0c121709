"""The operator's cost of failed attempts: the call's row has the cost of all attempts, each channel's figures only its own."""

from __future__ import annotations

from typing import Any

import pytest

from shared.core.clock import now_ms
from shared.models import ChannelModel, FailoverCost
from shared.rollup import Scope, TimeSpan, read_figures
from tests.edge.assertions import both, valid_answer
from tests.edge.shared_edge import DEFAULT_COST, DEFAULT_PROVIDER_COST, Sandbox
from tests.openai_payloads import chunk as text
from tests.openai_payloads import completion, event, failure, frames, role, tokens
from tests.upstream_responses import HANG, ScriptedResponse, json_response, stream

USED = tokens(100, 40)
USED_COST = 90  # at half a credit and one credit per token
FAILED = failure("The engine exploded.")


@pytest.mark.parametrize(
    ("fault", "cost"),
    [
        (json_response(completion("Hel", finish="error", usage=USED)), USED_COST),
        (json_response({"choices": [], "usage": USED}), USED_COST),
        (json_response({"choices": [], "usage": {**USED, "cost": 0.000_2}}), 200),
        (json_response({"choices": [], "error": {"message": "busy"}}), 0),
        (json_response({**FAILED, "usage": USED}, 503), 0),
    ],
)
def test_an_answer_that_cannot_be_used(sandbox: Sandbox, fault: ScriptedResponse, cost: int) -> None:
    sandbox.provider.script(fault)
    assert sandbox.chat(model=sandbox.pair).status == 200
    check_costs(sandbox, cost)


@pytest.mark.parametrize(
    ("events", "cost"),
    [
        ([role(), event([], usage=USED), FAILED], USED_COST),
        ([role(), {"error": {"message": "busy"}, "usage": USED}], USED_COST),
        ([role(), FAILED], 0),
    ],
)
def test_a_stream_that_fails_before_its_first_token(sandbox: Sandbox, events: list[Any], cost: int) -> None:
    sandbox.provider.script(stream(frames(*events)))
    assert sandbox.chat(model=sandbox.pair, stream=True).status == 200
    check_costs(sandbox, cost)


def test_tokens_that_arrived_with_the_failure_are_counted(sandbox: Sandbox) -> None:
    sandbox.provider.script(stream(frames(role(), text("one two three four five six"), FAILED)))
    sandbox.chat(model=sandbox.pair, stream=True)
    [row] = sandbox.usage()
    assert row.provider_cost >= DEFAULT_PROVIDER_COST + 6


def check_costs(sandbox: Sandbox, cost: int) -> None:
    """Check the row of a call that failed over, and the figures of its two channels."""
    [row] = sandbox.usage()
    assert (row.status, row.attempts, row.credits) == ("completed", 2, DEFAULT_COST)
    assert row.provider_cost == DEFAULT_PROVIDER_COST + cost
    failed, served = (route.channel_id for route in routes(sandbox))
    assert row.channel == served
    moved = FailoverCost.select().where(FailoverCost.last_channel == served)
    assert [(each.channel, each.provider_cost, each.model) for each in moved] == [(failed, cost, sandbox.pair)] * bool(cost)
    now = now_ms()
    span = TimeSpan(row.created_at, now + 1)
    groups = read_figures(Scope(), span, "channel", now).groups
    assert (groups[served].provider_cost, groups[served].costed_credits) == (DEFAULT_PROVIDER_COST, DEFAULT_COST)
    assert (groups[failed].provider_cost if cost else cost, failed in groups) == (cost, bool(cost))
    of_failed = read_figures(Scope(channel=failed), span, "model", now).groups
    assert [(model, tally.provider_cost) for model, tally in of_failed.items()] == [(sandbox.pair, cost)] * bool(cost)
    of_model = read_figures(Scope(model=sandbox.pair), span, "all", now).total
    assert of_model.margin == DEFAULT_COST - DEFAULT_PROVIDER_COST - cost


def routes(sandbox: Sandbox) -> list[ChannelModel]:
    rows = ChannelModel.select().where(ChannelModel.model == sandbox.pair).order_by(ChannelModel.id)
    return list(rows)


@both
def test_another_attempt_at_the_same_channel_is_added(sandbox: Sandbox, streaming: bool) -> None:
    fault = stream(frames(event([], usage=USED), FAILED)) if streaming else json_response({"choices": [], "usage": USED})
    sandbox.provider.script(fault, valid_answer(streaming))
    assert sandbox.chat(stream=streaming).status == 200
    [row] = sandbox.usage()
    assert (row.provider_cost, row.credits) == (DEFAULT_PROVIDER_COST + USED_COST, DEFAULT_COST)
    assert not FailoverCost.select().where(FailoverCost.last_channel == row.channel).exists()


def test_a_call_that_fails_everywhere_costs_what_its_attempts_cost(sandbox: Sandbox) -> None:
    sandbox.provider.default = lambda _: json_response({"choices": [], "usage": USED})
    assert sandbox.chat().status == 502
    [row] = sandbox.usage()
    assert (row.status, row.credits, row.provider_cost) == ("failed", 0, len(sandbox.provider.calls) * USED_COST)


def test_an_empty_completion_costs_what_its_provider_reports(sandbox: Sandbox) -> None:
    sandbox.provider.script(json_response(completion("", usage=tokens(100, 0))), json_response(completion("", usage=None)))
    sandbox.chat()
    sandbox.chat()
    assert [(row.credits, row.provider_cost) for row in sandbox.usage()] == [(0, 50), (0, None)]


def test_what_a_provider_sends_beyond_the_output_limit_is_a_cost(sandbox: Sandbox) -> None:
    words = " ".join(f"word{number}" for number in range(2_000))
    sandbox.provider.script(stream(frames(role(), text(words)), HANG))
    sandbox.chat(stream=True, max_tokens=100)
    [row] = sandbox.usage()
    assert (row.output_tokens, row.cut) == (100, "cancelled_upstream")
    assert row.provider_cost > 2_000
