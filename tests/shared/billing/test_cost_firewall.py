"""Generated requests of all documented fields against scripted providers that bill by their own price lists.

Prices equal the provider's list, or lack some of its rates. What the provider bills must never exceed what is charged: a request
that could cost more is refused. What is charged never exceeds the quote.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from random import Random
from typing import Any
from uuid import UUID

import orjson
import pytest

from edge.call.candidates import quote_call
from edge.call.priced_fields import priced_call
from edge.call.requests import build_chat_call
from edge.v1.messages.request import parse as read_message
from edge.v1.responses.request import parse as read_response
from shared.billing.cost_effects import CHAT, MESSAGES, OTHER_CHAT, RESPONSES
from shared.billing.pricing import Quote, add_requested_costs, call_charge
from shared.billing.rates import PriceList, Rate
from shared.billing.token_usage import PartialUsage, resolve_usage
from shared.catalog.snapshot import CatalogModel, Route
from shared.core.errors import InvalidRequest
from shared.dialects import DIALECTS
from shared.dialects.base import ChatCall, Target, UnsupportedField
from tests import anthropic_payloads as claude
from tests import responses_payloads as payloads

Json = dict[str, Any]
Parse = Callable[[bytes], ChatCall]
REQUESTS = 1_500  # of each dialect
WINDOW = 20_000
UNKNOWN_COST = 10**9  # what a scripted provider bills for a field that its documentation does not have

# The provider's list in credits per 1,000 tokens, per search, and for a tier in thousandths. Longer prompts cost more.
INPUT, CACHED, WRITTEN, OUTPUT = 1_000, 100, 1_250, 4_000
FURTHER = {
    **{("cache_write_1h", 0): 2_000, ("audio_input", 0): 3_000, ("cached_audio_input", 0): 300, ("image_input", 0): 1_500},
    **{("reasoning", 0): 5_000, ("audio_output", 0): 20_000, ("image_output", 0): 30_000, ("web_search", 0): 10_000},
    **{("tier:flex", 0): 500, ("tier:priority", 0): 2_000},
    **{("input", 3_000): 2_000, ("cached_input", 3_000): 200, ("cache_write", 3_000): 2_500, ("output", 3_000): 6_000},
    **{("cache_write_1h", 3_000): 4_000, ("audio_input", 3_000): 6_000, ("audio_output", 3_000): 40_000},
}
# Rates that a request can turn on, so a price may lack them. The others apply to every call.
OPTIONAL = ("cache_write_1h", "audio_input", "audio_output", "web_search", "tier:flex", "tier:priority")


def price_list(rng: Random, dialect: str) -> PriceList:
    """Return the provider's list without some of the optional rates; the image rates depend on the model, not on the request."""
    lacking = {kind for kind in (*OPTIONAL, "cache_write") if rng.random() < 0.25}
    writes = None if "cache_write" in lacking and dialect == "anthropic" else WRITTEN
    without = lacking if writes is None else lacking - {"cache_write"}
    rates = tuple(sorted(Rate(*key, credits) for key, credits in FURTHER.items() if key[0] not in without))
    return PriceList(UUID(int=1), 0, INPUT, OUTPUT, CACHED, 0, 0, credits_per_1k_cache_write=writes, rates=rates)


def route(dialect: str) -> Route:
    return Route(UUID(int=1), UUID(int=2), "c", dialect, "https://provider.example", "", {}, "acme", 0, 1)


