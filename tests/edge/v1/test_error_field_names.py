"""Errors about unsupported fields name the field of the API that the caller used."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from edge.v1.completions import parse as read_completion
from edge.v1.messages.request import parse as read_message
from edge.v1.responses.request import parse as read_response
from shared.dialects import DIALECTS
from shared.dialects.base import ChatCall, UnsupportedField
from tests.shared.dialects.calls import Json, target_of

NUMBERS: Json = {"type": "object", "additionalProperties": {"type": "integer"}}
NOWHERE: Json = {"$ref": "#/$defs/X"}
FILE: Json = {"type": "input_file", "file_data": "data:application/zip;base64,AAAA", "filename": "a.zip"}
TOOL: Json = {"name": "f", "strict": True}


def response(**fields: Any) -> ChatCall:
    return read_response(json.dumps({"model": "m", "input": "Hi", **fields}).encode())[1]


def message(**fields: Any) -> ChatCall:
    asked = {"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "Hi"}], **fields}
    return read_message(json.dumps(asked).encode())


def completion(**fields: Any) -> ChatCall:
    return read_completion(json.dumps({"model": "m", "prompt": "Hi", **fields}).encode())[0]


@pytest.mark.parametrize(
    ("call", "fields", "param"),
    [
        (response, {"text": {"format": {"type": "json_schema", "name": "n", "schema": NOWHERE}}}, "text.format.schema"),
        (response, {"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        (response, {"top_logprobs": 2}, "top_logprobs"),
        (response, {"include": ["message.output_text.logprobs"]}, "include"),
        (response, {"tools": [{"type": "function", **TOOL, "parameters": NUMBERS}]}, "tools[0].parameters.additionalProperties"),
        (response, {"input": [{"role": "user", "content": [FILE]}]}, "input"),
        (message, {"output_config": {"effort": "huge"}}, "output_config.effort"),
        (message, {"tools": [{**TOOL, "input_schema": NUMBERS}]}, "tools[0].input_schema.additionalProperties"),
        (message, {"output_config": {"format": {"type": "json_schema", "schema": NOWHERE}}}, "output_config.format.schema"),
        (message, {"stop_sequences": ["\n"]}, "stop_sequences"),
        (message, {"temperature": 1.5}, "temperature"),
        (completion, {"stop": "\n"}, "stop"),
    ],
)
def test_an_unsupported_field_is_named_as_the_caller_sent_it(call: Callable[..., ChatCall], fields: Json, param: str) -> None:
    asked = call(**fields)
    with pytest.raises(UnsupportedField) as refused:
        DIALECTS["anthropic"].build_request(asked.for_dialect("anthropic"), target_of("anthropic"))
    named = refused.value.named(asked.field_name)
    assert named.param.startswith(param)
    subject = f"'{named.param}'" if param != "input" else "Part of 'input'"
    assert str(named).startswith(f"{subject} is not supported by this model")
    assert str(named)[len(subject) :] == str(refused.value)[len(refused.value.param) + 2 :]


@pytest.mark.parametrize(
    ("call", "own"),
    [
        (
            response,
            {"max_completion_tokens": "max_output_tokens", "max_tokens": "max_output_tokens", "verbosity": "text.verbosity"},
        ),
        (message, {"max_completion_tokens": "max_tokens", "user": "metadata.user_id", "thinking": "thinking"}),
        (message, {"parallel_tool_calls": "tool_choice.disable_parallel_tool_use", "users": "users", "stopped": "stopped"}),
        (completion, {"messages": "prompt", "messages[0].content": "prompt", "max_tokens": "max_tokens"}),
    ],
)
def test_a_field_in_a_provider_error_is_named_as_the_caller_sent_it(call: Callable[..., ChatCall], own: dict[str, str]) -> None:
    field_name = call().field_name
    assert field_name is not None
    assert {chat: field_name(chat) for chat in own} == own
