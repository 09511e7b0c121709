"""However a provider deviates from OpenAI's format, every endpoint returns the same tool calls and content, streamed and
whole."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from anthropic.types import Message
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from edge.v1.messages.request import parse as read_message
from edge.v1.responses.request import parse as read_response
from tests import anthropic_payloads as claude
from tests import gemini_payloads as gemini
from tests.edge.v1.endpoint_outputs import Answer, Json, calls_of_chat, calls_of_message, calls_of_response
from tests.openai_payloads import DONE, chunk, completion, event, finish, frame, frames, role, usage
from tests.shared.dialects.calls import request_body, split

Calls = list[tuple[str, str, str]]
TWO: Calls = [("c1", "f", '{"q":"x"}'), ("c2", "g", '{"q":"y"}')]


def fn(name: Any = None, arguments: Any = None, **fields: Any) -> Json:
    """One fragment of a tool call; None values are omitted."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {**fields, "function": function}


def answer(*deltas: Json | list[Json], reason: str = "tool_calls", whole: list[Json] | None = None) -> Answer:
    """A stream of `tool_calls` (lists) and other deltas."""
    chunks = [chunk(tool_calls=delta) if isinstance(delta, list) else chunk(**delta) for delta in deltas]
    body = completion(None, tool_calls=whole, finish=reason) if whole is not None else None
    return Answer("openai", [frames(role(), *chunks, finish(reason), usage()) + DONE], body)


def assert_calls(result: Answer, expected: Calls, *, whole: bool = False) -> None:
    """Asserts the same calls at every endpoint; an expected id of "" stands for one that we generate."""
    for chat, message, response in [
        (result.chat(), result.message(), result.response()),
        *([(result.whole_chat(), result.whole_message(), result.whole_response())] if whole else []),
    ]:
        found = calls_of_chat(chat)
        assert [call[1:] for call in found] == [call[1:] for call in expected]
        assert all(mine == theirs or (not theirs and mine) for (mine, *_), (theirs, *_) in zip(found, expected, strict=True))
        assert len({id for id, *_ in found}) == len(found)
        assert calls_of_message(message) == calls_of_response(response) == found
        assert (chat["finish_reason"], message["stop_reason"], response["status"]) == ("tool_calls", "tool_use", "completed")


SECOND = [fn("g", '{"q":"y"}', id="c2", index=1)]