URLS = (
    *("data:image/jpeg;base64,/9j/4AAQ", "data:audio/mp3;base64,AAAA", "data:video/mp4;base64,AAAA"),
    *("https://a.example/b.png", "https://a.example/b.mp3", "https://a.example/watch?v=1", "https://a.example/b.pdf"),
    "data:application/pdf;base64,JVBERi0=",
)
MARKS = (*({"type": "ephemeral", "ttl": ttl} for ttl in ("5m", "1h", "24h")), {"type": "ephemeral"})
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
HOSTED = ("web_search", "openrouter:web_search", "code_interpreter", "browser_search")
ANYTHING = (None, True, 1, "a", {}, {"a": 1}, [])
# Fields that may cost more than text, with values. The last three are fields that no provider of chats documents.
EXPENSIVE: dict[str, tuple[Any, ...]] = {
    "service_tier": ("auto", "default", "flex", "priority", "scale", 1),
    "modalities": (["text"], ["text", "audio"], ["image"], ["video"]),
    "audio": ({"voice": "alloy", "format": "mp3"},),
    "prediction": ({"type": "content", "content": "word " * 300},),
    "web_search_options": ({}, {"search_context_size": "high"}),
    "search_parameters": ({"mode": "off"}, {"mode": "on"}),
    "enable_search": (True, False),
    "search_options": ({"forced_search": True},),
    "tools": ([FUNCTION], *([FUNCTION, {"type": kind}] for kind in HOSTED)),
    "cache_control": MARKS,
    "prompt_cache_key": ("k",),
    "prompt_cache_retention": ("in_memory", "24h"),
    "prompt_cache_options": ({"mode": "explicit"}, {"ttl": "30m"}, {"ttl": "1h"}),
    "n": (1, 3),
    "max_tokens": (1, 200),
    "max_completion_tokens": (1, 200),
    "plugins": ([{"id": "web"}],),
    "best_of": (9,),
    "n_predict": (10**6,),
}
PLAIN = sorted((CHAT.keys() | OTHER_CHAT.keys()) - EXPENSIVE.keys() - {"messages", "model", "stream"})


def part(rng: Random) -> Json:
    kind = rng.choice(("text", "text", "image_url", "input_audio", "file", "video_url", "refusal", "document_url", "audio_url"))
    url = rng.choice(URLS)
    value: Any = {"text": "Hello", "refusal": "No", "document_url": url, "input_audio": {"data": "AAAA", "format": "mp3"}}.get(
        kind
    )
    if value is None:
        value = {"file_data": url, "filename": "a"} if kind == "file" else {"url": url}
    return {"type": kind, kind: value, **({"cache_control": rng.choice(MARKS)} if rng.random() < 0.2 else {})}


def random_body(rng: Random) -> Json:
    content = "Hello" if rng.random() < 0.5 else [part(rng) for _ in range(rng.randint(1, 2))]
    body: Json = {"model": "m", "messages": [{"role": "user", "content": content}]}
    for name in rng.sample(sorted(EXPENSIVE), rng.randint(0, 3)):
        body[name] = rng.choice(EXPENSIVE[name])
    if rng.random() < 0.3:
        body[rng.choice(PLAIN)] = rng.choice(ANYTHING)
    return body


ITEMS = (
    {"type": "image_generation_call", "id": "ig_1", "result": "/9j/4AAQ"},
    {"type": "additional_tools", "tools": [{"type": "web_search"}, {"type": "code_interpreter", "container": {"type": "auto"}}]},
    {"type": "tool_search_output", "call_id": "c", "execution": "client", "tools": [{"type": "web_search"}]},
    {"type": "agent_message", "author": "a", "recipient": "b", "content": [{"type": "document_url", "document_url": URLS[-1]}]},
)
HOSTED_IN_RESPONSES = ("web_search", "web_search_preview_2025_03_11", "image_generation", "code_interpreter")
EXPENSIVE_IN_RESPONSES: dict[str, tuple[Any, ...]] = {
    **{
        name: EXPENSIVE[name]
        for name in ("service_tier", "prompt_cache_retention", "prompt_cache_options", "plugins", "n_predict")
    },
    "tools": ([FUNCTION | FUNCTION["function"]], *([{"type": kind}] for kind in HOSTED_IN_RESPONSES)),
    "max_tool_calls": (1, 9),
    "max_output_tokens": (16, 200),
    "modalities": (["audio"],),
    "image": ({"a": 1},),
}
PLAIN_IN_RESPONSES = sorted(
    RESPONSES.keys() - EXPENSIVE_IN_RESPONSES.keys() - {"input", "model", "stream", "previous_response_id"}
)


def response_part(rng: Random) -> Json:
    kind = rng.choice(("input_text", "input_text", "input_image", "input_file", "input_audio", "document_url"))
    url = rng.choice(URLS)
    values: dict[str, Json] = {
        "input_text": {"text": "Hello"},
        "input_image": {"image_url": url},
        "input_file": {"file_data": url, "filename": "a"},
        "input_audio": {"input_audio": {"data": "AAAA", "format": "mp3"}},
        "document_url": {"document_url": url},
    }
    mark = {"prompt_cache_breakpoint": {"mode": "explicit"}} if rng.random() < 0.2 else {}
    return {"type": kind, **values[kind], **mark}


