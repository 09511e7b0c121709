"""Parses answers of OpenAI's Responses API: a response, and the events of its stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from shared.billing.token_usage import PROVIDER_COST_FIELDS, PartialUsage, read_openai_usage
from shared.dialects.base import BlockedPrompt, BrokenStream
from shared.dialects.openai_response import image_of
from shared.dialects.responses_reasoning import thinking_block
from shared.dialects.translated_stream import delta_chunk, finish_chunk, usage_chunk

Json = dict[str, Any]
Chunks = Iterator[Json | None]
# "ResponseError": codes of prompts that the provider's safety system rejected.
BLOCKED_CODES = frozenset({"invalid_prompt", "bio_policy", "misalignment_policy_violation", "image_content_policy_violation"})
COMPLETE = ("completed", "incomplete")  # statuses of a response that has an answer
_PARAGRAPH = "\n\n"
# Event → field of the canonical delta.
_TEXT_EVENTS = {
    "response.output_text.delta": "content",
    "response.refusal.delta": "refusal",
    "response.reasoning_summary_text.delta": "reasoning_content",
    "response.reasoning_text.delta": "reasoning_content",
}
_CALL_EVENTS = ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta")
_CALL_FIELDS = {"function_call": ("function", "arguments"), "custom_tool_call": ("custom", "input")}
_PART_FIELDS = {
    "output_text": "content",
    "refusal": "refusal",
    "summary_text": "reasoning_content",
    "reasoning_text": "reasoning_content",
}


class _Item:
    """One output item as streamed so far. `texts` has the text of each part by field and position (0 for a call)."""

    __slots__ = ("call", "texts")

    def __init__(self) -> None:
        self.call = -1  # index of a tool call
        self.texts: dict[tuple[str, int], str] = {}

    def text(self, field: str) -> str:
        return _PARAGRAPH.join(text for (name, _), text in self.texts.items() if name == field)


class ResponsesTranslator:
    """Translates one answer. Text of separate messages, and of separate parts of a summary, become paragraphs."""

    def __init__(self) -> None:
        self._items: dict[int, _Item] = {}
        self._calls = 0
        self._last: dict[str, tuple[int, int]] = {}  # the last part by field of the canonical delta

    def read(self, event: Mapping[str, Any]) -> Chunks:
        kind = event.get("type")
        if kind in _TEXT_EVENTS:
            position = event.get("summary_index", event.get("content_index", 0))
            yield from self._text(_TEXT_EVENTS[kind], event["output_index"], position, event["delta"], event.get("logprobs"))
        elif kind in _CALL_EVENTS:
            yield from self._arguments(event["output_index"], event["delta"])
        elif kind == "response.output_item.added":
            yield from self._added(event["output_index"], event["item"])
        elif kind == "response.output_item.done":
            yield from self._done(event["output_index"], event["item"])
        elif kind in ("response.completed", "response.incomplete"):
            yield from self._completed(event["response"])
        elif kind in ("response.failed", "response.cancelled"):
            response = event.get("response") or {}
            if isinstance(response.get("usage"), dict):
                yield usage_chunk(canonical_usage(response["usage"]))
            raise_failure(response.get("error"), started=bool(self._last or self._calls))
        elif kind == "error":
            raise_failure(event.get("error") or event, started=bool(self._last or self._calls))

    def read_whole(self, response: Mapping[str, Any]) -> Chunks:
        """Yield the chunks of a response that was not streamed."""
        if response.get("status", "completed") not in COMPLETE:
            raise_failure(response.get("error"), started=False)
        yield from self._completed(response)

    def _completed(self, response: Mapping[str, Any]) -> Chunks:
        if not (self._last or self._calls):  # a whole response, or a provider that only sends the last event
            for index, item in enumerate(response.get("output") or ()):
                yield from self._done(index, item)
        tier = {"service_tier": response["service_tier"]} if isinstance(response.get("service_tier"), str) else {}
        if isinstance(response.get("usage"), dict):
            searches = {"server_tool_use": {"web_search_requests": _searches(response)}}
            yield {**usage_chunk({**canonical_usage(response["usage"]), **searches}), **tier}
        yield {**finish_chunk(0, finish_reason(response)), **tier}
        yield None

    def _text(self, field: str, index: int, position: int, text: str, logprobs: Any = None) -> Chunks:
        if not text:
            return
        item = self._items.setdefault(index, _Item())
        key = (field, position)
        item.texts[key] = item.texts.get(key, "") + text
        place, last = (index, position), self._last.get(field, (index, position))
        # Parts of one message continue each other; messages and parts of summaries do not.
        begins = place[0] != last[0] or (field == "reasoning_content" and place != last)
        self._last[field] = place
        chunk = delta_chunk(0, **{field: _PARAGRAPH + text if begins else text})
        if logprobs:
            chunk["choices"][0]["logprobs"] = {"content": [_logprob(one) for one in logprobs], "refusal": None}
        yield chunk

    def _added(self, index: int, item: Mapping[str, Any]) -> Chunks:
        if item.get("type") in _CALL_FIELDS:
            kind, text = _CALL_FIELDS[item["type"]]
            state = self._items.setdefault(index, _Item())
            state.call = self._calls
            self._calls += 1
            fields = {"name": item["name"], text: ""}
            yield delta_chunk(0, tool_calls=[{"index": state.call, "id": item["call_id"], "type": kind, kind: fields}])
            state.texts[kind, 0] = ""

    def _arguments(self, index: int, text: str) -> Chunks:
        state = self._items[index]
        (key,) = state.texts
        state.texts[key] += text
        field = "arguments" if key[0] == "function" else "input"
        yield delta_chunk(0, tool_calls=[{"index": state.call, key[0]: {field: text}}])

    def _done(self, index: int, item: Mapping[str, Any]) -> Chunks:
        """Yield the content that the item's deltas did not contain, such as encrypted reasoning, or all of a whole response."""
        kind = item.get("type")
        if kind in _CALL_FIELDS:
            if index not in self._items:
                yield from self._added(index, item)
            missing = _rest(item[_CALL_FIELDS[kind][1]], next(iter(self._items[index].texts.values())))
            if missing:
                yield from self._arguments(index, missing)
        elif kind in ("message", "reasoning"):
            for position, part in _parts(item):
                field = _PART_FIELDS.get(part.get("type", ""))
                if field is None:
                    continue
                sent = self._items.setdefault(index, _Item()).texts.get((field, position), "")
                text = part.get("refusal") if field == "refusal" else part.get("text")
                logprobs = None if sent else part.get("logprobs")
                yield from self._text(field, index, position, _rest(text or "", sent), logprobs)
            block = thinking_block(item, self._items[index].text("reasoning_content") if index in self._items else "")
            if block is not None:
                yield delta_chunk(0, thinking_blocks=[block])
        elif kind == "image_generation_call" and item.get("result"):
            yield delta_chunk(0, images=[image_of(f"data:image/{item.get('output_format') or 'png'};base64,{item['result']}")])