@pytest.mark.parametrize("reason", ["tool_calls", "stop", "STOP", "tool_use", "eos"])
@pytest.mark.parametrize(
    "deltas",
    [
        pytest.param([[fn("f", '{"q":"x"}', id="c1"), fn("g", '{"q":"y"}', id="c2")]], id="no index, one chunk"),
        pytest.param([[fn("f", '{"q":"x"}', id="c1")], [fn("g", '{"q":"y"}', id="c2")]], id="no index, two chunks"),
        pytest.param(
            [[fn("f", '{"q":"x"}', id="c1", index=0)], [fn("g", '{"q":"y"}', id="c2", index=0)]], id="one index, two ids"
        ),
        pytest.param([[fn("f", '{"q":"x"}', id="c1", index=None)], [fn("g", '{"q":"y"}', id="c2", index=None)]], id="index null"),
        pytest.param([[fn("f", {"q": "x"}, id="c1", index=0)], [fn("g", {"q": "y"}, id="c2", index=1)]], id="objects"),
        pytest.param([{"tool_calls": fn("f", {"q": "x"}, id="c1")}, {"tool_calls": fn("g", {"q": "y"}, id="c2")}], id="no list"),
        pytest.param(
            [
                [fn("f", "", id="c1", index=1), fn("g", "", id="c2", index=2)],
                [fn(None, '{"q":"y"}', index=2)],
                [fn(None, '{"q":"x"}', index=1)],
            ],
            id="from 1, by turns",
        ),
        pytest.param(
            [
                [fn("f", '{"q":', id="c1", index=0)],
                [fn(None, '"x"}', id="c1", index=0)],
                SECOND,
            ],
            id="id again",
        ),
        pytest.param(
            [[fn("f", '{"q":', id="c1", index=0)], [fn("f", '"x"}', id="c1", index=0)], SECOND],
            id="id and name again",
        ),
        pytest.param(
            [[fn("f", '{"q":', id="c1", index=0)], [fn("f", '"x"}', index=0)], SECOND],
            id="name again",
        ),
        pytest.param(
            [
                [fn("f", '{"q":', id="c1", index=0)],
                [fn(None, '"x"}', id="r9", index=0)],
                SECOND,
            ],
            id="a fresh id on every fragment",
        ),
        pytest.param(
            [[fn("f", '{"q":', id="c1", index=0)], [fn("", '"x"}', id="", index=0)], SECOND],
            id="empty id and name later",
        ),
        pytest.param(
            [
                [{"index": 0, "id": "c1", "type": "function", "function": {"name": None, "arguments": None}}],
                [{"index": 0, "id": None, "type": None, "function": {"name": "f", "arguments": '{"q":'}}],
                [{"index": 0, "id": None, "type": None, "function": {"name": None, "arguments": '"x"}'}}],
                SECOND,
            ],
            id="the name comes late",
        ),
        pytest.param(
            [[fn("f", '{"q":', id="c1"), fn("g", '{"q":', id="c2")], [fn(None, '"x"}'), fn(None, '"y"}')]], id="by position"
        ),
        pytest.param(
            [
                [fn("f", '{"q":"x"}', id="c1", index=0)],
                [fn("f", '{"q":"x"}', id="c1", index=0)],
                SECOND,
            ],
            id="whole once more",
        ),
        pytest.param([[fn("f", "{}", id="c1", index=0)], [fn(None, '{"q":"x"}', index=0)], SECOND], id="a placeholder first"),
        pytest.param(
            [
                [fn("f", {}, id="c1")],
                [
                    fn(None, '{"q":'),
                ],
                [fn(None, '"x"}')],
                SECOND,
            ],
            id="no index, a placeholder first",
        ),
        pytest.param(
            [[fn("f", "", id="c1", index=0)], [fn(None, "{ }", index=0)], [fn(None, {"q": "x"}, index=0)], SECOND],
            id="a placeholder second",
        ),
        pytest.param(
            [[fn("f", "{}", id="c1", index=0)], [fn("f", '{"q":"x"}', id="c1", index=0)], SECOND],
            id="a placeholder, then the whole call",
        ),
        pytest.param(
            [
                [fn("f", "{}", id="c1", index=0), fn("g", "{}", id="c2", index=1)],
                [fn(None, '{"q":"x"}', index=0), fn(None, '{"q":"y"}', index=1)],
            ],
            id="two placeholders first",
        ),
        pytest.param([["odd", fn("f", '{"q":"x"}', id="c1")], [7, fn("g", '{"q":"y"}', id="c2")]], id="no objects"),
    ],
)
def test_two_calls_stay_two_calls(deltas: list[Any], reason: str) -> None:
    assert_calls(answer(*deltas, reason=reason), TWO)


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        (
            [[fn("f", '{"q":1}', id="", index=0)], [fn("f", '{"q":2}', id="", index=0)]],
            [("", "f", '{"q":1}'), ("", "f", '{"q":2}')],
        ),
        ([[fn("f", "{}"), fn("f", "{}")]], [("", "f", "{}"), ("", "f", "{}")]),
        (
            [[fn("f", '{"q":1}', id="f", index=0)], [fn("f", '{"q":2}', id="f", index=1)]],
            [("f", "f", '{"q":1}'), ("", "f", '{"q":2}')],
        ),
        ([[fn("f", None, id="c1", index=0)], [fn("g", "", id="c2", index=1)]], [("c1", "f", "{}"), ("c2", "g", "{}")]),
        ([[fn("f", None, id=7)]], [("7", "f", "{}")]),
        ([[fn("f", "{}", id="c1", index=0)], [fn(None, "", index=0)]], [("c1", "f", "{}")]),
        ([[fn("f", "{}", id="c1", index=0)], [fn("f", "{}", id="c1", index=0)]], [("c1", "f", "{}")]),
        ([[fn("f", "{}", id="c1", index=0)], [fn("f", "{}", id="c2", index=0)]], [("c1", "f", "{}"), ("c2", "f", "{}")]),
        ([[fn(None, "{}", id="c1", index=0)]], [("c1", "", "{}")]),
        ([[fn("f", ["x"], id="c1", index=0)]], [("c1", "f", '["x"]')]),
        ([[fn("f", {"n": 10**30}, id="c1", index=0)]], [("c1", "f", '{"n":' + str(10**30) + "}")]),
        ([[{"id": "c1", "index": 0}], [fn(None, '{"q":1}', index=0)]], [("c1", "", '{"q":1}')]),
        ([[fn("f", "{}", id="c1", index="0")], [fn("g", "{}", id="c2", index="1")]], [("c1", "f", "{}"), ("c2", "g", "{}")]),
    ],
)
def test_calls_without_a_valid_id_arguments_or_name(deltas: list[Any], expected: Calls) -> None:
    result = answer(*deltas)
    if expected[0][2].startswith('["') or "000" in expected[0][2]:  # Anthropic's SDK accepts only objects as tool input
        assert calls_of_chat(result.chat()) == calls_of_response(result.response()) == expected
    else:
        assert_calls(result, expected)