def random_response_body(rng: Random) -> Json:
    """Return a body of the Responses API, to be relayed."""
    content = "Hello" if rng.random() < 0.5 else [response_part(rng) for _ in range(rng.randint(1, 2))]
    message = {"type": "message", "role": "user", "content": content}
    body: Json = {"model": "m", "input": [message, *rng.sample(ITEMS, 1 if rng.random() < 0.3 else 0)]}
    for name in rng.sample(sorted(EXPENSIVE_IN_RESPONSES), rng.randint(0, 3)):
        body[name] = rng.choice(EXPENSIVE_IN_RESPONSES[name])
    if rng.random() < 0.3:
        body[rng.choice(PLAIN_IN_RESPONSES)] = rng.choice(ANYTHING)
    return body


SEARCH = {"type": "web_search_20250305", "name": "web_search"}
CUSTOM = {"name": "f", "input_schema": {"type": "object"}}
EXPENSIVE_IN_MESSAGES: dict[str, tuple[Any, ...]] = {
    "tools": (
        [CUSTOM],
        [CUSTOM, SEARCH],
        [{**SEARCH, "max_uses": 2}],
        [{**SEARCH, "type": "web_search_20260318", "max_uses": 9, "allowed_callers": ["code_execution_20260120"]}],
        [{**SEARCH, "max_uses": 10**9, "cache_control": MARKS[1]}],
        [{"type": "web_fetch_20250910", "name": "web_fetch"}],
        [{"type": "code_execution_20250825", "name": "code_execution"}],
    ),
    "cache_control": MARKS,
    "max_tokens": (1, 200),
    "service_tier": ("auto", "standard_only", "priority"),
    "speed": ("standard", "fast"),
    "inference_geo": ("us", "global"),
    "container": ("c_1",),
    "mcp_servers": ([{"type": "url", "url": "https://a.example", "name": "a"}],),
    "n_predict": (10**6,),
}
PLAIN_IN_MESSAGES = sorted(MESSAGES.keys() - EXPENSIVE_IN_MESSAGES.keys() - {"messages", "model", "stream"})
EARLIER = (
    *claude.search(),
    {"type": "server_tool_use", "id": "srvtoolu_2", "name": "code_execution", "input": {}},
    {"type": "text", "text": "Hello", "citations": [claude.CITATION], "cache_control": MARKS[1]},
    {"type": "container_upload", "file_id": "f"},
)


def message_part(rng: Random) -> Json:
    kind = rng.choice(("text", "text", "image", "document", "search_result", "container_upload"))
    url = rng.choice(URLS)
    values: dict[str, Json] = {
        "text": {"text": "Hello"},
        "search_result": {"title": "A", "source": url, "content": [{"type": "text", "text": "Hello"}]},
        "container_upload": {"file_id": "f"},
    }
    mark = {"cache_control": rng.choice(MARKS)} if rng.random() < 0.2 else {}
    return {"type": kind, **values.get(kind, {"source": {"type": "url", "url": url}}), **mark}


def random_message_body(rng: Random) -> Json:
    """Return a body of the Messages API."""
    content = "Hello" if rng.random() < 0.5 else [message_part(rng) for _ in range(rng.randint(1, 2))]
    turns: list[Json] = [{"role": "user", "content": content}]
    if rng.random() < 0.3:
        turns = [turns[0], {"role": "assistant", "content": rng.sample(EARLIER, rng.randint(1, 3))}, turns[0]]
    body: Json = {"model": "m", "max_tokens": 100, "messages": turns}
    for name in rng.sample(sorted(EXPENSIVE_IN_MESSAGES), rng.randint(0, 3)):
        body[name] = rng.choice(EXPENSIVE_IN_MESSAGES[name])
    if rng.random() < 0.3:
        body[rng.choice(PLAIN_IN_MESSAGES)] = rng.choice(ANYTHING)
    return body