def raise_failure(error: Any, *, started: bool) -> NoReturn:
    """Raise the error of a failed response: `BlockedPrompt` if the prompt is not allowed and nothing was generated."""
    code = error.get("code") if isinstance(error, Mapping) else None
    if code in BLOCKED_CODES and not started:
        raise BlockedPrompt
    raise BrokenStream("the provider reported an error")


def finish_reason(response: Mapping[str, Any]) -> str:
    """Return the finish reason of a complete or incomplete response, one of those that `finish_reasons` maps."""
    if response.get("status") != "incomplete":
        return "stop"
    details = response.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, Mapping) else None
    return "length" if reason == "max_output_tokens" else str(reason or "incomplete")


def canonical_usage(reported: Mapping[str, Any]) -> Json:
    """Return usage in the format of chat completions."""
    usage: Json = {
        canonical: reported[name]
        for name, canonical in (
            ("input_tokens", "prompt_tokens"),
            ("output_tokens", "completion_tokens"),
            ("input_tokens_details", "prompt_tokens_details"),
            ("output_tokens_details", "completion_tokens_details"),
            ("total_tokens", "total_tokens"),
        )
        if reported.get(name) is not None
    }
    return {**usage, **{name: reported[name] for name in PROVIDER_COST_FIELDS if name in reported}}


def read_usage(response: Mapping[str, Any], searches: int = 0) -> PartialUsage:
    """Return the usage of a complete response. `searches` are those in its stream, if the response does not have them."""
    reported = response.get("usage")
    if not isinstance(reported, Mapping):
        return read_openai_usage(reported, response.get("service_tier"))
    counted = {"web_search_requests": max(_searches(response), searches if "tool_usage" not in response else 0)}
    return read_openai_usage({**reported, "server_tool_use": counted}, response.get("service_tier"))


def is_search(item: Any) -> bool:
    """Return whether an output item is a billed search. Opening a page, and finding text in it, are free.

    Source: OpenAI, `tool_usage` of a response.
    """
    if not isinstance(item, Mapping) or item.get("type") != "web_search_call":
        return False
    action = item.get("action")
    return not isinstance(action, Mapping) or action.get("type") not in ("open_page", "find_in_page")


def _searches(response: Mapping[str, Any]) -> int:
    """Return the number of billed searches: `tool_usage` if the provider reports it, or else the searches in the output."""
    tools = response.get("tool_usage")
    search = tools.get("web_search") if isinstance(tools, Mapping) else None
    count = search.get("num_requests") if isinstance(search, Mapping) else None
    if type(count) is int and count >= 0:
        return count
    output = response.get("output")
    return sum(map(is_search, output)) if isinstance(output, list) else 0


def _parts(item: Mapping[str, Any]) -> list[tuple[int, Json]]:
    """Return the parts of a message, or of a reasoning item: its summary, or else its content."""
    parts = item.get("content") or () if item["type"] == "message" else item.get("summary") or item.get("content") or ()
    return list(enumerate(parts))


def _rest(whole: str, sent: str) -> str:
    """Return the text after the deltas. If the text differs from its deltas, nothing is added: the deltas were relayed."""
    return whole[len(sent) :] if whole.startswith(sent) else ""


def _logprob(one: Mapping[str, Any]) -> Json:
    tops = [_token(other) for other in one.get("top_logprobs") or ()]
    return {**_token(one), "top_logprobs": tops}


def _token(one: Mapping[str, Any]) -> Json:
    token = one.get("token") or ""
    return {"token": token, "logprob": one.get("logprob") or 0.0, "bytes": one.get("bytes") or list(token.encode())}
