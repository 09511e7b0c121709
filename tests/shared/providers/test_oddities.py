"""What vendors are known to say that no other does: what the caller gets of it, streamed and whole."""

from __future__ import annotations

from typing import Any

import pytest

from shared.providers.base import BlockedPrompt, BrokenStream, MalformedStream
from shared.usage import PartialUsage
from tests import anthropic_wire as claude
from tests import gemini_wire as gemini
from tests.shared.providers.calls import Json, message_of, read_stream, read_whole
from tests.wire import DONE, chunk, completion, event, finish, frame, frames, role, tokens, usage

CALL: Json = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}


def streamed(*pieces: Json | bytes) -> Any:
    return read_stream("openai", [piece if isinstance(piece, bytes) else frame(piece) for piece in pieces])


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("stop", "stop"),
        ("function_call", "function_call"),
        ("eos", "stop"),
        ("model_length", "length"),
        ("MAX_TOKENS", "length"),
        ("tool_use", "tool_calls"),
        ("sensitive", "content_filter"),
        ("of tomorrow", "stop"),
    ],
)
def test_finish_reasons_are_openais(theirs: str, ours: str) -> None:
    assert read_whole("openai", completion("Hi", finish=theirs)).body["choices"][0]["finish_reason"] == ours
    for pieces in ((chunk("Hi"), finish(theirs)), (event([{"index": 0, "delta": {"content": "Hi"}, "finish_reason": theirs}]),)):
        told = streamed(role(), *pieces, usage(), DONE)
        assert message_of(told.chunks) == {"role": "assistant", "content": "Hi", "finish_reason": ours}


@pytest.mark.parametrize("reason", ["error", "abort", "insufficient_system_resource"])
def test_a_vendor_that_gave_up_has_not_answered(reason: str) -> None:
    with pytest.raises(MalformedStream):
        read_whole("openai", completion("Hel", finish=reason))
    told = streamed(role(), chunk("Hel"), finish(reason), usage(), DONE)
    assert (told.error, told.text) == (BrokenStream.__name__, "Hel")


def test_a_call_without_a_finish_reason_ends_as_one() -> None:
    whole = completion(None, tool_calls=[CALL])
    whole["choices"][0]["finish_reason"] = None
    assert read_whole("openai", whole).body["choices"][0]["finish_reason"] == "tool_calls"
    told = streamed(role(), chunk(tool_calls=[{"index": 0, **CALL}]), usage(), DONE)
    assert message_of(told.chunks)["finish_reason"] == "tool_calls"
    empty = completion("Hi")
    del empty["choices"][0]["finish_reason"]
    assert read_whole("openai", empty).body["choices"][0]["finish_reason"] == "stop"


def test_azure_tells_of_its_filters_before_and_after() -> None:
    results = {"hate": {"filtered": False, "severity": "safe"}}
    first = {**event([], prompt_filter_results=[{"prompt_index": 0, "content_filter_results": results}]), "id": "", "model": ""}
    late = event([{"index": 0, "delta": {}, "finish_reason": None, "content_filter_offsets": {"check_offset": 2}}])
    told = streamed(first, role(), chunk("Hi"), finish(), late, usage(), DONE)
    assert message_of(told.chunks) == {"role": "assistant", "content": "Hi", "finish_reason": "stop"}
    assert {found["id"] for found in told.chunks} == {"chatcmpl-ours"}
    assert {found["model"] for found in told.chunks} == {"our-model"}
    assert told.usage == PartialUsage(7, 3)


def test_mistral_thinks_in_parts_of_the_content() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    told = streamed(role(), chunk(content=[thought]), chunk("42"), finish(usage=tokens(7, 3)), DONE)
    assert [c["choices"][0]["delta"].get("content") for c in told.chunks] == ["", [thought], "42", None]
    assert (told.delivered, told.usage) == (True, PartialUsage(7, 3))
    answer = read_whole("openai", completion(content=[thought, {"type": "text", "text": "42"}], text=None, usage=tokens(7, 3)))
    assert (answer.delivered, answer.usage) == (True, PartialUsage(7, 3))


def test_openrouter_tells_an_error_beside_its_choices() -> None:
    last = {**finish("error"), "error": {"code": 502, "message": "Provider disconnected"}}
    told = streamed(b": OPENROUTER PROCESSING\n\n", role(), chunk("Hel"), last, usage(), DONE)
    assert (told.error, told.text) == (BrokenStream.__name__, "Hel")


def test_what_comes_with_a_failure_in_one_piece_is_delivered_before_it() -> None:
    told = read_stream("openai", [frames(role(), chunk("Hel"), finish("error"))])
    assert (message_of(told.chunks), told.error) == ({"role": "assistant", "content": "Hel"}, BrokenStream.__name__)


def test_claude_thinks_without_showing_it() -> None:
    whole = claude.message(claude.thinking(""), claude.text("42"))
    expected = [{"type": "thinking", "thinking": "", "signature": "c2lnbmVk"}]
    message = read_whole("anthropic", whole).body["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "42", "thinking_blocks": expected}
    assert message_of(read_stream("anthropic", [claude.wire(whole)]).chunks)["thinking_blocks"] == expected


def test_claude_is_overloaded_before_it_says_anything() -> None:
    told = read_stream("anthropic", [claude.event(claude.failure("overloaded_error", "Overloaded"))])
    assert (told.error, told.delivered) == (BrokenStream.__name__, False)


def test_claude_tells_its_whole_usage_at_the_end() -> None:
    events = claude.events(claude.message(claude.text("Hi"), told=claude.usage(input=0, output=5)))
    events[-2]["usage"] = claude.usage(input=20, output=5, read=100, written=None) | {"server_tool_use": None}  # type: ignore[arg-type]  # of mixed values
    told = read_stream("anthropic", [b"".join(map(claude.event, events))])
    assert told.usage == PartialUsage(120, 5, 100, 0, 0)


def test_gemini_spends_its_limit_on_thoughts() -> None:
    told = {"promptTokenCount": 7, "thoughtsTokenCount": 90, "totalTokenCount": 97}
    whole: Json = {"candidates": [{"finishReason": "MAX_TOKENS", "index": 0}], "usageMetadata": told}
    answer = read_whole("gemini", whole)
    assert answer.body["choices"][0] == {"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "length"}
    assert (answer.usage, answer.delivered) == (PartialUsage(7, 90, 0, 90), False)
    stream = read_stream("gemini", [gemini.event(whole)])
    assert (stream.usage, stream.delivered, message_of(stream.chunks)["finish_reason"]) == (answer.usage, False, "length")


def test_gemini_blocks_in_the_middle_of_its_answer() -> None:
    begun = gemini.answer(gemini.text("Hello"), finish=None)
    told = read_stream("gemini", [gemini.event(begun), gemini.event(gemini.blocked())])
    assert message_of(told.chunks) == {"role": "assistant", "content": "Hello", "finish_reason": "content_filter"}
    with pytest.raises(BlockedPrompt):
        read_stream("gemini", [gemini.event({"usageMetadata": gemini.usage()}), gemini.event(gemini.blocked())])


def test_gemini_gives_up_a_call_after_some_text() -> None:
    whole = gemini.answer(gemini.text("I look."), finish="MALFORMED_FUNCTION_CALL")
    whole["candidates"][0]["finishMessage"] = "Malformed function call: print(weather('Bonn'))"
    told = read_stream("gemini", [gemini.wire(whole)])
    assert (told.error, told.text) == (BrokenStream.__name__, "I look.")
    with pytest.raises(MalformedStream):
        read_whole("gemini", whole)