@pytest.mark.parametrize("reason", ["stop", "tool_calls"])
@pytest.mark.parametrize(
    "whole",
    [
        [fn("f", '{"q":"x"}', id="c1"), fn("g", '{"q":"y"}', id="c2")],
        [fn("f", {"q": "x"}, id="c1", index=0), fn("g", {"q": "y"}, id="c2", index=0)],
        [{"type": "", **fn("f", '{"q":"x"}', id="c1")}, "odd", {"type": None, **fn("g", {"q": "y"}, id="c2")}],
    ],
)
def test_a_whole_answer_has_the_same_calls(whole: list[Any], reason: str) -> None:
    result = answer([fn("f", {"q": "x"}, id="c1"), fn("g", {"q": "y"}, id="c2")], reason=reason, whole=whole)
    assert_calls(result, TWO, whole=True)
    assert result.streamed_text == result.whole_text == 'f{"q":"x"}g{"q":"y"}'


def test_arguments_are_complete_before_the_next_call_starts() -> None:
    """OpenAI's SDK parses the arguments of a strict tool's call when the next call starts."""
    deltas = [[fn("f", "{}", id="c1", index=0)], [fn(None, "", index=0)], [fn("g", '{"q":"y"}', id="c2", index=1)]]
    tools = [{"type": "function", "function": {"name": "f", "strict": True, "parameters": {}}}]
    state = ChatCompletionStreamState(input_tools=tools)  # type: ignore[arg-type]  # plain dicts
    result = answer(*deltas)
    for each in [*result.chunks(), result.streamed.body]:
        state.handle_chunk(ChatCompletionChunk.model_validate(each))
    assert calls_of_chat(result.chat()) == [("c1", "f", "{}"), ("c2", "g", '{"q":"y"}')]


@pytest.mark.parametrize("reason", ["length", "stop"])
def test_empty_arguments_are_kept_in_a_truncated_answer(reason: str) -> None:
    result = answer([fn("f", "{}", id="c1", index=0)], reason=reason, whole=[fn("f", "{}", id="c1")])
    assert calls_of_chat(result.chat()) == calls_of_chat(result.whole_chat()) == [("c1", "f", "{}")]