class Provider:
    """Answers a request with random usage, and bills it by the list. `documented` are the fields that it supports."""

    def __init__(self, rng: Random, request: Json, quoted: Quote, call: ChatCall) -> None:
        self.rng = rng
        self.request = request
        self.text = orjson.dumps(request).decode()
        self.input = rng.randint(1, min(quoted.input_bound, WINDOW))
        self.output = rng.randint(1, quoted.paid_tokens)
        self.choices = call.choices
        self.bill = Fraction(0)

    def count(self, most: int, possible: bool) -> int:
        return self.rng.randint(0, most) if possible else 0

    def cost(self, kind: str, tokens: int) -> None:
        base = {"input": INPUT, "cached_input": CACHED, "cache_write": WRITTEN, "output": OUTPUT}
        long = FURTHER.get((kind, 3_000)) if self.input > 3_000 else None
        rate = long if long is not None else base[kind] if kind in base else FURTHER[kind, 0]
        self.bill += Fraction(tokens * rate, 1_000)

    def tokens(self, *, audio: bool, images: bool, writes: bool, hour: bool, audio_output: bool, image_output: bool) -> Json:
        """Draw the tokens of each kind, bill them, and return the counts."""
        rest = self.input
        counts = {}
        for kind, possible in (
            ("audio_input", audio),
            ("cached_audio_input", audio),
            ("image_input", images),
            ("cache_write_1h", hour),
            ("cache_write", writes),
            ("cached_input", True),
        ):
            counts[kind] = self.count(rest, possible)
            rest -= counts[kind]
        counts["input"], rest = rest, self.output
        for kind, possible in (("audio_output", audio_output), ("image_output", image_output), ("reasoning", True)):
            counts[kind] = self.count(rest, possible)
            rest -= counts[kind]
        counts["output"] = rest
        for kind, tokens in counts.items():
            self.cost(kind, tokens)
        return counts

    def unknown_fields(self, known: set[str]) -> None:
        if any(value is not None for name, value in self.request.items() if name not in known):
            self.bill += UNKNOWN_COST


def openai_answer(provider: Provider) -> Json:
    """OpenAI and its imitations: tiers, audio, images, searches and hosted tools. Only some report searches and tiers."""
    request, rng = provider.request, provider.rng
    kinds = {tool.get("type", "function") for tool in request.get("tools") or ()}
    modalities = request.get("modalities") or ()
    counts = provider.tokens(
        audio='"input_audio"' in provider.text or '"video_url"' in provider.text or '"audio_url"' in provider.text,
        images='"image' in provider.text,
        writes=True,  # automatic
        hour='"ttl":"1h"' in provider.text or '"ttl":"24h"' in provider.text,
        audio_output="audio" in modalities or request.get("audio") is not None,
        image_output="image" in modalities,
    )
    tier = request.get("service_tier")
    served = rng.choice(["default", tier]) if tier in ("flex", "priority") else "default"
    if served != "default":
        provider.bill *= Fraction(FURTHER[f"tier:{served}", 0], 1_000)
    names = ("web_search_options", "search_options")
    asked = any(request.get(name) is not None for name in names) or request.get("enable_search") is True
    asked = asked or (request.get("search_parameters") or {}).get("mode") == "on" or any("web_search" in kind for kind in kinds)
    reports = rng.random() < 0.5
    searches = (rng.randint(0, 5) if reports else 1) * provider.choices if asked else 0
    provider.bill += searches * FURTHER["web_search", 0]
    if kinds & {"code_interpreter", "browser_search"} or "document_url" in provider.text:
        provider.bill += UNKNOWN_COST
    provider.unknown_fields(set(CHAT) | set(OTHER_CHAT))
    usage = {
        "prompt_tokens": provider.input,
        "completion_tokens": provider.output,
        "prompt_tokens_details": {
            "cached_tokens": counts["cached_input"] + counts["cached_audio_input"],
            "cache_write_tokens": counts["cache_write"] + counts["cache_write_1h"],
            "cache_write_1h_tokens": counts["cache_write_1h"],
            "audio_tokens": counts["audio_input"] + counts["cached_audio_input"],
            "cached_audio_tokens": counts["cached_audio_input"],
            "image_tokens": counts["image_input"],
        },
        "completion_tokens_details": {
            "reasoning_tokens": counts["reasoning"],
            "audio_tokens": counts["audio_output"],
            "image_tokens": counts["image_output"],
        },
        **({"server_tool_use": {"web_search_requests": searches}} if reports else {}),
    }
    message = {"role": "assistant", "content": "Hi"}
    reported = {"service_tier": served} if served == "flex" or rng.random() < 0.5 else {}
    return {"id": "a", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage, **reported}


