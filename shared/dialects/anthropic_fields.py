"""What becomes of each field of a chat request on its way to Anthropic's Messages API."""

from __future__ import annotations

from shared.dialects.field_support import Fields, mapped, passed, refused

FIELDS: Fields = {
    "model": mapped("the vendor's name of it"),
    "messages": mapped(
        "system and developer messages become `system`, in their order; later ones stay in place where the model takes them there"
    ),
    "stream": passed(),
    "stream_options": mapped("usage is always asked of the vendor; `include_usage` decides whether you see it"),
    "max_tokens": mapped(
        "the smaller of both; without one, what the model may give and the credits pay for, see [dialects](dialects.md)"
    ),
    "max_completion_tokens": mapped("as `max_tokens`"),
    "temperature": mapped("0 to 1; higher values are refused; left out with thinking, and for models that do not accept it"),
    "top_p": passed("left out like `temperature`, and with thinking if below 0.95"),
    "top_k": passed("Anthropic's own; left out like `temperature`"),
    "stop": mapped("`stop_sequences`; only white space is refused"),
    "n": refused("one choice a call", 1),
    "tools": mapped("functions; `strict` and `cache_control` are passed on; strict schemas are rewritten to Anthropic's subset"),
    "tool_choice": mapped("auto, none, required (`any`) or a function (`tool`); a forced tool turns thinking off, or is refused"),
    "parallel_tool_calls": mapped("`disable_parallel_tool_use`"),
    "response_format": mapped("`json_schema` as `output_config.format`; `json_object` by a tool that the model must call"),
    "reasoning_effort": mapped(
        "thinking, adaptive or by a budget of tokens; beside `thinking` only how much; see [dialects](dialects.md)"
    ),
    "thinking": passed(
        "Anthropic's own; `adaptive` becomes a budget where the model thinks by one, and a model that does not think gets none"
    ),
    "cache_control": passed("Anthropic's own; also on content parts and tools"),
    "prompt_cache_key": mapped("asks for automatic `cache_control`"),
    "prompt_cache_retention": mapped("`24h` asks for a cache of an hour, the longest there is"),
    "metadata": mapped("`user_id`, as a pseudonym; other keys are refused"),
    "user": mapped("`metadata.user_id`, as a pseudonym"),
    "safety_identifier": mapped("`metadata.user_id`, as a pseudonym; wins over `user`"),
    "store": mapped("never kept, whatever it says"),
    "service_tier": mapped("`auto`, or `default` (`standard_only`); others are refused"),
    "seed": refused("no seed"),
    "frequency_penalty": refused("no penalties", 0),
    "presence_penalty": refused("no penalties", 0),
    "logit_bias": refused("no bias of tokens", {}),
    "logprobs": refused("no log probabilities", False),
    "top_logprobs": refused("no log probabilities", 0),
    "modalities": refused("text only", ["text"]),
    "audio": refused("text only"),
    "prediction": refused("no predicted outputs"),
    "verbosity": refused("no verbosity", "medium"),
    "moderation": refused("no moderation of its own"),
    "prompt_cache_options": refused("use `cache_control`"),
    "web_search_options": refused("no search"),
    "functions": refused("use `tools`", []),
    "function_call": refused("use `tool_choice`", "none", "auto"),
}

MESSAGE_FIELDS: Fields = {
    "role": mapped("`tool` becomes a tool result of the user's turn"),
    "content": mapped("text and parts; text of only white space is left out"),
    "name": mapped("before the text: `name: …`"),
    "tool_calls": mapped("tool uses"),
    "tool_call_id": mapped("of the tool result; rewritten like its call's id to characters that Anthropic accepts"),
    "refusal": mapped("text of the assistant's turn"),
    "thinking_blocks": mapped("signed thinking of an earlier answer, sent back as it is"),
    "reasoning_content": mapped("for your eyes: the vendor takes back only signed `thinking_blocks`"),
    "reasoning": mapped("as `reasoning_content`"),
    "reasoning_details": mapped("as `reasoning_content`"),
    "extra_content": mapped("as `reasoning_content`"),
    "images": mapped("not sent back: the provider does not accept images in the model's turn"),
    "content_parts": mapped("as `images`"),
    "annotations": mapped("of an earlier answer; no vendor reads them"),
    "cache_control": passed("on the last part of the message"),
    "audio": refused("text only"),
    "function_call": refused("use `tool_calls`"),
}

PART_FIELDS: Fields = {
    "text": mapped(),
    "image_url": mapped("data URL (type detected from the content) or https; `detail` low is refused, images are used whole"),
    "file": mapped("PDF, plain text or an image, data URL or https; `file_id` is refused"),
    "refusal": mapped("text"),
    "thinking": mapped("with its signature, in the assistant's turn"),
    "input_audio": refused("no sound"),
    "video_url": refused("no video"),
}
