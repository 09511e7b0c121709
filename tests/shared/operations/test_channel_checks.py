"""Channels are flagged by the margin of their calls and by the token counts of their providers, and paused by rule."""

from __future__ import annotations

from uuid import UUID

import pytest

from shared.catalog.reader import load_catalog
from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput
from shared.models import AuditEntry, Channel, ChannelCheck
from shared.operations.channel_checks import MIN_CALLS, Rule, check_channels, find_problems, update_rule
from shared.operations.model_routes import pause_channel
from shared.rollup import Tally, TokenSums, add_token_sample, read_token_samples, update_sums
from tests import factories
from tests.factories import ORIGIN
from tests.shared.rollup.conftest import DAY, HOUR, NOON, call


def sold(credits: int, cost: int, calls: int = MIN_CALLS) -> Tally:
    return Tally(calls, credits=credits, provider_cost=cost, costed_credits=credits)


def counted(input: tuple[int, int], output: tuple[int, int] = (0, 0), calls: int = MIN_CALLS) -> TokenSums:
    return TokenSums(calls, *input, *output)


@pytest.mark.parametrize(
    ("floor", "tally", "flagged"),
    [
        (0, sold(1_000, 1_000), False),
        (0, sold(1_000, 1_001), True),
        (20, sold(1_000, 800), False),
        (20, sold(1_000, 801), True),
        (-50, sold(1_000, 1_500), False),
        (-50, sold(1_000, 1_501), True),
        (100, sold(1_000, 1), True),
        (0, sold(0, 1), True),
        (-1_000, sold(0, 1), True),
        (0, sold(0, 0), False),  # no cost is known
        (0, sold(1_000, 5_000, MIN_CALLS - 1), False),
    ],
)
def test_margins(floor: int, tally: Tally, flagged: bool) -> None:
    assert find_problems(Rule(floor, 2, False), tally, TokenSums()) == ["margin"] * flagged


SLACK = 4 * MIN_CALLS


@pytest.mark.parametrize(
    ("tolerance", "samples", "flagged"),
    [
        (2, counted((100_000, 102_000 + SLACK)), False),
        (2, counted((100_000, 102_001 + SLACK)), True),
        (2, counted((100_000, 97_999 - SLACK)), True),
        (2, counted((100_000, 98_000 - SLACK)), False),
        (5, counted((100_000, 104_000)), False),
        (2, counted((1_000_000, 1_000_000), (10_000, 10_300)), True),  # the input does not hide the output
        (2, counted((9_999, 20_000)), False),  # too few tokens
        (2, counted((100_000, 200_000), calls=MIN_CALLS - 1), False),
    ],
)
def test_token_counts(tolerance: int, samples: TokenSums, flagged: bool) -> None:
    assert find_problems(Rule(0, tolerance, False), Tally(), samples) == ["counts"] * flagged


def make_calls(channel: Channel, at: int, *, credits: int, cost: int | None, model: str = "m-1", count: int = MIN_CALLS) -> None:
    owner = factories.account().id
    for number in range(count):
        call(owner, at + number, channel=channel.id, credits=credits, provider_cost=cost, model=model)


@pytest.mark.parametrize("rolled", [False, True])
def test_a_losing_channel_is_flagged_once_and_recovers(bound_database: object, rolled: bool) -> None:
    losing, fine, idle = (factories.channel("http://up", name=name) for name in ("losing", "fine", "idle"))
    factories.model("m-1", losing, fine, idle)
    make_calls(losing, NOON - 2 * HOUR, credits=10, cost=11)
    make_calls(losing, NOON - 2 * HOUR, credits=10, cost=None)  # unknown costs do not count
    make_calls(fine, NOON - 2 * HOUR, credits=10, cost=10)
    if rolled:
        update_sums(NOON, 60)
    assert check_channels(NOON) == ["losing"]
    assert check_channels(NOON + 1) == []
    found = {row.channel.name: row for row in ChannelCheck.select()}
    assert found.keys() == {"losing", "fine"}
    row = found["losing"]
    assert (row.problems, row.flagged_at, row.checked_at) == (["margin"], NOON, NOON + 1)
    assert (row.calls, row.costed_credits, row.provider_cost) == (2 * MIN_CALLS, 10 * MIN_CALLS, 11 * MIN_CALLS)
    assert found["fine"].problems == []
    [entry] = AuditEntry.select().where(AuditEntry.action == "channel.flag")
    assert (entry.target, entry.after["problems"]) == ("losing", ["margin"])
    assert Channel.get_by_id(losing.id).out_until is None, "a channel is only paused if its rule says so"
    assert check_channels(NOON + DAY) == []
    row = ChannelCheck.get(ChannelCheck.channel == losing)
    assert (row.problems, row.flagged_at, row.calls) == ([], None, 0)


