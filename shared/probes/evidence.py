"""The sequential test of whether a channel serves the same model as a reference channel. Pure.

Each probe is sent twice to the reference and once to the channel. If all three serve the same model, each reply is equally
likely to be the one that differs from the two others, so it is the channel's in one third of such probes. In more detail:

**Differing replies** (`answers`, `token_counts`, `logprobs`, `tool_calls`). Let x be 1 if only the channel's reply differs, −1 if
only one of the reference's does, and 0 otherwise. For the same model E[x] ≤ 0, and the test also accepts E[x] ≤ ε
(`TOLERANCE`), because other hardware changes a few answers. For a fixed bet b in [0, 1 / (1 + ε)) the capital

    K_b = Π (1 + b (x − ε))

is then a nonnegative supermartingale that starts at 1, and so is its mean over several bets (`BETS`). Source: Waudby-Smith and
Ramdas, "Estimating means of bounded random variables by betting", Journal of the Royal Statistical Society B 86 (2024). The
capital only depends on how often x was 1, −1 and 0.

**Sampled choices** (`choices`). Questions with few possible answers are sampled at temperature 1. Let p and q be the frequencies
of the answers of reference and channel in the earlier probes (each with half a count for every answer), and m = (2p + q) / 3. A
probe with the answers r, s of the reference and c of the channel multiplies the capital by

    p(r) / m(r) · p(s) / m(s) · q(c) / m(c)

If both have the same distribution, whatever it is, the expectation of this factor is at most 1: the three ratios have the mean 1,
and the geometric mean is at most the arithmetic one. Source: Turner, Ly and Grünwald, "Generic E-variables for exact sequential
k-sample tests that allow for optional stopping", Journal of Statistical Planning and Inference 230 (2024).

**The verdict.** The mean of the five capitals is an e-process, too, however they depend on one another (Vovk and Wang,
"E-values: calibration, combination and applications", Annals of Statistics 49, 2021). By Ville's inequality, the probability
that it ever reaches 1 / α is at most α. The channel is called different once it reaches `THRESHOLD`, so the probability of a
false alarm is at most 0.5 % over a whole run, however often it is checked. A run ends then, or without an alarm after
`RUN_PROBES` probes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

KINDS = ("answers", "token_counts", "logprobs", "tool_calls", "choices")
Kind = Literal["answers", "token_counts", "logprobs", "tool_calls", "choices"]
RUN_PROBES = 200
THRESHOLD = 200  # 1 / 0.5 %
TOLERANCE = 0.05  # ε: share of the probes that other hardware may change
BETS = tuple(step / 10 for step in range(1, 10))
# For each bet: the logarithms of the factors for x = 1, −1 and 0.
_LOG_FACTORS = [tuple(math.log1p(bet * (x - TOLERANCE)) for x in (1, -1, 0)) for bet in BETS]
PRIOR = 0.5  # counts of each answer before the first probe

Frequencies = Mapping[str, tuple[int, ...]]  # by question: how often each answer was given


class Differences(NamedTuple):
    """Probes of one kind: all of them, and those in which only the channel's or only one of the reference's replies differs."""

    probes: int = 0
    channel: int = 0
    reference: int = 0

    def log_capital(self) -> float:
        """Return the natural logarithm of the capital."""
        same = self.probes - self.channel - self.reference
        return _log_mean([self.channel * won + self.reference * lost + same * kept for won, lost, kept in _LOG_FACTORS])


class Choices(NamedTuple):
    """Sampled choices: the logarithm of the capital, and the answers that it was computed from."""

    log_capital: float = 0.0
    reference: Frequencies = MappingProxyType({})
    channel: Frequencies = MappingProxyType({})

    def plus(self, choice: Choice) -> Choices:
        """Return the state after one more probe."""
        before = (
            self.reference.get(choice.question, (0,) * choice.answers),
            self.channel.get(choice.question, (0,) * choice.answers),
        )
        p, q = (_shares(counts) for counts in before)
        gain = 0.0
        for shares, answers in ((p, choice.reference), (q, (choice.channel,))):
            gain += sum(math.log(shares[answer] / ((2 * p[answer] + q[answer]) / 3)) for answer in answers)
        return Choices(
            self.log_capital + gain,
            {**self.reference, choice.question: _count(before[0], choice.reference)},
            {**self.channel, choice.question: _count(before[1], (choice.channel,))},
        )


class Choice(NamedTuple):
    """The answers to a question with `answers` possible ones: indexes of the reference's two and the channel's one."""

    question: str
    answers: int
    reference: tuple[int, int]
    channel: int


class Evidence(NamedTuple):
    """What the probes of a run have shown so far."""

    probes: int = 0
    differences: Mapping[str, Differences] = MappingProxyType({})
    choices: Choices = Choices()

    def plus(self, differing: Mapping[str, str], choice: Choice | None = None) -> Evidence:
        """Return the evidence with one more probe.

        `differing` says for each compared kind whose reply differs from the two others: `channel`, `reference`, or "" (none).
        """
        differences = dict(self.differences)
        for kind, who in differing.items():
            if kind != "choices":
                seen = differences.get(kind, Differences())
                differences[kind] = Differences(
                    seen.probes + 1, seen.channel + (who == "channel"), seen.reference + (who == "reference")
                )
        return Evidence(self.probes + 1, differences, self.choices if choice is None else self.choices.plus(choice))

    def log_capitals(self) -> dict[str, float]:
        """Return the logarithm of the capital of each compared kind."""
        found = {kind: differences.log_capital() for kind, differences in self.differences.items()}
        return found | ({"choices": self.choices.log_capital} if self.choices.reference else {})

    def value(self) -> float:
        """Return the e-value: the mean capital of all kinds, at most 1e300. Kinds that were not compared count as 1."""
        logs = self.log_capitals()
        return math.exp(min(_log_mean([logs.get(kind, 0.0) for kind in KINDS]), math.log(1e300)))

    @property
    def is_different(self) -> bool:
        return self.value() >= THRESHOLD

    @property
    def is_done(self) -> bool:
        """Whether the run has ended."""
        return self.is_different or self.probes >= RUN_PROBES

    def to_json(self) -> dict[str, Any]:
        """Return the evidence as JSON."""
        return {
            "probes": self.probes,
            "differences": {kind: list(counts) for kind, counts in self.differences.items()},
            "choices": [
                self.choices.log_capital,
                {question: list(counts) for question, counts in self.choices.reference.items()},
                {question: list(counts) for question, counts in self.choices.channel.items()},
            ],
        }


def read_evidence(stored: Mapping[str, Any]) -> Evidence:
    """Return the evidence of `Evidence.to_json`; an empty object is a new run."""
    if not stored:
        return Evidence()
    log_capital, reference, channel = stored["choices"]
    return Evidence(
        stored["probes"],
        {kind: Differences(*counts) for kind, counts in stored["differences"].items()},
        Choices(
            log_capital,
            {question: tuple(counts) for question, counts in reference.items()},
            {question: tuple(counts) for question, counts in channel.items()},
        ),
    )


def _shares(counts: tuple[int, ...]) -> list[float]:
    total = sum(counts) + PRIOR * len(counts)
    return [(count + PRIOR) / total for count in counts]


def _count(counts: tuple[int, ...], answers: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(count + answers.count(index) for index, count in enumerate(counts))


def _log_mean(logs: list[float]) -> float:
    """Return the logarithm of the mean of exp(logs), without overflow."""
    largest = max(logs)
    return largest + math.log(sum(math.exp(one - largest) for one in logs) / len(logs))