def anthropic_answer(provider: Provider) -> Json:
    """Anthropic: caches for five minutes or an hour, where the request marks them, and searches up to the limit of the tool."""
    request, rng = provider.request, provider.rng
    hour = '"ttl":"1h"' in provider.text
    writes = '"cache_control":{"type":"ephemeral"}' in provider.text or '"ttl":"5m"' in provider.text
    counts = provider.tokens(audio=False, images=False, writes=writes, hour=hour, audio_output=False, image_output=False)
    usage = {
        "input_tokens": counts["input"] + counts["image_input"],
        "cache_read_input_tokens": counts["cached_input"],
        "cache_creation_input_tokens": counts["cache_write"] + counts["cache_write_1h"],
        "cache_creation": {
            "ephemeral_5m_input_tokens": counts["cache_write"],
            "ephemeral_1h_input_tokens": counts["cache_write_1h"],
        },
        "output_tokens": provider.output,
        "output_tokens_details": {"thinking_tokens": counts["reasoning"]},
        "service_tier": "standard",
    }
    tools = [tool for tool in request.get("tools") or () if tool.get("type") not in (None, "custom")]
    limits = [tool.get("max_uses") or 100 for tool in tools if tool["type"].startswith("web_search_")]
    searches = rng.randint(0, limits[0]) if limits else 0
    if searches:
        provider.bill += searches * FURTHER["web_search", 0]
        usage["server_tool_use"] = {"web_search_requests": searches}
    # Only searches have a price: not code, which newer searches run by default, and nothing that these fields turn on.
    hosted = any(tool["type"] != SEARCH["type"] and tool.get("allowed_callers") != ["direct"] for tool in tools)
    if hosted or '"container_upload"' in provider.text or request.get("speed") == "fast" or request.get("inference_geo"):
        provider.bill += UNKNOWN_COST
    provider.unknown_fields(set(MESSAGES) - {name for name, effect in MESSAGES.items() if effect.cost == "refused"})
    found = [block for number in range(searches) for block in claude.search(f"srvtoolu_{number}")]
    content = [*found, {"type": "text", "text": "Hi"}]
    return {"type": "message", "id": "a", "role": "assistant", "content": content, "stop_reason": "end_turn", "usage": usage}


def gemini_answer(provider: Provider) -> Json:
    """Gemini: audio by its media type, or found out from a link; images if the request asks for them."""
    text = provider.text
    links = [part["fileData"] for turn in provider.request["contents"] for part in turn["parts"] if "fileData" in part]
    unnamed = any(not link.get("mimeType", "").startswith(("image/", "application/pdf")) for link in links)
    audio = '"mimeType":"audio/' in text or '"mimeType":"video/' in text or unnamed
    counts = provider.tokens(
        audio=audio, images='"image' in text, writes=False, hour=False, audio_output=False, image_output='"IMAGE"' in text
    )
    modality = [("AUDIO", counts["audio_input"] + counts["cached_audio_input"]), ("IMAGE", counts["image_input"])]
    usage = {
        "promptTokenCount": provider.input,
        "cachedContentTokenCount": counts["cached_input"] + counts["cached_audio_input"],
        "promptTokensDetails": [{"modality": name, "tokenCount": count} for name, count in modality],
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": counts["cached_audio_input"]}],
        "candidatesTokenCount": provider.output - counts["reasoning"],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": counts["image_output"]}],
        "thoughtsTokenCount": counts["reasoning"],
    }
    content = {"role": "model", "parts": [{"text": "Hi"}]}
    return {"candidates": [{"index": 0, "content": content, "finishReason": "STOP"}], "usageMetadata": usage}


def responses_answer(provider: Provider) -> Json:
    """OpenAI's Responses API: like its chats, but searches are reported, or are items of the output."""
    request, rng = provider.request, provider.rng
    counts = provider.tokens(
        audio='"input_audio"' in provider.text,
        images='"input_image"' in provider.text or '"image_generation_call"' in provider.text or '"input_file"' in provider.text,
        writes=True,  # automatic
        hour='"ttl":"1h"' in provider.text,
        audio_output="audio" in (request.get("modalities") or ()),
        image_output=False,
    )
    tier = request.get("service_tier")
    served = rng.choice(["default", tier]) if tier in ("flex", "priority") else "default"
    if served != "default":
        provider.bill *= Fraction(FURTHER[f"tier:{served}", 0], 1_000)
    searches = rng.randint(0, request.get("max_tool_calls") or 100) if '"type":"web_search' in provider.text else 0
    provider.bill += searches * FURTHER["web_search", 0]
    hosted = ('"type":"code_interpreter"', '"type":"image_generation"', '"document_url"')
    refused = {name for name, effect in RESPONSES.items() if effect.cost == "refused"}
    if any(kind in provider.text for kind in hosted) or any(request.get(name) for name in refused):
        provider.bill += UNKNOWN_COST
    provider.unknown_fields(set(RESPONSES))
    usage = {
        "input_tokens": provider.input,
        "output_tokens": provider.output,
        "input_tokens_details": {
            "cached_tokens": counts["cached_input"] + counts["cached_audio_input"],
            "cache_write_tokens": counts["cache_write"] + counts["cache_write_1h"],
            "cache_write_1h_tokens": counts["cache_write_1h"],
            "audio_tokens": counts["audio_input"] + counts["cached_audio_input"],
            "cached_audio_tokens": counts["cached_audio_input"],
            "image_tokens": counts["image_input"],
        },
        "output_tokens_details": {"reasoning_tokens": counts["reasoning"]},
    }
    items = [payloads.search() for _ in range(searches)]
    reported: Json = {"tool_usage": {"web_search": {"num_requests": searches}}} if rng.random() < 0.5 else {}
    visits = [payloads.search("open_page")] if searches else []
    return payloads.response(*items, *visits, payloads.text("Hi"), reported=usage, service_tier=served, **reported)


