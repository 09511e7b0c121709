"""What becomes of each field of a chat request on its way to Gemini's generateContent."""

from __future__ import annotations

from shared.dialects.field_support import Fields, mapped, refused

FIELDS: Fields = {
    "model": mapped("the vendor's name of it, in the path"),
    "messages": mapped("system and developer messages become `systemInstruction`, in their order"),
    "stream": mapped("`streamGenerateContent`"),
    "stream_options": mapped("usage is always told by the vendor; `include_usage` decides whether you see it"),
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
    "tools": mapped("`functionDeclarations`, with schemas rewritten to Gemini's subset"),
    "tool_choice": mapped("AUTO, NONE, ANY, or ANY with one allowed function"),
    "parallel_tool_calls": mapped("false: only the first call of an answer is passed on"),
    "response_format": mapped("`responseMimeType` and `responseJsonSchema`, rewritten to Gemini's subset"),
    "reasoning_effort": mapped("`thinkingConfig`, by level or by a budget of tokens; see [dialects](dialects.md)"),
    "prompt_cache_key": mapped("the vendor caches by itself and needs no key"),
    "prompt_cache_retention": mapped("as `prompt_cache_key`"),
    "metadata": mapped("`user_id` is kept from the vendor; other keys are refused"),
    "user": mapped("kept from the vendor, which has no place for it"),
    "safety_identifier": mapped("kept from the vendor, which has no place for it"),
    "store": mapped("never kept, whatever it says"),
    "service_tier": refused("one tier", "auto", "default"),
    "logit_bias": refused("no bias of tokens", {}),
    "modalities": mapped("`responseModalities`; `text` and `image`"),
    "audio": refused("text only"),
    "prediction": refused("no predicted outputs"),
    "verbosity": refused("no verbosity", "medium"),
    "moderation": refused("no moderation of its own"),
    "prompt_cache_options": refused("the provider caches by itself"),
    "web_search_options": refused("no search"),
    "thinking": refused("use `reasoning_effort`"),
    "cache_control": refused("the provider caches by itself"),
    "functions": refused("use `tools`", []),
    "function_call": refused("use `tool_choice`", "none", "auto"),
}

MESSAGE_FIELDS: Fields = {
    "role": mapped("`assistant` becomes `model`, `tool` a function response"),
    "content": mapped("text and parts; empty ones are left out"),
    "name": mapped("before the text: `name: …`; of a tool message, the function's name"),
    "tool_calls": mapped("function calls, with their `extra_content.google.thought_signature`, or Google's placeholder"),
    "tool_call_id": mapped("finds the function's name"),
    "refusal": mapped("text of the model's turn"),
    "reasoning_content": mapped("for your eyes: the vendor takes back only the signatures of its calls"),
    "reasoning": mapped("as `reasoning_content`"),
    "reasoning_details": mapped("as `reasoning_content`"),
    "thinking_blocks": mapped("as `reasoning_content`"),
    "extra_content": mapped("as `reasoning_content`"),
    "images": mapped("`inlineData` or `fileData` of the model's turn, with their signatures"),
    "content_parts": mapped("as `reasoning_content`"),
    "annotations": mapped("of an earlier answer; no vendor reads them"),
    "cache_control": mapped("the vendor caches by itself"),
    "audio": refused("text only"),
    "function_call": refused("use `tool_calls`"),
}

PART_FIELDS: Fields = {
    "text": mapped(),
    "image_url": mapped(
        "`inlineData` or, of an https URL, `fileData`; `detail` low is refused, for it is a setting of whole calls"
    ),
    "input_audio": mapped("`inlineData`"),
    "file": mapped("`inlineData` or `fileData`; `file_id` is refused"),
    "video_url": mapped("`inlineData` or `fileData`"),
    "refusal": mapped("text"),
    "thinking": mapped("for your eyes, as `reasoning_content`"),
}
