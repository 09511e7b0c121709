"""Known quirks in provider responses: the caller's result, streamed and whole."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from anthropic.types import StopReason
from google.genai.types import FinishReason

from shared.billing.token_usage import PartialUsage
from shared.dialects.base import BlockedPrompt, BrokenStream, MalformedStream
from tests import anthropic_payloads as claude
from tests import gemini_payloads as gemini
from tests.openai_payloads import DONE, chunk, completion, event, finish, frame, frames, role, tokens, usage
from tests.shared.dialects.calls import Json, message_of, read_stream, read_whole, request_body

CALL: Json = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}


def streamed(*pieces: Json | bytes) -> Any:
    return read_stream("openai", [piece if isinstance(piece, bytes) else frame(piece) for piece in pieces])


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("model_length", "length"),
        ("MAX_TOKENS", "length"),
        ("sensitive", "content_filter"),
        ("of tomorrow", "stop"),
    ],
)
def test_finish_reasons_become_those_of_openai(theirs: str, ours: str) -> None:
    assert read_whole("openai", completion("Hi", finish=theirs)).body["choices"][0]["finish_reason"] == ours
    for pieces in ((chunk("Hi"), finish(theirs)), (event([{"index": 0, "delta": {"content": "Hi"}, "finish_reason": theirs}]),)):
        result = streamed(role(), *pieces, usage(), DONE)
        assert message_of(result.chunks) == {"role": "assistant", "content": "Hi", "finish_reason": ours}


@pytest.mark.parametrize("reason", ["error", "abort", "insufficient_system_resource"])
def test_an_abandoned_answer_is_a_failure(reason: str) -> None:
    with pytest.raises(MalformedStream):
        read_whole("openai", completion("Hel", finish=reason))
    result = streamed(role(), chunk("Hel"), finish(reason), usage(), DONE)
    assert (result.error, result.text) == (BrokenStream.__name__, "Hel")


def test_a_tool_call_without_a_finish_reason_ends_as_tool_calls() -> None:
    whole = completion(None, tool_calls=[CALL])
    whole["choices"][0]["finish_reason"] = None
    assert read_whole("openai", whole).body["choices"][0]["finish_reason"] == "tool_calls"
    result = streamed(role(), chunk(tool_calls=[{"index": 0, **CALL}]), usage(), DONE)
    assert message_of(result.chunks)["finish_reason"] == "tool_calls"
    empty = completion("Hi")
    del empty["choices"][0]["finish_reason"]
    assert read_whole("openai", empty).body["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "odd",
    [
        {"choices": [{"index": 0, "delta": [], "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": "", "finish_reason": False}]},
        {"choices": [{"index": "0", "delta": {"content": ""}, "finish_reason": 0}]},
        {"choices": [{"index": 0.0, "delta": {}, "finish_reason": []}]},
        {"choices": {}},
        {"choices": [None]},
        b"data: null\n\n",
        b"data: []\n\n",
    ],
    ids=repr,
)
def test_empty_values_of_another_type_are_tolerated(odd: Json | bytes) -> None:
    result = streamed(role(), chunk("H"), odd, chunk("i"), finish(), odd, usage(), b"data: [DONE] \n\n")
    assert message_of(result.chunks) == {"role": "assistant", "content": "Hi", "finish_reason": "stop"}
    assert (result.error, result.usage) == (None, PartialUsage(7, 3))
    for found in result.chunks:
        assert all(type(choice["index"]) is int and isinstance(choice["delta"], dict) for choice in found["choices"])


@pytest.mark.parametrize("odd", [b'data: "x"\n\n', {"choices": [{"index": "x", "delta": {}}]}, {"choices": [{"delta": "x"}]}])
def test_an_unknown_chunk_format_is_rejected(odd: Json | bytes) -> None:
    assert streamed(role(), odd, chunk("Hi"), finish(), DONE).error == MalformedStream.__name__


def test_call_fragments_with_the_same_index_are_separated_by_id() -> None:
    def piece(id: str, arguments: str, **more: str) -> Json:
        return chunk(tool_calls=[{"index": 0, "id": id, "type": "function", "function": {**more, "arguments": arguments}}])

    pieces = (piece("a", '{"x"', name="f"), piece("b", '{"y"', name="g"), piece("a", ":1"), piece("b", ":2}"), piece("a", "}"))
    calls = message_of(streamed(role(), *pieces, finish("tool_calls"), DONE).chunks)["tool_calls"]
    found = [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in calls]
    assert found == [("a", "f", '{"x":1}'), ("b", "g", '{"y":2}')]


@pytest.mark.parametrize("reason", ["tool_calls", "function_call", "tool_use"])
@pytest.mark.parametrize("calls", [None, []])
def test_only_an_answer_with_calls_ends_as_tool_calls(reason: str, calls: Any) -> None:
    whole = completion("Hi", finish=reason, tool_calls=calls)
    assert read_whole("openai", whole).body["choices"][0]["finish_reason"] == "stop"
    result = streamed(role(), chunk("Hi", **({} if calls is None else {"tool_calls": calls})), finish(reason), usage(), DONE)
    message = message_of(result.chunks)
    assert (message["content"], message["finish_reason"]) == ("Hi", "stop")
    called = completion(None, finish="tool_use", tool_calls=[CALL])
    assert read_whole("openai", called).body["choices"][0]["finish_reason"] == "tool_calls"


def test_an_error_with_an_empty_answer_is_a_failure() -> None:
    with pytest.raises(MalformedStream):
        read_whole("openai", {**completion(""), "error": {"code": 502, "message": "Boom."}})
    assert read_whole("openai", {**completion("Hi"), "error": {"code": 502, "message": "Boom."}}).delivered


def test_azure_sends_content_filter_results_before_and_after() -> None:
    results = {"hate": {"filtered": False, "severity": "safe"}}
    first = {**event([], prompt_filter_results=[{"prompt_index": 0, "content_filter_results": results}]), "id": "", "model": ""}
    late = event([{"index": 0, "delta": {}, "finish_reason": None, "content_filter_offsets": {"check_offset": 2}}])
    result = streamed(first, role(), chunk("Hi"), finish(), late, usage(), DONE)
    assert message_of(result.chunks) == {"role": "assistant", "content": "Hi", "finish_reason": "stop"}
    assert {found["id"] for found in result.chunks} == {"chatcmpl-ours"}
    assert {found["model"] for found in result.chunks} == {"our-model"}
    assert result.usage == PartialUsage(7, 3)


def test_mistral_sends_reasoning_as_content_parts() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    result = streamed(role(), chunk(content=[thought]), chunk("42"), finish(usage=tokens(7, 3)), DONE)
    expected = {"role": "assistant", "content": "42", "reasoning_content": "Hm.", "finish_reason": "stop"}
    assert message_of(result.chunks) == expected
    assert (result.delivered, result.usage) == (True, PartialUsage(7, 3))
    answer = read_whole("openai", completion(content=[thought, {"type": "text", "text": "42"}], text=None, usage=tokens(7, 3)))
    [choice] = answer.body["choices"]
    assert {**choice["message"], "finish_reason": choice["finish_reason"]} == expected
    assert (answer.delivered, answer.usage, answer.text) == (True, PartialUsage(7, 3), "42Hm.")


def test_mistral_gets_its_reasoning_back_as_content_parts() -> None:
    said = {"role": "assistant", "content": "42", "reasoning_content": "Hm."}
    messages = [{"role": "user", "content": "?"}, said, {"role": "user", "content": "And?"}]
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    result = request_body("openai", settings={"history": ["thinking"]}, messages=messages)["messages"][1]
    assert result == {"role": "assistant", "content": [thought, {"type": "text", "text": "42"}]}
    assert request_body("openai", settings={"history": []}, messages=messages)["messages"][1] == {
        "role": "assistant",
        "content": "42",
    }
    kept = request_body("openai", settings={"history": ["thinking", "reasoning_content"]}, messages=messages)["messages"][1]
    assert kept == said


def test_openrouter_sends_an_error_next_to_choices() -> None:
    last = {**finish("error"), "error": {"code": 502, "message": "Provider disconnected"}}
    result = streamed(b": OPENROUTER PROCESSING\n\n", role(), chunk("Hel"), last, usage(), DONE)
    assert (result.error, result.text) == (BrokenStream.__name__, "Hel")


def test_output_received_together_with_a_failure_is_delivered_first() -> None:
    result = read_stream("openai", [frames(role(), chunk("Hel"), finish("error"))])
    assert (message_of(result.chunks), result.error) == ({"role": "assistant", "content": "Hel"}, BrokenStream.__name__)


def test_claude_thinks_without_visible_reasoning() -> None:
    whole = claude.message(claude.thinking(""), claude.text("42"))
    expected = [{"type": "thinking", "thinking": "", "signature": "c2lnbmVk"}]
    message = read_whole("anthropic", whole).body["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "42", "thinking_blocks": expected}
    numbered = [{**expected[0], "index": 0}]
    assert message_of(read_stream("anthropic", [claude.wire(whole)]).chunks)["thinking_blocks"] == numbered


def test_claude_is_overloaded_before_any_output() -> None:
    result = read_stream("anthropic", [claude.event(claude.failure("overloaded_error", "Overloaded"))])
    assert (result.error, result.delivered) == (BrokenStream.__name__, False)


def test_claude_reports_full_usage_at_the_end() -> None:
    events = claude.events(claude.message(claude.text("Hi"), reported=claude.usage(input=0, output=5)))
    events[-2]["usage"] = claude.usage(input=20, output=5, read=100, written=None) | {"server_tool_use": None}  # type: ignore[arg-type]  # of mixed values
    result = read_stream("anthropic", [b"".join(map(claude.event, events))])
    assert result.usage == PartialUsage(120, 5, 100, 0, 0, extra={"service_tier": ""})


def test_gemini_spends_its_limit_on_thoughts() -> None:
    result = {"promptTokenCount": 7, "thoughtsTokenCount": 90, "totalTokenCount": 97}
    whole: Json = {"candidates": [{"finishReason": "MAX_TOKENS", "index": 0}], "usageMetadata": result}
    answer = read_whole("gemini", whole)
    assert answer.body["choices"][0] == {"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "length"}
    assert (answer.usage, answer.delivered) == (PartialUsage(7, 90, 0, 90), False)
    stream = read_stream("gemini", [gemini.event(whole)])
    assert (stream.usage, stream.delivered, message_of(stream.chunks)["finish_reason"]) == (answer.usage, False, "length")


def test_gemini_blocks_mid_answer() -> None:
    begun = gemini.answer(gemini.text("Hello"), finish=None)
    result = read_stream("gemini", [gemini.event(begun), gemini.event(gemini.blocked())])
    assert message_of(result.chunks) == {"role": "assistant", "content": "Hello", "finish_reason": "content_filter"}
    with pytest.raises(BlockedPrompt):
        read_stream("gemini", [gemini.event({"usageMetadata": gemini.usage()}), gemini.event(gemini.blocked())])


# The meaning of each documented finish reason, with and without output. `error`: nothing usable for the caller.
GEMINI_FINISH_REASONS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("STOP",), ("stop", "stop")),
    **dict.fromkeys(("MAX_TOKENS", "CONTINUATION"), ("length", "length")),
    **dict.fromkeys(
        (
            *("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR", "ESCALATION"),
            *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"),
        ),
        ("content_filter", "content_filter"),
    ),
    **dict.fromkeys(
        (
            *("MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"),
            *("MISSING_THOUGHT_SIGNATURE", "PUP_LIMITED_DISABLED"),
        ),
        ("error", "error"),
    ),
    **dict.fromkeys(("OTHER", "IMAGE_OTHER", "NO_IMAGE", "OF_TOMORROW"), ("stop", "error")),
}
CLAUDE_STOP_REASONS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("end_turn", "stop_sequence", "tool_use"), ("stop", "stop")),  # "tool_use" without a call: a JSON answer
    **dict.fromkeys(("max_tokens", "model_context_window_exceeded"), ("length", "length")),
    "refusal": ("content_filter", "content_filter"),
    **dict.fromkeys(("pause_turn", "of_tomorrow"), ("stop", "error")),
}


def test_every_documented_reason_is_listed() -> None:
    assert {reason.value for reason in FinishReason} - set(GEMINI_FINISH_REASONS) == {"FINISH_REASON_UNSPECIFIED"}
    assert set(get_args(StopReason)) - set(CLAUDE_STOP_REASONS) == set()


@pytest.mark.parametrize("reason", GEMINI_FINISH_REASONS)
@pytest.mark.parametrize("parts", [(gemini.text("Hi"),), (), (gemini.text(""),)])
def test_gemini_finish_reasons(reason: str, parts: tuple[Json, ...]) -> None:
    whole = gemini.answer(*parts, finish=reason)
    assert_ends("gemini", whole, [gemini.event(whole)], GEMINI_FINISH_REASONS[reason][0 if parts and parts[0]["text"] else 1])


@pytest.mark.parametrize("reason", CLAUDE_STOP_REASONS)
@pytest.mark.parametrize("content", [(claude.text("Hi"),), ()])
def test_claude_stop_reasons(reason: str, content: tuple[Json, ...]) -> None:
    whole = claude.message(*content, stop=reason)
    assert_ends("anthropic", whole, [claude.wire(whole)], CLAUDE_STOP_REASONS[reason][0 if content else 1])


@pytest.mark.parametrize(
    ("reason", "expected", "empty"),
    [
        ("ERROR", "error", "error"),
        ("function_call_filter: MALFORMED_FUNCTION_CALL", "error", "error"),
        ("content_filter: RECITATION", "content_filter", "content_filter"),
        ("OTHER", "stop", "error"),
        ("of tomorrow", "stop", "error"),
        ("eos", "stop", "stop"),
    ],
)
@pytest.mark.parametrize("text", ["Hi", ""])
def test_finish_reasons_of_other_providers(reason: str, expected: str, empty: str, text: str) -> None:
    stream = frames(role(), *([chunk(text)] if text else []), finish(reason), usage()) + DONE
    assert_ends("openai", completion(text, finish=reason), [stream], expected if text else empty)


def assert_ends(dialect: str, whole: Json, stream: list[bytes], expected: str) -> None:
    result = read_stream(dialect, stream)
    if expected == "error":
        with pytest.raises(MalformedStream):
            read_whole(dialect, whole)
        assert result.error == BrokenStream.__name__
    else:
        assert read_whole(dialect, whole).body["choices"][0]["finish_reason"] == expected
        assert message_of(result.chunks)["finish_reason"] == expected


def test_gemini_abandons_a_tool_call_after_some_text() -> None:
    whole = gemini.answer(gemini.text("I look."), finish="MALFORMED_FUNCTION_CALL")
    whole["candidates"][0]["finishMessage"] = "Malformed function call: print(weather('Bonn'))"
    result = read_stream("gemini", [gemini.wire(whole)])
    assert (result.error, result.text) == (BrokenStream.__name__, "I look.")
    with pytest.raises(MalformedStream):
        read_whole("gemini", whole)
