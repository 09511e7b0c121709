"""Scheduled probes: two scripted providers whose answers differ slightly, the verdict, its effect, and the budget."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Any

import peewee
import pytest

from shared.catalog.reader import LOWERED_WEIGHT, load_catalog
from shared.core.clock import now_ms
from shared.core.errors import InvalidInput, NotFound
from shared.models import AuditEntry, Channel, ChannelComparison, ChannelModel, ProbeSum
from shared.operations.model_probes import (
    DAY_MS,
    KEPT_DAYS,
    ProbeRule,
    claim_probe,
    delete_old,
    record_probe,
    restart_comparison,
    rule_of,
    update_probe_rule,
)
from shared.operations.model_routes import remove_route
from shared.probes.client import ProbeResult
from shared.probes.comparison import Observation
from shared.probes.evidence import RUN_PROBES, Differences, Evidence, read_evidence
from shared.probes.last_comparison import read_last_comparison
from tests import factories, openai_payloads
from tests.factories import ORIGIN
from tests.servers.process import Process, eventually
from tests.upstream import Request, Upstream
from tests.upstream_responses import CLOSE, ScriptedResponse, error_response, json_response
from workers.probes import Probes

on_sqlite = pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
NOON = 20_800 * DAY_MS + DAY_MS // 2
RULE = ProbeRule(False, 1_000, 1_000_000, True)


def model(
    *, wrong: int = 0, weights: tuple[int, ...] = (4, 3, 2, 1), valid: bool = True, words: int = 0, tools: bool = True
) -> Callable[[Request], ScriptedResponse]:
    """A model whose answers depend on the prompt.

    In `wrong` percent of the questions its answer differs from that of other such models. Choices are drawn by `weights`. It
    counts `words` too many input tokens, and its tool calls are `valid`, or refused.
    """
    source = Random(7)

    def answer(request: Request) -> ScriptedResponse:
        body = request.json
        prompt = body["messages"][0]["content"]
        digest = int(hashlib.sha256(prompt.encode()).hexdigest(), 16)
        usage = openai_payloads.tokens(len(prompt.split()) + words, 3)
        if "tools" in body:
            if not tools:
                return error_response(400)
            function = body["tools"][0]["function"]
            fields = function["parameters"]["properties"]
            values = {name: 3 if one["type"] == "integer" else one.get("enum", ["x"])[0] for name, one in fields.items()}
            arguments = json.dumps(values) if valid else json.dumps(values)[:-1]
            call = {"id": "call_1", "type": "function", "function": {"name": function["name"], "arguments": arguments}}
            return json_response(openai_payloads.completion(None, usage=usage, finish="tool_calls", tool_calls=[call]))
        if body["temperature"] == 1:
            numbers = re.findall(r"\d+", prompt)
            return json_response(openai_payloads.completion(source.choices(numbers, weights)[0], usage=usage))
        return json_response(openai_payloads.completion("no" if digest % 100 < wrong else "yes", usage=usage))

    return answer


@pytest.fixture
def reference(bound_database: peewee.Database, upstream: Upstream) -> Channel:
    """A reference channel, which serves `m-1`."""
    upstream.default = model()
    return factories.channel(upstream.url, name="reference", is_reference=True)


@pytest.fixture
def compared(reference: Channel, start_upstream: Callable[[], Upstream]) -> tuple[Channel, Upstream]:
    """A channel that is compared with it, and its provider."""
    provider = start_upstream()
    channel = factories.channel(provider.url, name="cheap", **RULE._asdict())
    factories.model("m-1", reference, channel, costs=(1_000, 1_000))
    return channel, provider


def send(probes: Probes, number: int, now: int = NOON) -> int:
    """Send up to `number` probes, until a verdict. Returns how many were sent."""
    if not ChannelComparison.select().exists():
        claim_probe(now, Random(1))  # schedules the first one
    sent = 0
    while sent < number and verdict() == "not_compared":
        ChannelComparison.update(due_at=0).execute()
        if not probes.send_next(now):
            break
        sent += 1
    return sent


def begin(channel: Channel, evidence: Evidence, verdict: str | None = None) -> None:
    """Store a run of the channel that has begun."""
    reference = Channel.get(Channel.name == "reference").id
    ChannelComparison.create(
        channel=channel.id, model="m-1", reference=reference, evidence=evidence.to_json(), verdict=verdict, compared_at=NOON
    )


def verdict() -> str:
    return read_last_comparison(Channel.get(Channel.name == "cheap").id, "m-1").result


@on_sqlite
@pytest.mark.parametrize(
    ("twin", "shape", "kind"),
    [
        (model(wrong=60), "question", "answers"),
        (model(words=1), "question", "token_counts"),
        (model(valid=False), "tool", "tool_calls"),
        (model(weights=(0, 0, 1, 9)), "choice", "choices"),
    ],
    ids=["answers", "token counts", "tool calls", "choices"],
)
def test_another_model_is_found(
    compared: tuple[Channel, Upstream], make_settings: Any, monkeypatch: pytest.MonkeyPatch, twin: Any, shape: str, kind: str
) -> None:
    monkeypatch.setattr("shared.probes.client.SHAPES", (shape,))
    channel, provider = compared
    provider.default = twin
    assert 5 < send(Probes(make_settings(), Random(3)), 60) < 60
    assert verdict() == "different"
    [entry] = AuditEntry.select().where(AuditEntry.action == "channel.compare")
    assert (entry.actor, entry.target, entry.after["verdict"]) == ("model probes", "m-1 on cheap", "different")
    found = ProbeSum.get((ProbeSum.channel == channel.id) & (ProbeSum.kind == kind))
    assert found.differing > found.reference_differing or kind == "choices"
    weights = {route.channel_name: route.weight for route in load_catalog().models["m-1"].routes}
    assert weights == {"reference": 1, "cheap": LOWERED_WEIGHT}


def test_the_same_model_is_called_the_same(compared: tuple[Channel, Upstream], upstream: Upstream, make_settings: Any) -> None:
    channel, provider = compared
    provider.default = model()
    begin(channel, Evidence(RUN_PROBES - 8, {"answers": Differences(90, 1, 2)}))
    assert send(Probes(make_settings(), Random(4)), 20) == 8
    assert verdict() == "same"
    row = ChannelComparison.get()
    assert (row.evidence, row.verdict_evidence["probes"]) == ({}, RUN_PROBES)
    assert (len(provider.calls), len(upstream.calls)) == (8, 16)
    sums = {each.kind: each for each in ProbeSum.select()}
    assert (sums["probes"].probes, sums["probes"].failed, sums["answers"].probes) == (8, 0, 4)
    assert (sums["tool_calls"].passed, sums["tool_calls"].reference_passed) == (2, 4)
    assert sums["probes"].provider_cost >= 24
    assert load_catalog().models["m-1"].routes[1].weight == 1
    assert len({call.json["messages"][0]["content"] for call in provider.calls}) == 8


@on_sqlite
def test_probes_stay_within_the_budget_and_have_a_reference(
    compared: tuple[Channel, Upstream], reference: Channel, make_settings: Any
) -> None:
    compared[1].default = model()
    probes = Probes(make_settings(), Random(5))
    for rule, sent in ((RULE._replace(daily_probes=3), 3), (RULE._replace(daily_probe_credits=1), 0)):
        update_probe_rule("cheap", rule, origin=ORIGIN)
        assert send(probes, 6) == sent
    assert send(probes, 6, NOON + DAY_MS) == 1  # the first probe of the next day costs more than a credit
    update_probe_rule("cheap", RULE._replace(daily_probes=0), origin=ORIGIN)
    assert send(probes, 1, NOON + 2 * DAY_MS) == 0
    update_probe_rule("cheap", RULE, origin=ORIGIN)
    Channel.update(out_until=NOON + 3 * DAY_MS).where(Channel.name == "cheap").execute()
    assert send(probes, 1, NOON + 2 * DAY_MS) == 0  # paused
    Channel.update(out_until=None).execute()
    update_probe_rule("reference", rule_of(reference)._replace(is_reference=False), origin=ORIGIN)
    assert send(probes, 1, NOON + 2 * DAY_MS) == 0


@on_sqlite
@pytest.mark.parametrize("lost", ["cut", "malformed", "uncounted"])
def test_calls_without_a_known_cost_count_against_the_budget(
    compared: tuple[Channel, Upstream], upstream: Upstream, make_settings: Any, lost: str
) -> None:
    answers = {
        "cut": ScriptedResponse(head=(200, {"content-type": "application/json"}), pieces=(b"{", CLOSE)),
        "malformed": json_response({"object": "error"}),
        "uncounted": json_response(openai_payloads.completion("yes", usage=None)),
    }
    compared[1].default = upstream.default = answers[lost]
    update_probe_rule("cheap", RULE._replace(daily_probe_credits=50), origin=ORIGIN)
    sent = send(Probes(make_settings(), Random(5)), 20)
    sums = ProbeSum.get(ProbeSum.kind == "probes")
    assert sums.provider_cost >= 50
    assert (sums.probes, sums.failed) == (sent, 0 if lost == "uncounted" else sent)
    assert sent < 20


@on_sqlite
def test_probes_are_spread_over_the_day(compared: tuple[Channel, Upstream]) -> None:
    update_probe_rule("cheap", RULE._replace(daily_probes=96), origin=ORIGIN)  # every quarter of an hour
    source = Random(6)
    due = [minute for minute in range(0, 24 * 60, 5) if claim_probe(NOON + minute * 60_000, source) is not None]
    pauses = {later - earlier for earlier, later in pairwise(due)}
    assert due[0] <= 15
    assert {10, 15, 20} <= pauses <= {10, 15, 20, 25}
    assert 70 < len(due) <= 96


@on_sqlite
def test_what_a_provider_refuses_is_not_compared(compared: tuple[Channel, Upstream], make_settings: Any) -> None:
    compared[1].default = model(tools=False)
    send(Probes(make_settings(), Random(8)), 9)
    sums = {each.kind: each for each in ProbeSum.select()}
    assert (sums["probes"].probes, sums["probes"].failed, sums["answers"].probes) == (9, 1, 6)
    assert "tool_calls" not in sums


@on_sqlite
def test_fields_that_a_provider_refuses_are_left_out_for_all(
    compared: tuple[Channel, Upstream], upstream: Upstream, make_settings: Any
) -> None:
    answer = model()
    compared[1].default = lambda request: error_response(400) if "logprobs" in request.json else answer(request)
    assert send(Probes(make_settings(), Random(8)), 4) == 4
    assert ProbeSum.get(ProbeSum.kind == "probes").failed == 0
    questions = [call.json for call in (*compared[1].calls, *upstream.calls) if "seed" in call.json]
    accepted = [body for body in questions if "logprobs" not in body]
    assert len(accepted) == 6  # two questions
    assert len(questions) - len(accepted) <= 3


@on_sqlite
def test_a_provider_that_fails_is_not_called_different(compared: tuple[Channel, Upstream], make_settings: Any) -> None:
    compared[1].default = error_response(503)
    send(Probes(make_settings(), Random(9)), 30)
    assert verdict() == "not_compared"
    found = ProbeSum.get()
    assert (found.kind, found.probes, found.failed) == ("probes", 30, 30)


@on_sqlite
def test_a_comparison_starts_over(compared: tuple[Channel, Upstream], reference: Channel, make_settings: Any) -> None:
    channel, provider = compared
    provider.default = model()
    begin(channel, Evidence(12), "different")
    assert load_catalog().models["m-1"].routes[1].weight == LOWERED_WEIGHT
    restart_comparison("cheap", "m-1", origin=ORIGIN)
    assert verdict() == "not_compared"
    assert load_catalog().models["m-1"].routes[1].weight == 1
    with pytest.raises(NotFound):
        restart_comparison("cheap", "m-2", origin=ORIGIN)
    ChannelComparison.update(verdict="same").execute()
    other = factories.channel(reference.base_url, name="a reference", is_reference=True)
    ChannelModel.create(channel=other, model="m-1", upstream_model="m")
    assert claim_probe(NOON, Random(1)) is not None
    assert verdict() == "not_compared"  # with the new reference
    assert ChannelComparison.get().reference == other.id


@on_sqlite
def test_a_result_that_arrives_after_the_reference_changed_is_not_counted(compared: tuple[Channel, Upstream]) -> None:
    begin(compared[0], Evidence())
    probe = claim_probe(NOON, Random(1))
    assert probe is not None
    ChannelComparison.update(reference=compared[0].id).execute()
    result = ProbeResult("question", Observation({"answers": "channel"}, passed=(False, 2)), 7)
    assert record_probe(probe, result, NOON) is None
    assert ChannelComparison.get().evidence == Evidence().to_json()
    assert ProbeSum.get(ProbeSum.kind == "probes").provider_cost == 7


@on_sqlite
def test_rules_are_checked_and_audited(compared: tuple[Channel, Upstream]) -> None:
    for rule in (
        RULE._replace(daily_probes=10_001),
        RULE._replace(daily_probes=-1),
        RULE._replace(daily_probe_credits=0),
        RULE._replace(is_reference=True),
    ):
        with pytest.raises(InvalidInput):
            update_probe_rule("cheap", rule, origin=ORIGIN)
    update_probe_rule("cheap", RULE, origin=ORIGIN)
    assert AuditEntry.select().count() == 0  # unchanged
    update_probe_rule("cheap", RULE._replace(daily_probes=5), origin=ORIGIN)
    [entry] = AuditEntry.select()
    assert (entry.action, entry.before["daily_probes"], entry.after["daily_probes"]) == ("channel.probes", 1_000, 5)


@on_sqlite
def test_old_sums_and_comparisons_of_removed_routes_are_deleted(compared: tuple[Channel, Upstream]) -> None:
    channel, _ = compared
    for day in (0, KEPT_DAYS + 1):
        ProbeSum.create(day=NOON - day * DAY_MS, channel=channel.id, model="m-1", kind="probes", probes=1)
    ChannelComparison.create(channel=channel.id, model="m-1", reference=channel.id)
    assert delete_old(NOON) == 1
    remove_route(ChannelModel.get(ChannelModel.channel == channel).id, origin=ORIGIN)
    assert delete_old(NOON) == 1
    assert (ProbeSum.select().count(), ChannelComparison.select().count()) == (1, 0)


def test_a_worker_sends_probes(
    compared: tuple[Channel, Upstream], any_database_url: str, redis_url: str, start_worker: Callable[..., Process]
) -> None:
    channel, provider = compared
    provider.default = model(words=1)
    begin(channel, Evidence(13, {"token_counts": Differences(13, 13, 0)}))
    assert not read_evidence(ChannelComparison.get().evidence).is_different
    start_worker(database_url=any_database_url, redis_url=redis_url)
    eventually(lambda: verdict() == "different", "a verdict")
    assert ChannelComparison.get().due_at > now_ms()
    assert provider.calls
