"""Probes: they vary, have correct answers, and their replies are judged and compared."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from shared.probes.comparison import Reply, compare, distance, odd_one_out
from shared.probes.questions import (
    SHAPES,
    Probe,
    choice_index,
    draw_probe,
    is_correct,
    is_valid_tool_call,
)

QUESTION = Probe("question", {}, expected="1204")
CHOICE = Probe("choice", {}, options=("12", "47", "80", "31"))
SCHEMA = {"properties": {"city": {"type": "string", "enum": ["Lima", "Oslo"]}, "days": {"type": "integer"}}}
TOOL = Probe("tool", {}, tool=("get_forecast", SCHEMA))


@pytest.mark.parametrize("shape", sorted(set(SHAPES)))
def test_probes_do_not_repeat(shape: str) -> None:
    source = Random(1)
    texts = [draw_probe(shape, source).body["messages"][0]["content"] for _ in range(300)]
    assert len(set(texts)) > 285
    assert all(any(character.isdigit() for character in text) or "list:" in text or "letters" in text for text in texts)


def test_the_expected_answer_of_each_question_is_correct() -> None:
    source = Random(2)
    for _ in range(300):
        probe = draw_probe("question", source)
        assert is_correct(probe, f"It is {probe.expected}.")
        assert not is_correct(probe, f"x{probe.expected}x")


@pytest.mark.parametrize(
    ("text", "correct"), [("1204", True), ("It is 1,204.", True), ("12041", False), ("", False), ("1205", False)]
)
def test_answers_are_judged(text: str, correct: bool) -> None:
    assert is_correct(QUESTION, text) is correct


@pytest.mark.parametrize(("text", "index"), [("47", 1), ("I pick 31!", 3), ("12 or 80", 4), ("147", 4), ("", 4)])
def test_choices_are_read(text: str, index: int) -> None:
    assert choice_index(CHOICE, text) == index


@pytest.mark.parametrize(
    ("arguments", "valid"),
    [
        ('{"city": "Oslo", "days": 3}', True),
        ('{"city": "Rome", "days": 3}', False),
        ('{"city": "Oslo", "days": "3"}', False),
        ('{"city": "Oslo", "days": true}', False),
        ('{"city": "Oslo"}', False),
        ('{"city": "Oslo", "days": 3, "unit": "c"}', False),
        ('{"city": "Oslo", "days": 3', False),
        ("[]", False),
        (None, False),
    ],
)
def test_tool_calls_are_judged(arguments: Any, valid: bool) -> None:
    call = {"function": {"name": "get_forecast", "arguments": arguments}}
    assert is_valid_tool_call(TOOL, {"tool_calls": [call]}) is valid
    assert not is_valid_tool_call(TOOL, {"tool_calls": [call, call]})
    assert not is_valid_tool_call(TOOL, {"tool_calls": [{"function": {**call["function"], "name": "other"}}]})
    assert not is_valid_tool_call(TOOL, {"content": arguments})


def test_the_arguments_that_a_tool_probe_asks_for_are_valid() -> None:
    source = Random(3)
    for _ in range(50):
        probe = draw_probe("tool", source)
        assert probe.tool is not None
        name, schema = probe.tool
        values = {
            field: 5 if one["type"] == "integer" else one.get("enum", ["x"])[0] for field, one in schema["properties"].items()
        }
        call = {"function": {"name": name, "arguments": json.dumps(values)}}
        assert is_valid_tool_call(probe, {"tool_calls": [call]})


@pytest.mark.parametrize(
    ("values", "who"),
    [("aab", "channel"), ("aba", "reference"), ("baa", "reference"), ("aaa", ""), ("abc", "")],
)
def test_the_reply_that_differs_from_two_equal_ones(values: str, who: str) -> None:
    assert odd_one_out(list(values)) == who


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({"a": 0.6, "b": 0.3}, {"a": 0.6, "b": 0.3}, 0.0),
        ({"a": 0.6, "b": 0.4}, {"a": 0.4, "b": 0.6}, 0.2),
        ({"a": 1.0}, {"b": 1.0}, 1.0),
        ({"a": 0.9, "b": 0.05}, {"a": 0.9}, 0.05),
    ],
)
def test_distance_of_distributions(one: dict[str, float], other: dict[str, float], expected: float) -> None:
    assert distance(one, other) == pytest.approx(expected)
    assert distance(other, one) == pytest.approx(expected)


def reply(text: str = "1204", input_tokens: int | None = 20, output_tokens: int | None = 3, **fields: Any) -> Reply:
    return Reply(text, fields.pop("passed", text == "1204"), input_tokens, output_tokens, **fields)


@pytest.mark.parametrize(
    ("channel", "differing"),
    [
        (reply(), {"answers": "", "token_counts": ""}),
        (reply(" **1204.**"), {"answers": "", "token_counts": ""}),
        (reply("1203"), {"answers": "channel", "token_counts": ""}),
        (reply("1203", output_tokens=9), {"answers": "channel", "token_counts": ""}),  # another text has other tokens
        (reply(output_tokens=9), {"answers": "", "token_counts": "channel"}),
        (reply(input_tokens=21), {"answers": "", "token_counts": "channel"}),
        (reply(input_tokens=None), {"answers": ""}),
        (reply(logprobs={"1": 0.9}), {"answers": "", "token_counts": ""}),  # the reference reports none
    ],
)
def test_questions_are_compared(channel: Reply, differing: dict[str, str]) -> None:
    observed = compare(QUESTION, (reply(), reply()), channel)
    assert observed.differing == differing
    assert observed.passed == (channel.text == "1204", 2)


def test_log_probabilities_are_compared_with_a_tolerance() -> None:
    reference = reply(logprobs={"1": 0.9, "2": 0.1}), reply(logprobs={"1": 0.91, "2": 0.09})
    near, far = reply(logprobs={"1": 0.88, "2": 0.12}), reply(logprobs={"1": 0.7, "2": 0.3})
    assert compare(QUESTION, reference, near).differing["logprobs"] == ""
    assert compare(QUESTION, reference, far).differing["logprobs"] == "channel"


def test_tool_calls_and_choices_are_compared() -> None:
    good, bad = reply("", passed=True), reply("", passed=False)
    observed = compare(TOOL, (good, good), bad)
    assert observed.differing == {"token_counts": "", "tool_calls": "channel"}
    assert observed.passed == (False, 2)
    observed = compare(CHOICE, (reply("12"), reply("47")), reply("nothing"))
    assert observed.differing == {"token_counts": "", "choices": ""}
    assert observed.choice == ("numbers", 5, (0, 1), 4)


def test_empty_answers_are_no_evidence() -> None:
    assert "answers" not in compare(QUESTION, (reply(""), reply("")), reply("")).differing
