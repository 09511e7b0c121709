"""What becomes of each field of a chat request on its way to a vendor of OpenAI's format: the words are the same."""

from __future__ import annotations

from shared.providers.fields import Fields, mapped, passed

FIELDS: Fields = {
    "model": mapped("the vendor's name of it"),
    "messages": passed(),
    "stream": passed(),
    "stream_options": mapped("usage is always asked of the vendor; `include_usage` decides whether you see it"),
    "max_tokens": mapped("one limit, the smaller of both, under the name you used or the vendor's only one"),
    "max_completion_tokens": mapped("as `max_tokens`"),
    "user": mapped("as a pseudonym"),
    "safety_identifier": mapped("as a pseudonym"),
    "metadata": mapped("`user_id` as a pseudonym, the rest passed"),
    "store": mapped("always false"),
    "reasoning_effort": mapped("passed; where the channel says which ones the model takes, the nearest of them, or none"),
    **{
        name: passed()
        for name in (
            *("temperature", "top_p", "stop", "n", "seed", "frequency_penalty", "presence_penalty", "logit_bias"),
            *("logprobs", "top_logprobs", "tools", "tool_choice", "parallel_tool_calls", "response_format"),
            *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "service_tier"),
            *("modalities", "audio", "prediction", "verbosity", "moderation", "web_search_options", "functions", "function_call"),
        )
    },
}

MESSAGE_FIELDS: Fields = {
    name: passed()
    for name in (
        *("role", "content", "name", "tool_calls", "tool_call_id", "refusal", "audio", "function_call", "annotations"),
        *("reasoning_content", "reasoning", "reasoning_details", "thinking_blocks", "cache_control"),
    )
}

PART_FIELDS: Fields = {
    name: passed() for name in ("text", "image_url", "input_audio", "file", "refusal", "thinking", "video_url")
}