@pytest.mark.parametrize("sent", [None, {}, [], "", False, 0, "f", 7, [None], ["f"]])
@pytest.mark.parametrize("field", ["tool_calls", "function_call"])
def test_invalid_calls_are_omitted(field: str, sent: Any) -> None:
    body = completion("Hi", **{field: sent})
    result = Answer("openai", [frames(role(), chunk("Hi", **{field: sent}), finish(), usage()) + DONE], body)
    for chat in (result.chat(), result.whole_chat()):
        assert not chat.get("tool_calls")
        assert not chat.get("function_call")
        assert (chat["content"], chat["finish_reason"]) == ("Hi", "stop")
    assert result.whole.body["choices"][0]["message"] == {"role": "assistant", "content": "Hi"}


def test_a_single_call_may_come_without_a_list() -> None:
    call = fn("f", {"q": "x"}, id="c1")
    result = answer({"tool_calls": call}, whole=call)  # type: ignore[arg-type]  # as some providers send it
    assert_calls(result, TWO[:1], whole=True)


@pytest.mark.parametrize("beside", [{}, {"delta": None}, {"delta": {}}, {"delta": []}])
def test_a_message_in_a_stream_is_read_as_a_delta(beside: Json) -> None:
    message = {"role": "assistant", "content": "Hi", "tool_calls": [fn("f", {"q": "x"}, id="c1")]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls", **beside}
    result = Answer("openai", [frames(event([choice]), usage()) + DONE])
    assert_calls(result, TWO[:1])
    assert (result.chat()["content"], result.streamed_text) == ("Hi", 'Hif{"q":"x"}')
    assert [choice for each in result.chunks() for choice in each["choices"] if "message" in choice] == []


@pytest.mark.parametrize("odd", [0, 1, 1.5, True, False, "", "x", [], ["x"], [None], {}], ids=repr)
@pytest.mark.parametrize("field", ["audio", "annotations", "thinking_blocks", "reasoning_details", "refusal", "reasoning"])
def test_fields_of_another_type_are_tolerated(field: str, odd: Any) -> None:
    fields = {"service_tier": 1, "system_fingerprint": ["x"], "created": 1.5}
    piece = {**chunk("Hi", **{field: odd}), **fields}
    piece["choices"][0]["logprobs"] = "none"
    body = {**completion("Hi", **{field: odd}), **fields}
    body["choices"][0] |= {"logprobs": [], "index": "0", "finish_reason": ""}
    result = Answer("openai", [frames(role(), piece, finish(), usage()) + DONE], body)
    for chat in (result.chat(), result.whole_chat()):  # validated by OpenAI's types in the process
        assert (chat["content"], chat["finish_reason"]) == ("Hi", "stop")
        assert odd == {} or field == "refusal" or isinstance(chat.get(field), list | str | None)
    assert result.message()["content"][-1] == result.whole_message()["content"][-1]


LISTED: dict[str, Any] = {
    "thinking_blocks": [{"type": "thinking", "thinking": "a", "signature": "x"}, {"type": "redacted_thinking", "data": "y"}],
    "reasoning_details": [{"type": "reasoning.text", "text": "a"}, {"type": "reasoning.text", "text": "b"}],
    "annotations": [
        {
            "type": "url_citation",
            "url_citation": {"url": f"https://{name}.example", "title": name, "start_index": 0, "end_index": 0},
        }
        for name in "ab"
    ],
}


@pytest.mark.parametrize("name", LISTED)
def test_lists_over_several_deltas_are_assembled_by_the_sdk(name: str) -> None:
    deltas = [chunk("Hi"), *(chunk(**{name: [entry]}) for entry in LISTED[name])]
    result = Answer("openai", [frames(role(), *deltas, finish(), usage()) + DONE], completion("Hi", **{name: LISTED[name]}))
    assert result.chat()[name] == [{**entry, "index": number} for number, entry in enumerate(LISTED[name])]
    assert result.whole_chat()[name] == LISTED[name]


def test_two_signed_thinking_blocks_of_claude_round_trip() -> None:
    thoughts = [
        claude.thinking("Hm.", "c2lnMQ=="),
        {"type": "redacted_thinking", "data": "eA=="},
        claude.thinking("So.", "c2lnMg=="),
    ]
    whole = claude.message(*thoughts, claude.text("42"))
    result = Answer("anthropic", [claude.wire(whole)], whole)
    for said in (result.chat(), result.whole_chat()):
        said.pop("finish_reason")
        body = request_body("anthropic", messages=[{"role": "user", "content": "?"}, said, {"role": "user", "content": "And?"}])
        assert body["messages"][1]["content"] == [*thoughts, {"type": "text", "text": "42"}]
        kept = {"history": ["thinking_blocks"]}
        body = request_body(
            "openai", settings=kept, messages=[{"role": "user", "content": "?"}, said, {"role": "user", "content": "And?"}]
        )
        assert body["messages"][1]["thinking_blocks"] == thoughts
    assert result.message()["content"][:3] == result.whole_message()["content"][:3] == thoughts
    opened = [each["content_block"] for each in result.message_events() if each["type"] == "content_block_start"]
    assert opened[1] == thoughts[1]


def test_calls_in_a_whole_answer_get_missing_ids_and_arguments() -> None:
    result = answer([], whole=[fn("f", None), fn("g", "", id="c"), fn("g", None, id="c")])
    assert [call[1:] for call in calls_of_chat(result.whole_chat())] == [("f", "{}"), ("g", "{}"), ("g", "{}")]
    assert len({id for id, *_ in calls_of_chat(result.whole_chat())}) == 3


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_a_truncated_call_is_not_completed(reason: str) -> None:
    result = answer([fn("f", None, id="c1", index=0)], reason=reason, whole=[fn("f", None, id="c1")])
    for chat in (result.chat(), result.whole_chat()):
        assert (calls_of_chat(chat), chat["finish_reason"]) == ([("c1", "f", "")], reason)


def test_the_legacy_function_call_format() -> None:
    deltas = [{"function_call": {"name": "f", "arguments": None}}, {"function_call": {"name": "f", "arguments": {"a": 1}}}]
    body = completion(None, function_call={"name": "f", "arguments": {"a": 1}}, finish="stop")
    result = Answer("openai", [frames(role(), *(chunk(**delta) for delta in deltas), finish(), usage()) + DONE], body)
    for chat in (result.chat(), result.whole_chat()):
        assert (chat["function_call"], chat["finish_reason"]) == ({"name": "f", "arguments": '{"a":1}'}, "function_call")
    assert result.streamed_text == result.whole_text == 'f{"a":1}'


def test_a_role_on_every_chunk_is_relayed_once() -> None:
    result = Answer("openai", [frames(role(), chunk("a", role="assistant"), chunk("b", role="model"), finish(), usage()) + DONE])
    assert [choice["delta"].get("role") for each in result.chunks() for choice in each["choices"]] == ["assistant", None, None]
    assert (result.chat()["role"], result.chat()["content"]) == ("assistant", "ab")


PARTS: list[Any] = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
    {"type": "text", "text": "4"},
    "2",
    {"type": "refusal", "refusal": "No."},
    {"type": "reference", "reference_ids": [1]},
    {"type": "image_url", "image_url": "data:image/png;base64,AAAA"},
]


