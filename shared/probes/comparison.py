"""Which of three replies to one probe differs from the two others. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from shared.probes.evidence import Choice
from shared.probes.questions import Probe, choice_index, normalize_answer

LOGPROB_DISTANCE = 0.05  # total variation up to which two distributions of the first token count as equal

T = TypeVar("T")


class Reply(NamedTuple):
    """The parts of a provider's answer that are compared. None: the provider did not report it.

    passed    whether a question was answered correctly, or a tool call is valid; None for choices
    logprobs  probabilities of the most likely first tokens
    """

    text: str
    passed: bool | None
    input_tokens: int | None
    output_tokens: int | None
    logprobs: Mapping[str, float] | None = None


class Observation(NamedTuple):
    """The result of one probe.

    differing  by kind of evidence: `channel`, `reference`, or "" if not exactly one reply differs
    choice     the answers to a choice
    passed     whether the channel's reply passed, and how many of the reference's two; None for choices
    """

    differing: Mapping[str, str]
    choice: Choice | None = None
    passed: tuple[bool, int] | None = None


def compare(probe: Probe, reference: tuple[Reply, Reply], channel: Reply) -> Observation:
    """Compare the replies to a probe. Kinds that one of the replies does not report are left out."""
    replies = (*reference, channel)
    differing: dict[str, str] = {}
    counts = [_counts(reply, replies) for reply in replies]
    if all(None not in count for count in counts):
        differing["token_counts"] = odd_one_out(counts)
    if probe.shape == "choice":
        first, second, third = (choice_index(probe, reply.text) for reply in replies)
        differing["choices"] = odd_one_out([first, second, third])
        choice = Choice("numbers", len(probe.options) + 1, (first, second), third)
        return Observation(differing, choice)
    passed = bool(channel.passed), sum(bool(reply.passed) for reply in reference)
    if probe.shape == "tool":
        differing["tool_calls"] = odd_one_out([reply.passed for reply in replies])
        return Observation(differing, passed=passed)
    answers = [normalize_answer(reply.text) for reply in replies]
    if any(answers):
        differing["answers"] = odd_one_out(answers)
    logprobs = [reply.logprobs for reply in replies if reply.logprobs]
    if len(logprobs) == len(replies):
        differing["logprobs"] = odd_one_out(logprobs, lambda one, other: distance(one, other) <= LOGPROB_DISTANCE)
    return Observation(differing, passed=passed)


def odd_one_out(replies: list[T], agree: Callable[[T, T], bool] = lambda one, other: one == other) -> str:
    """Return whose value differs from both others, which agree: `channel` (the last), `reference`, or ""."""
    first, second, channel = replies
    agreements = agree(first, second), agree(first, channel), agree(second, channel)
    if sum(agreements) != 1:
        return ""
    return "channel" if agreements[0] else "reference"


def distance(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Return the total variation distance of two distributions of which only the most likely tokens are known.

    The rest of each counts as one more token.
    """
    shared = sum(abs(one.get(token, 0.0) - other.get(token, 0.0)) for token in one.keys() | other.keys())
    return (shared + abs(sum(one.values()) - sum(other.values()))) / 2


def _counts(reply: Reply, replies: tuple[Reply, ...]) -> tuple[int | None, ...]:
    """Return the reported input tokens, and the output tokens if all replies have the same text."""
    same = len({each.text for each in replies}) == 1
    return (reply.input_tokens, reply.output_tokens) if same and reply.text else (reply.input_tokens,)
