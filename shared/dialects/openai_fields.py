"""Table: how each field of a chat request is sent to providers of OpenAI's format. Most are passed unchanged."""

from __future__ import annotations

from shared.dialects.field_support import Fields, mapped, passed
from shared.dialects.strip_foreign_fields import ANSWER_FIELDS

_SAMPLING = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
_IF_ACCEPTED = "sent to providers that accept it, omitted for others"

FIELDS: Fields = {
    "model": mapped("the provider's model name"),
    "messages": passed(),
    "stream": passed(),
    "stream_options": mapped("usage is always requested; `include_usage` decides whether you receive it"),
    "max_tokens": mapped("one limit, the smaller of both, under the name that you used or the provider's only one"),
    "max_completion_tokens": mapped("as `max_tokens`"),
    "user": mapped("as a pseudonym"),
    "safety_identifier": mapped("as a pseudonym"),
    "metadata": mapped("`user_id` as a pseudonym; other keys are not sent"),
    "store": mapped("always false"),
    "prompt_cache_key": mapped("as a pseudonym"),
    "reasoning_effort": mapped("passed, or replaced by the nearest value that the model accepts; omitted if it accepts none"),
    **{name: passed("omitted for models that do not accept it") for name in _SAMPLING},
    "tools": passed(
        "strict schemas are rewritten to OpenAI's subset; custom tools as functions for models that do not accept them;"
        " refused for models without tools in chat completions"
    ),
    "response_format": passed("strict schemas are rewritten to OpenAI's subset"),
    "cache_control": passed("also on messages, parts and tools; " + _IF_ACCEPTED),
    **{
        name: passed()
        for name in (
            *("stop", "n", "seed", "logit_bias"),
            *("logprobs", "top_logprobs", "tool_choice", "parallel_tool_calls"),
            *("prompt_cache_retention", "prompt_cache_options", "service_tier"),
            *("modalities", "audio", "prediction", "verbosity", "moderation", "web_search_options", "functions", "function_call"),
        )
    },
}

MESSAGE_FIELDS: Fields = {
    "role": passed("`developer` and `system` become the one that the provider accepts"),
    "content": passed(),
    "name": passed("prefixed to the text if the provider accepts no names"),
    "tool_calls": passed("`extra_content` in them like `reasoning_content`; ids are rewritten to the provider's format"),
    "tool_call_id": passed("rewritten like its call's id"),
    **{name: passed() for name in ("refusal", "audio", "function_call")},
    **{name: passed(_IF_ACCEPTED) for name in ANSWER_FIELDS if name != "thinking"},
}

PART_FIELDS: Fields = {
    **{name: passed() for name in ("text", "image_url", "input_audio", "file", "refusal", "video_url")},
    "thinking": passed(_IF_ACCEPTED),
    "tool_reference": mapped("text that names the tools, which are then sent"),
}