def test_content_parts_become_text_without_loss() -> None:
    stream = frames(role(), chunk(content=PARTS[:3]), chunk(content=PARTS[3:]), finish(), usage()) + DONE
    result = Answer("openai", [stream], completion(None, content=PARTS))
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    expected = {"content": "42", "reasoning_content": "Hm.", "refusal": "No.", "images": [image], "content_parts": [PARTS[4]]}
    deltas = [choice["delta"] for each in result.chunks() for choice in each["choices"]]
    assert deltas[1:] == [
        {"content": "42", "reasoning_content": "Hm."},
        {"content": "", "refusal": "No.", "images": [{**image, "index": 0}], "content_parts": [{**PARTS[4], "index": 0}]},
    ]
    whole = result.whole_chat()
    assert {name: whole[name] for name in expected} == expected
    assert (result.streamed_text, result.streamed_images) == ("42Hm.No.", 1)
    assert (result.whole_text, result.whole_images) == ("42Hm.No.", 1)
    assert result.completion_text() == "42No."


@pytest.mark.parametrize("content", [[], {}, 0, False, 7, True, {"text": "42"}, ["4", "2"], [None], [[]]])
def test_content_of_any_other_type_becomes_text(content: Any) -> None:
    result = Answer(
        "openai", [frames(role(), chunk(content=content), finish(), usage()) + DONE], completion(None, content=content)
    )
    texts = [delta["content"] for each in result.chunks() for delta in [each["choices"][0]["delta"]] if "content" in delta]
    assert all(isinstance(text, str) for text in texts)
    assert result.whole_chat()["content"] == "".join(texts)
    assert result.streamed_text == result.whole_text


