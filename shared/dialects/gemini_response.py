"""Reading what Gemini answers: `GenerateContentResponse`, whole, or as the events of a stream, which have the same shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from shared.dialects.base import BlockedPrompt, BrokenStream
from shared.dialects.openai_response import image_of
from shared.dialects.translated_stream import delta, finish, usage_chunk

# Of a part, beside what it holds.
_BESIDE = frozenset({"thought", "thoughtSignature", "videoMetadata", "partMetadata", "mediaResolution", "text", "functionCall"})
UNSPECIFIED = "FINISH_REASON_UNSPECIFIED"
Chunks = Iterator[dict[str, Any] | None]


class GeminiTranslator:
    """One answer. `call_id` gives ids to calls that the vendor left without one; `one_call` keeps the first call of a choice."""

    def __init__(self, call_id: str, one_call: bool) -> None:
        self._call_id = call_id.removeprefix("chatcmpl-")
        self._one_call = one_call
        self._calls: dict[int, int] = {}  # how many of each choice
        self._open: set[int] = set()  # the choices that began and have not ended

    def read(self, event: dict[str, Any]) -> Chunks:
        if event.get("error"):
            raise BrokenStream("the vendor reported an error")
        usage = event.get("usageMetadata")
        if usage:
            yield usage_chunk(canonical_usage(usage))
        candidates = event.get("candidates") or []
        if not candidates and (event.get("promptFeedback") or {}).get("blockReason"):
            if not self._open:
                raise BlockedPrompt
            for index in sorted(self._open):  # it came in the middle of the answer: that is where it ends
                yield finish(index, "content_filter")
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
        yield finish(index, reason)

    def _read_part(self, index: int, part: dict[str, Any]) -> Chunks:
        call = part.get("functionCall")
        if call:
            number = self._calls.get(index, 0)
            if number and self._one_call:
                return
            self._calls[index] = number + 1
            yield delta(index, tool_calls=[self._call(index, number, call, part.get("thoughtSignature"))])
        elif part.get("text"):
            yield delta(index, **{"reasoning_content" if part.get("thought") else "content": part["text"]})
        elif not part.get("thought"):  # drafts that belong to the thoughts are not the answer
            fields = _other_fields(part)
            if fields:
                yield delta(index, **fields)

    def _call(self, index: int, number: int, call: dict[str, Any], signature: str | None) -> dict[str, Any]:
        made = {
            "index": number,
            "id": call.get("id") or f"call_{self._call_id}_{index}_{number}",
            "type": "function",
            "function": {"name": call["name"], "arguments": orjson.dumps(call.get("args") or {}).decode()},
        }
        # Google's own OpenAI-shaped endpoint carries the signature in this place; its models want it back with the call.
        return {**made, "extra_content": {"google": {"thought_signature": signature}}} if signature else made


def _other_fields(part: dict[str, Any]) -> dict[str, Any]:
    """A part that is neither text nor a call, as fields of a delta; nothing where it is only a signature.

    Images are as other gateways answer them, code that ran is text; what has no place at all is passed on as it is. Parts as in
    the API reference: `Blob`, `FileData`, `ExecutableCode`, `CodeExecutionResult`.
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


def canonical_usage(told: dict[str, Any]) -> dict[str, Any]:
    """Usage as OpenAI writes it. Gemini counts thoughts apart from the candidates, and cached tokens inside the prompt."""
    usage: dict[str, Any] = {}
    prompt, candidates = told.get("promptTokenCount"), told.get("candidatesTokenCount")
    thoughts = _count(told.get("thoughtsTokenCount"))
    if type(prompt) is int:
        usage["prompt_tokens"] = prompt + _count(told.get("toolUsePromptTokenCount"))
        usage["prompt_tokens_details"] = {"cached_tokens": _count(told.get("cachedContentTokenCount"))}
    if type(candidates) is int or thoughts:
        usage["completion_tokens"] = _count(candidates) + thoughts
        usage["completion_tokens_details"] = {"reasoning_tokens": thoughts}
    if "prompt_tokens" in usage and "completion_tokens" in usage:
        usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
    return usage


def canonical_logprobs(result: dict[str, Any] | None) -> dict[str, Any] | None:
    """`logprobs` of a choice; None where the vendor told none."""
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
