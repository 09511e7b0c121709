"""Computes overdraft, lost and doubled credits: compares what the provider sent and callers received with the ledger. Pure.

The prices of the proof's models are such that a call's cost is a sum of whole numbers. It is computed here again, without the
code under test.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from yout.proof.answers import INPUT_TOKENS, Script

CREDITS_PER_INPUT_TOKEN, CREDITS_PER_OUTPUT_TOKEN, MINIMUM = 1, 2, 10
CREDITS_PER_IMAGE, CREDITS_PER_CHARACTER = 40, 1
MEDIA = ("images", "speech")  # surfaces whose jobs run in a worker
LIMIT_FACTOR = 2  # a call's output limit, per word that its script asks for
_COUNT_SLACK = 8  # tokens by which a count of a cut answer may exceed its words
_EXACT = {"complete", "slow", "flaky"}  # plans in which the provider reports the usage
# Errors of complete answers that were not handed out, because their charge is not durable yet; "" in formats without a code.
_UNDELIVERED = {(503, "settlement_pending"), (503, ""), (529, "")}
MAX_PROBLEMS = 20


@dataclass(slots=True)
class Call:
    """One call: its script, and what its caller received.

    status    HTTP status; 0 if the connection failed or ended before the head
    whole     the answer, or the error, was received to its end
    words     whether any word of an answer was received
    cut       a complete answer ended early, because of its limits
    failed    the answer ended with an error event
    left      the caller disconnected on purpose
    killed    the edge that served it was killed later
    """

    script: Script
    surface: str
    streamed: bool
    edge: int = 0
    status: int = 0
    error: str = ""
    whole: bool = False
    words: bool = False
    cut: bool = False
    failed: bool = False
    left: bool = False
    killed: bool = False
    seconds: float = 0.0

    @property
    def name(self) -> str:
        mode = "streamed" if self.streamed else "not streamed"
        return f"call {self.script.number} ({self.surface}, {mode}, {self.script.plan})"


class Sent(NamedTuple):
    """What the provider sent for a call: the number of attempts, and the maximum of words in one of them."""

    attempts: int = 0
    words: int = 0


class AccountState(NamedTuple):
    """The account's rows after all calls ended. `charged` are credits by number of the call, `unexplained` those of others.

    `granted` are the credits that the proof granted, `adjusted` all entries that are neither grants nor charges, and `open_holds`
    the credits of holds that are still open.
    """

    granted: int
    balance: int
    held: int
    open_holds: int
    charged: Mapping[int, int]
    unexplained: int = 0
    adjusted: int = 0


class Sample(NamedTuple):
    """The account's balance and held credits at one moment, in one statement."""

    balance: int
    held: int


class Proof(NamedTuple):
    """The result, in credits, and one line for each of the first problems."""

    overdraft: int
    lost: int
    doubled: int
    charged: int
    problems: tuple[str, ...]

    @property
    def clean(self) -> bool:
        return not (self.overdraft or self.lost or self.doubled)


def cost_of(surface: str, prompt: str, words: int) -> int:
    """Return the exact cost of a complete call, in credits."""
    if surface == "images":
        return CREDITS_PER_IMAGE
    if surface == "speech":
        return max(MINIMUM, len(prompt) * CREDITS_PER_CHARACTER)
    output = 0 if surface == "embeddings" else words * CREDITS_PER_OUTPUT_TOKEN
    return max(MINIMUM, INPUT_TOKENS * CREDITS_PER_INPUT_TOKEN + output)


def _max_cost(call: Call, words: int) -> int:
    """Return the maximum cost in credits if the provider sent this many words. The prompt counts one token per byte."""
    counted = len(call.script.prompt) * CREDITS_PER_INPUT_TOKEN + (words + _COUNT_SLACK) * CREDITS_PER_OUTPUT_TOKEN
    return max(counted, cost_of(call.surface, call.script.prompt, words))


def bounds(call: Call, sent: Sent) -> tuple[int, int]:
    """Return the minimum and maximum charge for a call in credits, given what was sent and received."""
    refused = call.status >= 400 and (call.status, call.error) not in _UNDELIVERED
    if not sent.attempts or (refused and call.surface not in MEDIA):
        return 0, 0
    if call.surface in MEDIA:
        exact = cost_of(call.surface, call.script.prompt, 0)
        return (exact if call.status == 200 and call.whole else 0), exact
    upper = _max_cost(call, sent.words)
    delivered = call.status == 200 and call.whole and not call.failed
    if delivered and call.script.plan in _EXACT and not call.cut:
        exact = cost_of(call.surface, call.script.prompt, call.script.words)
        return exact, exact
    # An answer that a killed edge was relaying is not charged. Any other is, once its caller received a word.
    lower = MINIMUM if call.words and (delivered or not call.killed) else 0
    return lower, upper


def prove(calls: Sequence[Call], sent: Mapping[int, Sent], state: AccountState, samples: Iterable[Sample]) -> Proof:
    """Compare every call with its charge, and the account with its entries."""
    lost = doubled = value = 0
    problems: list[str] = []
    for call in calls:
        lower, upper = bounds(call, sent.get(call.script.number, Sent()))
        charged = state.charged.get(call.script.number, 0)
        value += min(max(lower, charged), upper)
        if charged < lower:
            lost += lower - charged
            problems.append(f"lost: {call.name} delivered {lower} credits, but {charged} were charged")
        if charged > upper:
            doubled += charged - upper
            problems.append(f"doubled: {call.name} may cost {upper} credits, but {charged} were charged")
    if state.unexplained:
        doubled += state.unexplained
        problems.append(f"doubled: {state.unexplained} credits were charged for calls that no caller made")
    charged = sum(state.charged.values()) + state.unexplained
    missing = state.granted + state.adjusted - charged - state.balance
    if missing:
        lost, doubled = lost + max(missing, 0), doubled + max(-missing, 0)
        problems.append(f"{'lost' if missing > 0 else 'doubled'}: the balance differs from its entries by {abs(missing)} credits")
    stuck = max(state.held, state.open_holds)
    if stuck:
        lost += stuck
        problems.append(f"lost: {stuck} credits are still held after all calls have ended")
    worst = max([0, *(max(-sample.balance, sample.held - sample.balance) for sample in samples)])
    overdraft = max(worst, value - state.granted, charged - state.granted, 0)
    if overdraft:
        problems.append(
            f"overdraft: {max(value, charged)} of {state.granted} credits were used, held beyond the balance: {worst}"
        )
    return Proof(overdraft, lost, doubled, charged, tuple(problems[:MAX_PROBLEMS]))


def count_sent(records: Iterable[tuple[Script, int]]) -> dict[int, Sent]:
    """Sum the provider's record, pairs of script and words sent, by the number of the call."""
    found: dict[int, Sent] = defaultdict(Sent)
    for script, words in records:
        before = found[script.number]
        found[script.number] = Sent(before.attempts + 1, max(before.words, words))
    return dict(found)