ANSWERS = {"openai": openai_answer, "anthropic": anthropic_answer, "gemini": gemini_answer, "responses": responses_answer}


def charge(reported: PartialUsage, quoted: Quote, call: ChatCall) -> int:
    """Return what the edge charges, as `Admission` computes it."""
    usage = resolve_usage(
        add_requested_costs(reported, quoted.price, quoted.costs),
        input_estimate=call.input_estimate,
        output_estimate=0,
        delivered=True,
        plausible_output=quoted.paid_tokens,
        plausible_input=quoted.input_bound if quoted.costs.unbounded_input else 0,
    )
    assert not usage.estimated
    return call_charge(quoted.price, usage)


def serve(rng: Random, dialect: str, body: Json, parse: Parse | None = None) -> tuple[int, Fraction, Quote] | None:
    """Return the charge, the provider's bill and the quote of a call; None if it is refused. `parse` reads other bodies than
    those of chats."""
    data = orjson.dumps(body)
    try:
        call = parse(data) if parse is not None else build_chat_call(body, len(data))
    except InvalidRequest:
        return None
    price, serving = price_list(rng, dialect), route(dialect)
    model = CatalogModel("m", "chat", "o", "", WINDOW, 300, "text->text", (), False, 0, prices=(price,), routes=(serving,))
    quoted = quote_call(model, call, None)
    adapted, unpriced = priced_call(call, serving, price)
    target = Target(serving, "", "", lambda name: name, output_limit=300)
    try:
        sent = DIALECTS[dialect].build_request(adapted, target)
    except UnsupportedField:
        return None
    if unpriced is not None:
        return None
    provider = Provider(rng, orjson.loads(sent.body), quoted, call)
    answer = DIALECTS[dialect].parse_response(orjson.dumps(ANSWERS[dialect](provider)), adapted, "chatcmpl-a", 0)
    return charge(answer.usage, quoted, call), provider.bill, quoted


# Fields that must have been served with a cost, so that the test cannot pass by refusing everything.
SERVED = {
    "openai": {"service_tier", "modalities", "audio", "prediction", "web_search_options", "tools", "cache_control", "n"},
    "anthropic": {"cache_control", "prompt_cache_key", "prompt_cache_retention"},
    "gemini": {"modalities", "n"},
    "responses": {"service_tier", "prompt_cache_options", "max_tokens", "tools"},
    "messages": {"cache_control", "tools", "service_tier", "max_tokens", "a search"},
    "relayed": {"service_tier", "prompt_cache_options", "tools", "max_tool_calls", "max_output_tokens", "a search"},
}


@pytest.mark.parametrize("name", sorted(SERVED))
def test_no_request_costs_the_operator_more_than_it_is_charged(name: str) -> None:
    served: set[str] = set()
    others: dict[str, tuple[str, Callable[[Random], Json], Parse]] = {
        "relayed": ("responses", random_response_body, lambda data: read_response(data).call),
        "messages": ("anthropic", random_message_body, read_message),
    }
    dialect, body_of, parse = others.get(name, (name, random_body, None))
    for seed in range(REQUESTS):
        rng = Random(seed)
        body = body_of(rng)
        found = serve(rng, dialect, body, parse)
        if found is not None:
            charged, bill, quoted = found
            assert bill <= charged <= quoted.bound, (seed, body)
            served |= body.keys() | ({"a search"} if quoted.costs.web_searches else set())
    assert SERVED[name] <= served
