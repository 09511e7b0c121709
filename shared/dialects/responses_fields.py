"""Table: how each field of a chat request is sent to providers of OpenAI's Responses API."""

from __future__ import annotations

from shared.dialects.field_support import Fields, mapped, passed, refused

_AUTOMATIC = "not sent: the provider caches automatically"

FIELDS: Fields = {
    "model": mapped("the provider's model name"),
    "messages": mapped("`input` items"),
    "stream": passed(),
    "stream_options": mapped("usage is always sent by the provider; `include_usage` decides whether you receive it"),
    "max_tokens": mapped("`max_output_tokens`: the smaller one if both are set, at least 16"),
    "max_completion_tokens": mapped("as `max_tokens`"),
    "user": mapped("as a pseudonym"),
    "safety_identifier": mapped("as a pseudonym"),
    "metadata": mapped("`user_id` as a pseudonym; other keys are not sent"),
    "store": mapped("always false"),
    "reasoning_effort": mapped("`reasoning.effort`; if the model accepts only some values, the nearest one, or omitted"),
    "temperature": passed("omitted for models that do not accept it"),
    "top_p": passed("omitted for models that do not accept it"),
    "frequency_penalty": refused("", 0),
    "presence_penalty": refused("", 0),
    "tools": mapped("functions and custom tools; strict schemas are rewritten to OpenAI's subset"),
    "tool_choice": mapped("auto, none, required, a function, a custom tool, or `allowed_tools`"),
    "parallel_tool_calls": mapped("passed with `tools`, omitted without"),
    "response_format": mapped("`text.format`; strict schemas are rewritten to OpenAI's subset"),
    "verbosity": mapped("`text.verbosity`"),
    "logprobs": mapped("`include`"),
    "top_logprobs": passed(),
    "prompt_cache_key": mapped("as a pseudonym"),
    "prompt_cache_retention": passed(),
    "prompt_cache_options": passed(),
    "service_tier": passed(),
    "cache_control": mapped(_AUTOMATIC),
    "stop": refused("", []),
    "n": refused("only one choice is supported", 1),
    "seed": refused(),
    "logit_bias": refused("", {}),
    "modalities": refused("text only", ["text"]),
    "audio": refused("text only"),
    "prediction": refused(),
    "moderation": refused(),
    "web_search_options": refused(),
    "functions": refused("use `tools`", []),
    "function_call": refused("use `tool_choice`", "none", "auto"),
    "top_k": refused(),
    "thinking": refused("use `reasoning_effort`"),
}

MESSAGE_FIELDS: Fields = {
    "role": mapped("`tool` becomes the output of a call; `developer` and `system` become the one that the provider accepts"),
    "content": mapped("text and parts; messages without any are omitted"),
    "name": mapped("prefixed to the text: `name: …`"),
    "tool_calls": mapped("`function_call` and `custom_tool_call` items"),
    "tool_call_id": mapped("`call_id` of the output"),
    "refusal": mapped("text in the assistant turn"),
    "reasoning_content": mapped("not sent: the provider only accepts encrypted reasoning"),
    "reasoning": mapped("as `reasoning_content`"),
    "reasoning_details": mapped("as `reasoning_content`"),
    "thinking_blocks": mapped("the provider's own encrypted reasoning, as `reasoning` items; that of others is not sent"),
    "annotations": mapped("not sent: no provider uses them"),
    "extra_content": mapped("as `reasoning_content`"),
    "cache_control": mapped(_AUTOMATIC),
    "images": mapped("not sent: the provider does not accept images in assistant turns"),
    "content_parts": mapped("as `images`"),
    "audio": refused("text only"),
    "function_call": refused("use `tool_calls`"),
}

PART_FIELDS: Fields = {
    "text": mapped("`input_text`; the text of an assistant message is one string"),
    "image_url": mapped("`input_image`: data URL or https"),
    "input_audio": refused(),
    "file": mapped("`input_file`: data URL or https; `file_id` is refused"),
    "refusal": mapped("text"),
    "video_url": refused(),
    "thinking": mapped("as `reasoning_content`"),
    "tool_reference": mapped("text that names the tools, which are then sent"),
}
