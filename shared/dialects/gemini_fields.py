"""Table: how each field of a chat request is sent to Gemini's generateContent."""

from __future__ import annotations

from shared.dialects.field_support import Fields, mapped, refused

FIELDS: Fields = {
    "model": mapped("the provider's model name, in the path"),
    "messages": mapped("system and developer messages become `systemInstruction`, in order"),
    "stream": mapped("`streamGenerateContent`"),
    "stream_options": mapped("usage is always sent by the provider; `include_usage` decides whether you receive it"),
    "max_tokens": mapped("`maxOutputTokens`, the smaller of both"),
    "max_completion_tokens": mapped("as `max_tokens`"),
    "temperature": mapped("`temperature`"),
    "top_p": mapped("`topP`"),
    "top_k": mapped("`topK`"),
    "stop": mapped("`stopSequences`; more than five are refused"),
    "n": mapped("`candidateCount`"),
    "seed": mapped("`seed`"),
    "frequency_penalty": mapped("`frequencyPenalty`"),
    "presence_penalty": mapped("`presencePenalty`"),
    "logprobs": mapped("`responseLogprobs`"),
    "top_logprobs": mapped("`logprobs`"),
    "tools": mapped("`functionDeclarations`, with schemas rewritten to Gemini's subset; custom tools as functions"),
    "tool_choice": mapped("AUTO, NONE, ANY, or ANY with one allowed function"),
    "parallel_tool_calls": mapped("false: only the first call of an answer is passed on"),
    "response_format": mapped("`responseMimeType` and `responseJsonSchema`, rewritten to Gemini's subset"),
    "reasoning_effort": mapped("`thinkingConfig`, with a level or a token budget; see [dialects](dialects.md)"),
    "prompt_cache_key": mapped("the provider caches automatically and needs no key"),
    "prompt_cache_retention": mapped("as `prompt_cache_key`"),
    "metadata": mapped("not sent"),
    "user": mapped("not sent: the provider has no such field"),
    "safety_identifier": mapped("not sent: the provider has no such field"),
    "store": mapped("ignored; nothing is stored"),
    "service_tier": refused("only one tier is available", "auto", "default"),
    "logit_bias": refused("", {}),
    "modalities": mapped("`responseModalities`; `text` and `image`"),
    "audio": refused("text only"),
    "prediction": refused(),
    "verbosity": mapped("not sent: the provider has no such field"),
    "moderation": refused(),
    "prompt_cache_options": refused("the provider caches automatically"),
    "web_search_options": refused(),
    "thinking": refused("use `reasoning_effort`"),
    "cache_control": refused("the provider caches automatically"),
    "functions": refused("use `tools`", []),
    "function_call": refused("use `tool_choice`", "none", "auto"),
}

MESSAGE_FIELDS: Fields = {
    "role": mapped("`assistant` becomes `model`, `tool` a function response"),
    "content": mapped("text and parts; empty ones are omitted"),
    "name": mapped("prefixed to the text: `name: …`; in a tool message, the function's name"),
    "tool_calls": mapped("function calls, with their `extra_content.google.thought_signature`, or Google's placeholder"),
    "tool_call_id": mapped("used to find the function's name"),
    "refusal": mapped("text in the model turn"),
    "reasoning_content": mapped("not sent: the provider only accepts the signatures of its calls"),
    "reasoning": mapped("as `reasoning_content`"),
    "reasoning_details": mapped("as `reasoning_content`"),
    "thinking_blocks": mapped("as `reasoning_content`"),
    "extra_content": mapped("as `reasoning_content`"),
    "images": mapped("`inlineData` or `fileData` in the model turn, with their signatures"),
    "content_parts": mapped("as `reasoning_content`"),
    "annotations": mapped("not sent: no provider uses them"),
    "cache_control": mapped("the provider caches automatically"),
    "audio": refused("text only"),
    "function_call": refused("use `tool_calls`"),
}

PART_FIELDS: Fields = {
    "text": mapped(),
    "image_url": mapped(
        "`inlineData`, or `fileData` for https URLs; `detail` low is refused, because it applies to whole calls only"
    ),
    "input_audio": mapped("`inlineData`"),
    "file": mapped("`inlineData` or `fileData`; `file_id` is refused"),
    "video_url": mapped("`inlineData` or `fileData`"),
    "refusal": mapped("text"),
    "thinking": mapped("as `reasoning_content`"),
    "tool_reference": mapped("text that names the tools, which are then sent"),
}
