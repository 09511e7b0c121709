"""Table: how each field of a chat request is sent to Anthropic's Messages API."""

from __future__ import annotations

from shared.dialects.field_support import Fields, mapped, passed, refused

FIELDS: Fields = {
    "model": mapped("the provider's model name"),
    "messages": mapped(
        "system and developer messages become `system`, in order; later ones stay in place if the model accepts that"
    ),
    "stream": passed(),
    "stream_options": mapped("usage is always requested; `include_usage` decides whether you receive it"),
    "max_tokens": mapped(
        "the smaller of both; by default as much as the model supports and the credits pay for, see [dialects](dialects.md)"
    ),
    "max_completion_tokens": mapped("as `max_tokens`"),
    "temperature": mapped("0 to 1; higher values are refused; omitted with thinking, and for models that do not accept it"),
    "top_p": passed("omitted like `temperature`, and with thinking if below 0.95"),
    "top_k": passed("Anthropic's own; omitted like `temperature`"),
    "stop": mapped("`stop_sequences`; whitespace alone is refused"),
    "n": refused("only one choice is supported", 1),
    "tools": mapped(
        "functions; `strict`, `cache_control` and `defer_loading` are passed on; strict schemas are rewritten to Anthropic's"
        " subset; custom tools as functions"
    ),
    "tool_choice": mapped("auto, none, required (`any`) or a function (`tool`); a forced tool turns thinking off, or is refused"),
    "parallel_tool_calls": mapped("`disable_parallel_tool_use`"),
    "response_format": mapped("`json_schema` as `output_config.format`; `json_object` with a tool that the model must call"),
    "reasoning_effort": mapped(
        "thinking, adaptive or with a token budget; next to `thinking` it only sets the amount; see [dialects](dialects.md)"
    ),
    "thinking": passed(
        "Anthropic's own; `adaptive` becomes a budget if the model needs one; omitted for models without thinking"
    ),
    "cache_control": passed("Anthropic's own; also on content parts and tools"),
    "prompt_cache_key": mapped("requests automatic `cache_control`"),
    "prompt_cache_retention": mapped("`24h` requests a one-hour cache, the longest available"),
    "metadata": mapped("`user_id`, as a pseudonym; other keys are not sent"),
    "user": mapped("`metadata.user_id`, as a pseudonym"),
    "safety_identifier": mapped("`metadata.user_id`, as a pseudonym; takes precedence over `user`"),
    "store": mapped("ignored; nothing is stored"),
    "service_tier": mapped("`auto`, or `default` (`standard_only`); others are refused"),
    "seed": refused(),
    "frequency_penalty": refused("", 0),
    "presence_penalty": refused("", 0),
    "logit_bias": refused("", {}),
    "logprobs": refused("", False),
    "top_logprobs": refused("", 0),
    "modalities": refused("text only", ["text"]),
    "audio": refused("text only"),
    "prediction": refused(),
    "verbosity": mapped("not sent: the provider has no such field"),
    "moderation": refused(),
    "prompt_cache_options": refused("use `cache_control`"),
    "web_search_options": refused(),
    "functions": refused("use `tools`", []),
    "function_call": refused("use `tool_choice`", "none", "auto"),
}

MESSAGE_FIELDS: Fields = {
    "role": mapped("`tool` becomes a tool result in the user turn"),
    "content": mapped("text and parts; text that is only whitespace is omitted"),
    "name": mapped("prefixed to the text: `name: …`"),
    "tool_calls": mapped("tool uses"),
    "tool_call_id": mapped("id of the tool result; rewritten, like the call's id, to characters that Anthropic accepts"),
    "refusal": mapped("text in the assistant turn"),
    "thinking_blocks": mapped("signed thinking of an earlier answer; other blocks are not sent"),
    "anthropic_blocks": mapped("content with web searches of an earlier message; replaces `content`; Messages API only"),
    "reasoning_content": mapped("not sent: the provider only accepts signed `thinking_blocks`"),
    "reasoning": mapped("as `reasoning_content`"),
    "reasoning_details": mapped("as `reasoning_content`"),
    "extra_content": mapped("as `reasoning_content`"),
    "images": mapped("not sent: the provider does not accept images in assistant turns"),
    "content_parts": mapped("as `images`"),
    "annotations": mapped("not sent: no provider uses them"),
    "cache_control": passed("on the last part of the message"),
    "audio": refused("text only"),
    "function_call": refused("use `tool_calls`"),
}

PART_FIELDS: Fields = {
    "text": mapped(),
    "image_url": mapped("data URL (type detected from the content) or https; `detail` low is refused: images are used in full"),
    "file": mapped("PDF, plain text or an image, data URL or https; `file_id` is refused"),
    "refusal": mapped("text"),
    "thinking": mapped("with its signature, in assistant turns"),
    "tool_reference": mapped("in tool results, as in Anthropic's tool search"),
    "input_audio": refused(),
    "video_url": refused(),
}