def test_free_models_do_not_count(bound_database: object) -> None:
    channel = factories.channel("http://up")
    factories.model("gift", channel, is_free=True)
    make_calls(channel, NOON, credits=0, cost=50, model="gift")
    assert check_channels(NOON + HOUR) == []


def test_a_channel_is_paused_by_its_rule_until_it_is_resumed(bound_database: object) -> None:
    channel = factories.channel("http://up", name="losing")
    factories.model("m-1", channel)
    now = now_ms()
    make_calls(channel, now - 60_000, credits=10, cost=20)
    update_rule("losing", Rule(15, 2, True), origin=ORIGIN)
    assert check_channels(now) == ["losing"]
    paused = Channel.get_by_id(channel.id)
    assert paused.out_until > now
    assert paused.out_reason == "The margin of −100.0 % is below 15 %."
    assert load_catalog().models["m-1"].routes == ()
    actions = [row.action for row in AuditEntry.select().where(AuditEntry.target == "losing").order_by(AuditEntry.id)]
    assert actions == ["channel.rule", "channel.flag", "channel.pause"]
    assert check_channels(now + 1) == []
    assert ChannelCheck.get().problems == ["margin"], "the flag stays while the channel is paused"

    pause_channel("losing", 0, "", origin=ORIGIN)
    assert ChannelCheck.get().problems == []
    assert check_channels(now_ms()) == [], "calls before the channel was resumed must not pause it again"
    assert Channel.get_by_id(channel.id).out_until is None
    make_calls(channel, now_ms(), credits=10, cost=20)
    assert check_channels(now_ms() + 1_000) == ["losing"]
    assert Channel.get_by_id(channel.id).out_until is not None


def test_differing_counts_are_summed_by_hour_and_flagged(bound_database: object) -> None:
    channel = factories.channel("http://up", name="greedy")
    factories.model("m-1", channel)
    make_calls(channel, NOON - HOUR, credits=10, cost=None)
    with transaction():
        for number in range(MIN_CALLS):
            add_token_sample(NOON - HOUR + number, channel.id, "m-1", TokenSums(1, 1_000, 1_050, 10, 10))
            add_token_sample(NOON - 2 * DAY + number, channel.id, "m-1", TokenSums(1, 7, 7, 7, 7))
            add_token_sample(NOON - HOUR, UUID(int=9), "m-1", TokenSums(1, 7, 7, 7, 7))
    expected = TokenSums(MIN_CALLS, 20_000, 21_000, 200, 200)
    assert read_token_samples(channel.id, NOON - DAY, NOON) == expected
    update_rule("greedy", Rule(0, 4, True), origin=ORIGIN)
    assert check_channels(NOON) == ["greedy"]
    assert Channel.get().out_reason == (
        "The provider's token counts differ from ours by 5.0 % (input) and 0.0 % (output), more than 4 %."
    )


@pytest.mark.parametrize("rule", [Rule(101, 2, False), Rule(-1_001, 2, False), Rule(0, 0, False), Rule(0, 101, False)])
def test_invalid_rules_are_refused(bound_database: object, rule: Rule) -> None:
    factories.channel("http://up", name="a")
    with pytest.raises(InvalidInput):
        update_rule("a", rule, origin=ORIGIN)
