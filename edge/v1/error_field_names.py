"""Maps fields of chat bodies back to the caller's field names, for error messages. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

# Prefix of a path in the chat body → the caller's field. Paths inside messages differ, so they map to the whole field.
_MESSAGES = (
    (r"reasoning_effort", r"output_config.effort"),
    (r"response_format\.json_schema", r"output_config.format"),
    (r"response_format", r"output_config.format"),
    (r"tools\[(\d+)\]\.function\.parameters", r"tools[\1].input_schema"),
    (r"tools\[(\d+)\]\.function", r"tools[\1]"),
    (r"parallel_tool_calls", r"tool_choice.disable_parallel_tool_use"),
    (r"max_completion_tokens", r"max_tokens"),
    (r"stop", r"stop_sequences"),
    (r"user", r"metadata.user_id"),
    (r"messages.*", r"messages"),
)
_RESPONSES = (
    (r"reasoning_effort", r"reasoning.effort"),
    (r"response_format\.json_schema", r"text.format"),
    (r"response_format", r"text.format"),
    (r"verbosity", r"text.verbosity"),
    (r"tools\[(\d+)\]\.function", r"tools[\1]"),
    (r"max_completion_tokens|max_tokens", r"max_output_tokens"),
    (r"logprobs", r"include"),
    (r"messages.*", r"input"),
)
_PROMPT = ((r"messages.*", r"prompt"),)


def _namer(names: tuple[tuple[str, str], ...]) -> Callable[[str], str]:
    rules = [(re.compile(rf"(?:{chat})(?=[.\[]|$)"), own) for chat, own in names]

    def name(param: str) -> str:
        for pattern, own in rules:
            if found := pattern.match(param):
                return found.expand(own) + param[found.end() :]
        return param

    return name


message_field = _namer(_MESSAGES)
"""Return the Messages field for a path in the chat body."""
response_field = _namer(_RESPONSES)
"""Return the Responses field for a path in the chat body."""
prompt_field = _namer(_PROMPT)
"""Return the field of a body with a `prompt` for a path in the chat body."""
