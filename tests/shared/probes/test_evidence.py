"""The sequential test: its formula, its false alarms and its power."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from itertools import product

import pytest

from shared.probes.evidence import (
    BETS,
    RUN_PROBES,
    THRESHOLD,
    TOLERANCE,
    Choice,
    Choices,
    Differences,
    Evidence,
    read_evidence,
)

Draw = Callable[[random.Random], tuple[str, Choice | None]]
SHARES = (0.4, 0.3, 0.2, 0.1)  # a model's choices


def run(draw: Draw, source: random.Random) -> int | None:
    """The number of probes until the alarm, or None."""
    evidence = Evidence()
    while not evidence.is_done:
        who, choice = draw(source)
        evidence = evidence.plus({"answers": who}, choice)
    return evidence.probes if evidence.is_different else None


def differs(share: float, *, only_channel: bool = False) -> Draw:
    """In a share of the probes one reply differs: each with the same probability, or always the channel's."""
    whose = ("channel",) if only_channel else ("channel", "reference", "reference")
    return lambda source: (source.choice(whose) if source.random() < share else "", None)


def chooses(channel: tuple[float, ...]) -> Draw:
    def draw(source: random.Random) -> tuple[str, Choice]:
        first, second = source.choices(range(4), SHARES, k=2)
        return "", Choice("numbers", 4, (first, second), source.choices(range(4), channel)[0])

    return draw


@pytest.mark.parametrize("draw", [differs(0.1), differs(1.0), chooses(SHARES)], ids=["few", "all", "choices"])
def test_the_same_model_raises_less_than_one_false_alarm_in_a_hundred_runs(draw: Draw) -> None:
    source = random.Random(5)
    alarms = sum(run(draw, source) is not None for _ in range(200))
    assert alarms <= 1


@pytest.mark.parametrize(
    ("draw", "at_most"),
    [
        (differs(1.0, only_channel=True), 20),
        (differs(0.5, only_channel=True), 50),
        (differs(0.25, only_channel=True), RUN_PROBES),
        (chooses((0.1, 0.1, 0.2, 0.6)), RUN_PROBES),
    ],
    ids=["always", "half", "quarter", "choices"],
)
def test_another_model_is_found(draw: Draw, at_most: int) -> None:
    source = random.Random(6)
    found = [run(draw, source) for _ in range(20)]
    assert all(probes is not None and probes <= at_most for probes in found), found


def test_a_fair_bet_never_gains_on_average() -> None:
    """The expectation of each factor is at most 1 for the same model; exactly, over all outcomes."""
    for share in (0.0, 0.3, 1.0):
        odds = {Differences(1, 1, 0): share / 3, Differences(1, 0, 1): 2 * share / 3, Differences(1, 0, 0): 1 - share}
        assert sum(chance * math.exp(counts.log_capital()) for counts, chance in odds.items()) <= 1
    # of the tolerance, too
    odds = {Differences(1, 1, 0): TOLERANCE, Differences(1, 0, 0): 1 - TOLERANCE}
    assert sum(chance * math.exp(counts.log_capital()) for counts, chance in odds.items()) <= 1 + 1e-12
    before = Choices(0.0, {"numbers": (9, 1, 0, 3)}, {"numbers": (0, 5, 2, 1)})
    for shares in (SHARES, (1.0, 0.0, 0.0, 0.0), (0.01, 0.01, 0.49, 0.49)):
        mean = sum(
            shares[a] * shares[b] * shares[c] * math.exp(before.plus(Choice("numbers", 4, (a, b), c)).log_capital)
            for a, b, c in product(range(4), repeat=3)
        )
        assert mean <= 1 + 1e-12


def test_the_capital_is_the_mean_of_the_products() -> None:
    x = [1, 0, -1, 1, 0, 0]
    products = [math.prod(1 + bet * (each - TOLERANCE) for each in x) for bet in BETS]
    assert Differences(6, 2, 1).log_capital() == pytest.approx(math.log(sum(products) / len(BETS)))


def test_the_value_is_the_mean_of_all_kinds() -> None:
    evidence = Evidence().plus({"answers": "channel", "token_counts": ""}, Choice("numbers", 2, (0, 1), 1))
    logs = evidence.log_capitals()
    assert set(logs) == {"answers", "token_counts", "choices"}
    assert evidence.value() == pytest.approx((sum(map(math.exp, logs.values())) + 2) / 5)  # two kinds were not compared


def test_evidence_is_stored_as_json() -> None:
    evidence = Evidence()
    for number in range(40):
        evidence = evidence.plus({"answers": "channel"}, Choice("numbers", 5, (number % 5, 0), 4))
    assert evidence.is_different
    assert evidence.value() >= THRESHOLD
    stored = read_evidence(json.loads(json.dumps(evidence.to_json())))
    assert stored == evidence
    assert read_evidence({}) == Evidence()


def test_a_long_run_of_differences_does_not_overflow() -> None:
    evidence = Evidence(5_000, {"answers": Differences(5_000, 5_000, 0)})
    assert math.isfinite(evidence.value())
    assert Evidence(RUN_PROBES).is_done