@pytest.mark.parametrize("gone", [("id",), ("object",), ("created",), ("model",), ("id", "object", "created", "model")])
def test_required_openai_fields_are_present(gone: tuple[str, ...]) -> None:
    chunks = [{name: value for name, value in each.items() if name not in gone} for each in (role(), chunk("Hi"), finish())]
    body = {name: value for name, value in completion("Hi").items() if name not in gone}
    del body["choices"][0]["index"], body["choices"][0]["message"]["role"]
    result = Answer("openai", [b"".join(map(frame, chunks)) + b'data: {"usage": {"prompt_tokens": 1}}\n\n' + DONE], body)
    assert result.chat()["content"] == result.whole_chat()["content"] == "Hi"  # validated by OpenAI's types in the process
    assert result.whole.body["choices"][0]["index"] == 0


PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"


def image_answer() -> Answer:
    """A Gemini image next to text, with a draft image among its reasoning."""
    draft = {"thought": True, "inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    image = {"inlineData": {"mimeType": "image/png", "data": PNG}, "thoughtSignature": "c2ln"}
    whole = gemini.answer(gemini.thought("Red."), draft, gemini.text("Here:"), image, reported=gemini.usage(output=1_295))
    return Answer("gemini", [gemini.event(whole)], whole)


def test_a_gemini_image_is_where_other_gateways_put_it() -> None:
    result = image_answer()
    url = f"data:image/png;base64,{PNG}"
    signed = {"google": {"thought_signature": "c2ln"}}
    image = {"type": "image_url", "image_url": {"url": url}, "extra_content": signed}
    assert result.chat()["images"] == [{**image, "index": 0}]
    whole = result.whole_chat()
    assert (whole["images"], whole["content"], whole["reasoning_content"]) == ([image], "Here:", "Red.")
    assert (result.streamed_images, result.whole_images, result.delivered) == (1, 1, True)
    assert {"image": url} in result.native_events()


def test_an_image_round_trips_at_endpoints_without_an_image_type() -> None:
    result = image_answer()
    markdown = f"![image](data:image/png;base64,{PNG})"
    for message in (result.message(), result.whole_message()):
        assert [block.get("text") for block in message["content"]] == [None, "Here:", markdown]
        Message.model_validate(message)
    texts = [
        each["delta"]["text"]
        for each in result.message_events()
        if each["type"] == "content_block_delta" and "text" in each["delta"]
    ]
    assert texts == ["Here:", markdown]
    for response in (result.response(), result.whole_response()):
        item = response["output"][-1]
        assert (item["type"], item["status"], item["result"]) == ("image_generation_call", "completed", PNG)
        Response.model_validate(response)
    for each in result.response_events():
        TypeAdapter(ResponseStreamEvent).validate_python(each)
    url = {"url": f"data:image/png;base64,{PNG}"}
    asked = {"role": "user", "content": "Paint."}
    messages = {
        "model": "m",
        "max_tokens": 9,
        "messages": [asked, {"role": "assistant", "content": result.message()["content"][1:]}],
    }
    responses = {"model": "m", "input": [asked, *result.response()["output"]]}
    for call in (read_message(json.dumps(messages).encode()), read_response(json.dumps(responses).encode())[1]):
        [image] = [image for message in call.body["messages"] for image in message.get("images") or ()]
        assert image == {"type": "image_url", "image_url": url}
        assert PNG not in json.dumps([message.get("content") for message in call.body["messages"]])
        assert call.input_bound < 3_000 + 2_000


def test_the_signature_of_an_image_is_returned_to_gemini() -> None:
    said = image_answer().whole_chat()
    said.pop("finish_reason")
    body = request_body("gemini", modalities=["image", "text"], messages=[{"role": "user", "content": "Paint."}, said])
    parts = body["contents"][1]["parts"]
    assert {"inlineData": {"mimeType": "image/png", "data": PNG}, "thoughtSignature": "c2ln"} in parts
    assert body["generationConfig"]["responseModalities"] == ["IMAGE", "TEXT"]


def test_unmapped_gemini_parts_are_passed_on() -> None:
    sound = {"inlineData": {"mimeType": "audio/L16", "data": "AAAA"}}
    code = [
        {"executableCode": {"language": "PYTHON", "code": "1+1"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}},
    ]
    whole = gemini.answer(*code, sound, {"toolCall": {"id": "1"}}, {"thoughtSignature": "c2ln", "text": ""})
    result = Answer("gemini", [gemini.event(whole)], whole)
    message = result.whole_chat()
    assert message["content"] == result.chat()["content"] == "\n```python\n1+1\n```\n\n```\n2\n```\n"
    assert message["content_parts"] == [sound, {"toolCall": {"id": "1"}}]
    assert result.chat()["content_parts"] == [{**sound, "index": 0}, {"toolCall": {"id": "1"}, "index": 1}]
    alone = gemini.answer(sound)
    assert Answer("gemini", [gemini.event(alone)], alone).delivered


# Any calls with any of these deviations, split anywhere

ARGUMENTS = st.dictionaries(st.text(max_size=3), st.integers(-9, 9) | st.text(max_size=4), max_size=3).map(json.dumps)
NAMES = st.sampled_from(["f", "g", "look_up"])


@st.composite
def deviating_streams(draw: Any) -> tuple[Calls, bytes]:
    """Calls, and a stream of them from a provider with random deviations."""
    calls = [(f"c{place}", draw(NAMES), draw(ARGUMENTS)) for place in range(draw(st.integers(1, 4)))]
    index = draw(st.sampled_from(["right", "from one", "zero", "none"]))
    ids, names = draw(st.sampled_from(["once", "always", "empty later"])), draw(st.sampled_from(["once", "always", "null later"]))
    events = [role()]
    for place, (id, name, arguments) in enumerate(calls):
        edges = [0, *sorted(draw(st.lists(st.integers(0, len(arguments)), max_size=3))), len(arguments)]
        for number, (start, end) in enumerate(pairwise(edges)):
            fragment = fn(name, arguments[start:end], id=id, type="function")
            if index != "none":
                fragment["index"] = {"right": place, "from one": place + 1, "zero": 0}[index]
            if number and ids != "always":
                del fragment["id"]
                fragment.update({"id": ""} if ids == "empty later" else {})
            if number and names != "always":
                del fragment["function"]["name"]
                fragment["function"].update({"name": None} if names == "null later" else {})
            events.append(chunk(tool_calls=[fragment]))
    return calls, frames(*events, finish(draw(st.sampled_from(["stop", "tool_calls"]))), usage()) + DONE


@given(deviating_streams(), st.lists(st.integers(0, 10_000), max_size=5))
def test_deviations_do_not_change_the_calls(said: tuple[Calls, bytes], places: list[int]) -> None:
    calls, stream = said
    result = Answer("openai", split(stream, places))
    assert calls_of_chat(result.chat()) == calls_of_response(result.response()) == calls
    assert [(id, name, json.loads(text)) for id, name, text in calls_of_message(result.message())] == [
        (id, name, json.loads(text)) for id, name, text in calls
    ]
    assert result.streamed_text == "".join(name + text for _, name, text in calls)
    assert result.chat()["finish_reason"] == "tool_calls"
