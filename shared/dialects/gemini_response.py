"""Parses Gemini's responses: `GenerateContentResponse`, which is also the format of stream events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from shared.dialects.base import BlockedPrompt, BrokenStream
from shared.dialects.openai_response import image_of
from shared.dialects.translated_stream import delta_chunk, finish_chunk, usage_chunk

# Fields of a part other than its data.
_BESIDE = frozenset({"thought", "thoughtSignature", "videoMetadata", "partMetadata", "mediaResolution", "text", "functionCall"})
UNSPECIFIED = "FINISH_REASON_UNSPECIFIED"
Chunks = Iterator[dict[str, Any] | None]


class GeminiTranslator:
    """Translates one answer. `call_id` is used to create ids of tool calls without one; `one_call` keeps one call per choice."""

    def __init__(self, call_id: str, one_call: bool) -> None:
        self._call_id = call_id.removeprefix("chatcmpl-")
        self._one_call = one_call
        self._calls: dict[int, int] = {}  # number of tool calls by choice
        self._open: set[int] = set()  # choices that have begun and not ended

    def read(self, event: dict[str, Any]) -> Chunks:
        if event.get("error"):
            raise BrokenStream("the provider reported an error")
        usage = event.get("usageMetadata")
        if usage:
            yield usage_chunk(canonical_usage(usage))
        candidates = event.get("candidates") or []
        if not candidates and (event.get("promptFeedback") or {}).get("blockReason"):
            if not self._open:
                raise BlockedPrompt
            for index in sorted(self._open):  # blocked in the middle of the answer, which ends here
                yield finish_chunk(index, "content_filter")
        for candidate in candidates:
            yield from self._read_candidate(candidate)

    def _read_candidate(self, candidate: dict[str, Any]) -> Chunks:
        index = candidate.get("index") or 0
        self._open.add(index)
        for part in (candidate.get("content") or {}).get("parts") or ():
            yield from self._read_part(index, part)
        logprobs = canonical_logprobs(candidate.get("logprobsResult"))
        if logprobs is not None:
            yield {"choices": [{"index": index, "delta": {}, "finish_reason": None, "logprobs": logprobs}]}
        reason = candidate.get("finishReason")
        if not reason or reason == UNSPECIFIED:
            return
        self._open.discard(index)
        yield finish_chunk(index, reason)

    def _read_part(self, index: int, part: dict[str, Any]) -> Chunks:
        call = part.get("functionCall")
        if call:
            number = self._calls.get(index, 0)
            if number and self._one_call:
                return
            self._calls[index] = number + 1
            yield delta_chunk(index, tool_calls=[self._call(index, number, call, part.get("thoughtSignature"))])
        elif part.get("text"):
            yield delta_chunk(index, **{"reasoning_content" if part.get("thought") else "content": part["text"]})
        elif not part.get("thought"):  # drafts within thoughts are not part of the answer
            fields = _other_fields(part)
            if fields:
                yield delta_chunk(index, **fields)

    def _call(self, index: int, number: int, call: dict[str, Any], signature: str | None) -> dict[str, Any]:
        made = {
            "index": number,
            "id": call.get("id") or f"call_{self._call_id}_{index}_{number}",
            "type": "function",
            "function": {"name": call["name"], "arguments": orjson.dumps(call.get("args") or {}).decode()},
        }
        # As in Google's own OpenAI-compatible endpoint. Its models require the signature to be sent back with the call.
        return {**made, "extra_content": {"google": {"thought_signature": signature}}} if signature else made


def _other_fields(part: dict[str, Any]) -> dict[str, Any]:
    """Return delta fields for a part that is neither text nor a call; empty if it is only a signature.

    Images have the format of other gateways, executed code becomes text, anything else is passed on unchanged. Parts: API
    reference, `Blob`, `FileData`, `ExecutableCode`, `CodeExecutionResult`.
    """
    blob, file, signature = part.get("inlineData"), part.get("fileData"), part.get("thoughtSignature")
    signed = {"extra_content": {"google": {"thought_signature": signature}}} if signature else {}
    if blob and str(blob.get("mimeType")).startswith("image/"):
        return {"images": [{**image_of(f"data:{blob['mimeType']};base64,{blob['data']}"), **signed}]}
    if file and str(file.get("mimeType")).startswith("image/"):
        return {"images": [{**image_of(str(file["fileUri"])), **signed}]}
    code, result = part.get("executableCode"), part.get("codeExecutionResult")
    if code:
        return {"content": f"\n```{str(code.get('language') or '').lower()}\n{code.get('code') or ''}\n```\n"}
    if result:
        return {"content": f"\n```\n{result.get('output') or ''}\n```\n"}
    unknown = {name: value for name, value in part.items() if name not in _BESIDE and value}
    return {"content_parts": [unknown]} if unknown else {}


def canonical_usage(reported: dict[str, Any]) -> dict[str, Any]:
    """Return usage in OpenAI's format. Gemini counts thoughts separately from candidates, and cached tokens as prompt.

    Sources: API reference, `UsageMetadata`, whose details count tokens by modality; "Tokens", `toolUsePromptTokenCount`.
    """
    usage: dict[str, Any] = {}
    prompt, candidates = reported.get("promptTokenCount"), reported.get("candidatesTokenCount")
    thoughts = _count(reported.get("thoughtsTokenCount"))
    if type(prompt) is int:
        usage["prompt_tokens"] = prompt + _count(reported.get("toolUsePromptTokenCount"))
        usage["prompt_tokens_details"] = {
            "cached_tokens": _count(reported.get("cachedContentTokenCount")),
            **_by_modality(reported, ("promptTokensDetails", "toolUsePromptTokensDetails"), _MODALITIES),
            **_by_modality(reported, ("cacheTokensDetails",), {"AUDIO": "cached_audio_tokens"}),
        }
    if type(candidates) is int or thoughts:
        usage["completion_tokens"] = _count(candidates) + thoughts
        modalities = _by_modality(reported, ("candidatesTokensDetails",), _MODALITIES)
        usage["completion_tokens_details"] = {"reasoning_tokens": thoughts, **modalities}
    tier = reported.get("serviceTier")
    if isinstance(tier, str):
        usage["service_tier"] = tier.removeprefix("SERVICE_TIER_").lower()
    if "prompt_tokens" in usage and "completion_tokens" in usage:
        usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
    return usage


# Modalities that are priced apart from text. Video is priced like text; its sound track is counted as audio.
_MODALITIES = {"AUDIO": "audio_tokens", "IMAGE": "image_tokens"}


def _by_modality(reported: dict[str, Any], names: tuple[str, ...], modalities: dict[str, str]) -> dict[str, int]:
    """Return the counts in the lists of `ModalityTokenCount` with these names, by OpenAI's name of the modality."""
    found: dict[str, int] = {}
    for name in names:
        counts = reported.get(name)
        for one in counts if isinstance(counts, list) else ():
            ours = modalities.get(one.get("modality"))
            if ours is not None and (count := _count(one.get("tokenCount"))):
                found[ours] = found.get(ours, 0) + count
    return found


def canonical_logprobs(result: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return `logprobs` of a choice, or None if there are none."""
    chosen = (result or {}).get("chosenCandidates")
    if not chosen:
        return None
    tops = (result or {}).get("topCandidates") or []
    content = []
    for number, one in enumerate(chosen):
        others = tops[number].get("candidates") or [] if number < len(tops) else []
        content.append({**_logprob(one), "top_logprobs": [_logprob(other) for other in others]})
    return {"content": content, "refusal": None}


def _logprob(one: dict[str, Any]) -> dict[str, Any]:
    token = one.get("token") or ""
    return {"token": token, "logprob": one.get("logProbability") or 0.0, "bytes": list(token.encode())}


def _count(value: object) -> int:
    return value if type(value) is int and value >= 0 else 0
