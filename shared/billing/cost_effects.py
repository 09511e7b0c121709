"""Table of how each request field, and each number in a provider's usage, affects the cost of a call. Pure.

A field that may cause a cost without a rate in the model's price is refused (400 `unpriced_parameter`), unless staff allow it for
the channel (setting `allowed_parameters`). Fields that are not in the table are refused in the same way, because their cost is
unknown. A null requests nothing. Output limits and the number of choices only limit or multiply tokens that the hold pays for.

Sources: the API references of OpenAI ("Create chat completion", "Create a model response"), Anthropic ("Messages") and Google
("GenerateContentRequest"); for fields of other providers of OpenAI's format, the pages named beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from shared.billing.pricing import MAX_SEARCHES_PER_CHOICE, PLAIN, RequestCosts
from shared.billing.rates import TIER_PREFIX, TOKEN_KINDS, PriceList, has_rate
from shared.billing.token_usage import MAX_SEARCHES, MAX_TIER_LENGTH, STANDARD_TIERS
from shared.text.data_urls import data_url_type

# For the hold of a transcription whose duration is not known: speech at 8 kbit/s, the lowest common bit rate in the formats that
# OpenAI accepts. Silence can need less.
MIN_AUDIO_BYTES_PER_SECOND = 1_000


class Effect(NamedTuple):
    """How a field affects the cost.

    cost   `free`: not at all; `tokens`: as tokens of `kinds` in the reported usage; `priced`: charged separately, needs a rate of
           one of `kinds`; `multiplies`: as a factor on the token rates; `units`: by the media price, per image, second or
           character; `refused`: the field is never sent to a provider
    kinds  kinds of rates (`shared.billing.rates`); a priced field without any must be allowed for the channel
    note   text for the documentation
    """

    cost: Literal["free", "tokens", "priced", "multiplies", "units", "refused"]
    kinds: tuple[str, ...] = ()
    note: str = ""


FREE = Effect("free")
REFUSED = Effect("refused")
_INPUT = Effect("tokens", ("input",))
_OUTPUT = Effect("tokens", ("output",))
_SEARCH = Effect("priced", ("web_search",), "five searches per choice are held; the reported number is charged")
_CACHE = Effect("priced", ("cache_write", "cache_write_1h"), "a cache with a lifetime of one hour needs its own rate")


def _all(effect: Effect, *names: str) -> dict[str, Effect]:
    return dict.fromkeys(names, effect)


# Fields of OpenAI's chat completions, the canonical body.
CHAT: Mapping[str, Effect] = {
    **_all(FREE, "model", "stream", "stream_options", "user", "safety_identifier", "metadata", "store"),
    **_all(FREE, "temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "logit_bias", "stop"),
    **_all(FREE, "logprobs", "top_logprobs", "tool_choice", "function_call", "parallel_tool_calls", "verbosity"),
    "moderation": Effect("free", note='OpenAI, "Moderation": moderation models are free'),
    "prompt_cache_key": Effect("free", note="at Anthropic, requests a cache if the price has a rate for cache writes"),
    "prompt_cache_retention": Effect("free", note="at Anthropic, like `prompt_cache_key`; `24h` needs the rate for one hour"),
    "messages": Effect("tokens", ("input", "image_input", "audio_input"), "see content parts below"),
    **_all(_INPUT, "functions", "response_format"),
    "tools": Effect("tokens", ("input",), "tools that the caller executes; web searches are priced, other tools refused"),
    **_all(_OUTPUT, "max_tokens", "max_completion_tokens", "n", "reasoning_effort"),
    "prediction": Effect("tokens", ("output",), "rejected tokens are billed beyond the output limit, so they are held, too"),
    "modalities": Effect("priced", ("audio_output", "image_output"), "`text` is free"),
    "audio": Effect("priced", ("audio_output",)),
    "prompt_cache_options": _CACHE,
    "web_search_options": _SEARCH,
    "service_tier": Effect("multiplies", (f"{TIER_PREFIX}…",), "`auto` and `default` are free"),
}
# Fields of other APIs and of other providers of OpenAI's format.
OTHER_CHAT: Mapping[str, Effect] = {
    "thinking": _OUTPUT,  # Anthropic; DeepSeek, Moonshot and Z.ai
    "cache_control": _CACHE,  # Anthropic
    **_all(_OUTPUT, "reasoning", "include_reasoning", "enable_thinking", "thinking_budget"),  # OpenRouter, Qwen
    **_all(FREE, "reasoning_format", "reasoning_split"),  # Groq, MiniMax
    **_all(FREE, "top_k", "min_p", "top_a", "typical_p", "repetition_penalty", "length_penalty"),  # vLLM, Together, Fireworks
    **_all(FREE, "min_tokens", "ignore_eos", "stop_token_ids", "include_stop_str_in_output", "skip_special_tokens"),  # vLLM
    **_all(FREE, "spaces_between_special_tokens", "bad_words", "allowed_token_ids", "truncate_prompt_tokens"),  # vLLM
    **_all(FREE, "guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs"),  # vLLM
    **_all(FREE, "chat_template_kwargs", "add_generation_prompt", "continue_final_message"),  # vLLM
    **_all(
        FREE, "mirostat", "mirostat_tau", "mirostat_eta", "dynatemp_range", "grammar", "json_schema", "cache_prompt"
    ),  # llama.cpp
    **_all(FREE, "safe_prompt", "random_seed", "prompt_mode"),  # Mistral
    **_all(FREE, "do_sample", "request_id", "tool_stream"),  # Z.ai
    **_all(FREE, "transforms", "usage"),  # OpenRouter
    **_all(FREE, "disable_search", "return_images", "return_related_questions", "search_mode"),  # Perplexity
    **_all(FREE, "search_domain_filter", "search_recency_filter", "search_after_date_filter", "search_before_date_filter"),
    "search_parameters": _SEARCH,  # xAI, "Live Search"
    **_all(_SEARCH, "enable_search", "search_options"),  # Qwen
}
# Content parts of messages. Any other type is refused like an unknown field.
PARTS: Mapping[str, Effect] = {
    **_all(_INPUT, "text", "input_text", "output_text", "refusal", "thinking", "tool_reference"),
    "image_url": Effect("tokens", ("image_input",)),
    "file": Effect("tokens", ("input", "image_input"), "audio and video: like `input_audio`; the whole context window is held"),
    "input_audio": Effect("priced", ("audio_input",)),
    "audio_url": Effect("priced", ("audio_input",), "the whole context window is held"),
    "video_url": Effect("priced", ("audio_input",), "for its audio; if it is a link, the whole context window is held"),
}
_EMBEDDING = (
    "model",
    "input",
    "user",
    "encoding_format",
    "dimensions",
    "input_type",
    "task",
    "truncate",
    "truncation",
    "normalized",
)
_RERANK = (
    *("model", "query", "documents", "top_n", "max_tokens_per_doc", "user", "truncation", "instruction"),
    *("truncate_prompt_tokens", "raw_scores"),  # vLLM, Infinity
)
_TRANSCRIPTION = (
    *("model", "file", "language", "prompt", "response_format", "temperature", "timestamp_granularities", "chunking_strategy"),
    *("include", "stream", "known_speaker_names", "known_speaker_references", "user", "safety_identifier"),
    *("keywords", "languages"),
)
_PER_IMAGE = Effect("units", note="the price per image must cover the most expensive value")
_ALLOWED_ONLY = Effect("priced", note="no price has a rate for it, so staff must allow it")
_PROMPT = Effect("units", note="at most 32,000 characters, which the price must cover")
_NOT_SENT = Effect("free", note="not sent")
_IMAGE: Mapping[str, Effect] = {
    **_all(FREE, "model", "user", "safety_identifier", "background", "style", "moderation", "frame_duration_ms"),
    "prompt": _PROMPT,
    **_all(FREE, "seed", "negative_prompt"),  # Together, Fireworks
    "metadata": CHAT["metadata"],
    **_all(_NOT_SENT, "response_format", "partial_images"),
    "stream": REFUSED,
    "n": Effect("units", note="images are charged as delivered"),
    **_all(_PER_IMAGE, "size", "quality", "complexity", "output_format", "output_compression"),
    **_all(_ALLOWED_ONLY, "frame_count", "svg"),
}
_IMAGE_EDIT: Mapping[str, Effect] = {
    **_IMAGE,
    **_all(_PER_IMAGE, "image", "images", "mask", "input_fidelity"),
    "markup": REFUSED,
}
# Fields of calls to other kinds of models. They cost input tokens, the price per call, or the units of a media price.
OTHER_KINDS: Mapping[str, Mapping[str, Effect]] = {
    "embedding": _all(_INPUT, *_EMBEDDING),
    "rerank": _all(_INPUT, *_RERANK),
    "moderation": _all(FREE, "model", "input", "user", "safety_identifier"),
    "transcription": _all(FREE, *_TRANSCRIPTION),
    "image": _IMAGE,
    "image edit": _IMAGE_EDIT,
    "image variation": {name: _IMAGE_EDIT[name] for name in (*_IMAGE, "image") if name not in ("prompt", "negative_prompt")},
    "video": {
        **_all(FREE, "model", "user", "safety_identifier", "metadata", "seed", "negative_prompt"),
        "prompt": _PROMPT,
        "seconds": Effect("units", note="charged per started five seconds"),
        **_all(Effect("units", note="the price per five seconds must cover the most expensive value"), "size", "quality"),
        "input_reference": REFUSED,
    },
    "speech": {
        **_all(FREE, "model", "voice", "speed", "response_format", "user", "safety_identifier", "metadata"),
        "input": Effect("units", note="charged per character"),
        "instructions": _PROMPT,
        "stream_format": _NOT_SENT,
    },
}
# Fields of the other APIs. The edge converts them to the canonical body or refuses them. Unknown fields that it passes on are
# refused there.
MESSAGES: Mapping[str, Effect] = {
    **_all(FREE, "model", "stream", "temperature", "top_p", "top_k", "stop_sequences", "metadata", "tool_choice"),
    "service_tier": Effect("free", note="`auto` and `standard_only`; not sent"),
    "speed": Effect("free", note="`standard` only; `fast` is refused, because it multiplies the price"),
    **_all(Effect("free", note="not sent"), "context_management", "diagnostics"),
    "messages": CHAT["messages"],
    **_all(_INPUT, "system"),
    "tools": Effect(
        "tokens",
        ("input",),
        "tools that the caller executes; web searches (`web_search_…`) are priced: `max_uses`, or five, are held, and the"
        " reported number is charged; other tools are refused",
    ),
    **_all(_OUTPUT, "max_tokens", "thinking", "output_config", "output_format"),
    "cache_control": _CACHE,
    "inference_geo": Effect("refused", note="multiplies the price"),
    **_all(REFUSED, "container", "mcp_servers", "fallbacks", "betas", "billing_policy", "compaction", "fallback_credit_token"),
    **_all(REFUSED, "thread", "user_profile_id", "workspace_id"),
}
RESPONSES: Mapping[str, Effect] = {
    **_all(FREE, "model", "stream", "stream_options", "temperature", "top_p", "top_logprobs", "include", "metadata", "user"),
    **_all(FREE, "safety_identifier", "store", "tool_choice", "parallel_tool_calls", "max_tool_calls", "truncation"),
    **_all(FREE, "prompt_cache_key", "prompt_cache_retention"),
    "prompt_cache_options": _CACHE,
    **_all(_INPUT, "instructions", "previous_response_id"),
    "input": CHAT["messages"],
    "tools": Effect(
        "tokens",
        ("input",),
        "tools that the caller executes; web searches are priced, and left out without a rate; other hosted tools are left out or"
        " refused",
    ),
    **_all(_OUTPUT, "max_output_tokens", "reasoning", "text"),
    "service_tier": CHAT["service_tier"],
    **_all(REFUSED, "background", "background_options", "conversation", "prompt", "context_management", "moderation", "image"),
    **_all(REFUSED, "access_programs"),
}
COMPLETIONS: Mapping[str, Effect] = {
    **{name: CHAT[name] for name in ("model", "stream", "stream_options", "user", "temperature", "top_p", "seed", "stop")},
    **{name: CHAT[name] for name in ("frequency_penalty", "presence_penalty", "logit_bias", "max_tokens", "n")},
    "prompt": _INPUT,
    "echo": Effect("free", note="added by the edge"),
    "best_of": Effect("tokens", ("output",), "must be 1 or equal to `n`"),
    **_all(REFUSED, "suffix", "logprobs"),
}
# Gemini's own fields. A request is built from the canonical body, so only a channel's `body` setting can add others.
GEMINI: Mapping[str, Effect] = {
    **_all(FREE, "safety_settings", "labels", "temperature", "top_p", "top_k", "seed", "stop_sequences", "store"),
    **_all(FREE, "presence_penalty", "frequency_penalty", "response_logprobs", "logprobs", "response_mime_type", "tool_config"),
    **_all(FREE, "http_options", "automatic_function_calling", "should_return_http_response"),  # of the SDK
    **_all(_INPUT, "response_schema", "response_json_schema", "system_instruction", "media_resolution", "audio_timestamp"),
    "contents": CHAT["messages"],
    "tools": Effect("tokens", ("input",), "functions; searches, maps and code execution are refused"),
    **_all(_OUTPUT, "max_output_tokens", "candidate_count", "thinking_config"),
    "response_modalities": CHAT["modalities"],
    **_all(REFUSED, "cached_content", "service_tier", "image_config", "speech_config", "routing_config", "model_armor_config"),
    **_all(REFUSED, "model_selection_config", "audio_transcription_config", "automatic_continuation", "continuation_token"),
    **_all(REFUSED, "generation_output_config", "enable_enhanced_civic_answers"),
}
SURFACES = {"chat": CHAT, "completions": COMPLETIONS, "messages": MESSAGES, "responses": RESPONSES, "gemini": GEMINI}

# Number in a provider's usage → the kind that it is charged as; "" if another number includes it.
USAGE: Mapping[str, Mapping[str, str]] = {
    "openai": {
        "prompt_tokens": "input",
        "completion_tokens": "output",
        "total_tokens": "",
        "prompt_tokens_details.cached_tokens": "cached_input",
        "prompt_tokens_details.cache_write_tokens": "cache_write",
        "prompt_tokens_details.audio_tokens": "audio_input",
        "prompt_tokens_details.image_tokens": "image_input",
        "prompt_tokens_details.text_tokens": "",
        "completion_tokens_details.reasoning_tokens": "reasoning",
        "completion_tokens_details.audio_tokens": "audio_output",
        "completion_tokens_details.image_tokens": "image_output",
        "completion_tokens_details.text_tokens": "",
        "completion_tokens_details.accepted_prediction_tokens": "",
        "completion_tokens_details.rejected_prediction_tokens": "",
        "service_tier": f"{TIER_PREFIX}…",
        "server_tool_use.web_search_requests": "web_search",  # OpenRouter
        "tool_usage.web_search.num_requests": "web_search",  # Responses, beside the usage
        "num_search_queries": "web_search",  # Perplexity
        "num_sources_used": "web_search",  # xAI
        "seconds": "second",  # of a transcription
    },
    "anthropic": {
        "input_tokens": "input",
        "output_tokens": "output",
        "cache_read_input_tokens": "cached_input",
        "cache_creation_input_tokens": "cache_write",
        "cache_creation.ephemeral_5m_input_tokens": "",
        "cache_creation.ephemeral_1h_input_tokens": "cache_write_1h",
        "output_tokens_details.thinking_tokens": "reasoning",
        "server_tool_use.web_search_requests": "web_search",
        "server_tool_use.web_fetch_requests": "",  # free; what they fetch is input
        "service_tier": f"{TIER_PREFIX}…",
        "inference_geo": "",  # requests cannot set it
        "speed": "",
    },
    "gemini": {
        "promptTokenCount": "input",
        "toolUsePromptTokenCount": "input",
        "candidatesTokenCount": "output",
        "thoughtsTokenCount": "reasoning",
        "cachedContentTokenCount": "cached_input",
        "totalTokenCount": "",
        "promptTokensDetails": "audio_input, image_input",
        "toolUsePromptTokensDetails": "audio_input, image_input",
        "cacheTokensDetails": "cached_audio_input",
        "candidatesTokensDetails": "audio_output, image_output",
        "serviceTier": f"{TIER_PREFIX}…",
        "trafficType": "",
    },
}


class Need(NamedTuple):
    """A possible cost of a request, and the rate that it requires.

    param    path of the field in the chat body
    name     name in the table and in the setting `allowed_parameters`
    kind     the rate that covers the cost; None if no rate can
    is_hint  the field can be omitted instead of refused, because the answer does not depend on it
    """

    param: str
    name: str
    kind: str | None
    is_hint: bool = False


class FieldCosts(NamedTuple):
    """Possible costs of a request's fields: the rates that they require, and the limits for its quote.

    `limits` is the constant `PLAIN` itself only if there are no needs, so that callers can skip plain calls.
    """

    needs: tuple[Need, ...] = ()
    limits: RequestCosts = PLAIN


NO_COSTS = FieldCosts()


def _plain(fields: Mapping[str, Effect]) -> frozenset[str]:
    """Return the fields whose values do not affect the cost."""
    read = ("priced", "multiplies", "refused")
    return frozenset(name for name, effect in fields.items() if effect.cost not in read and name not in ("prediction", "tools"))


_PLAIN = _plain({**OTHER_CHAT, **CHAT})
_PLAIN_RESPONSES = _plain(RESPONSES)
_PLAIN_PARTS = frozenset(name for name, effect in PARTS.items() if effect is _INPUT)
_CACHE_HINTS = {"prompt_cache_key", "prompt_cache_retention"}
# Tools that the caller executes. The provider executes all others and bills them separately. Sources: OpenAI, "Tools"; Anthropic,
# "Tool use", client tools.
_CLIENT_TOOLS = frozenset(
    {"function", "custom", "namespace", "tool_search", "local_shell", "shell", "apply_patch", "computer", "computer_use_preview"}
)
_CLIENT_TOOL_PREFIXES = ("bash_", "text_editor_", "computer_", "memory_")
_SEARCH_TOOLS = ("web_search", "openrouter:web_search")
# Tools of the Responses API that the provider executes, and that clients send by default. They are left out if no price covers
# them. Their names may end with a date.
OPTIONAL_TOOLS = ("web_search", "image_generation", "code_interpreter")
_SHORT_TTLS = (None, "5m", "30m")  # billed as plain cache writes: by Anthropic (5m) and OpenAI (30m)


def unpriced(found: FieldCosts, price: PriceList, settings: Mapping[str, Any]) -> tuple[Need, ...]:
    """Return the needs that are covered neither by the price nor by the channel's `allowed_parameters`."""
    if not found.needs:
        return ()
    allowed = settings.get("allowed_parameters") or {}
    return tuple(
        need for need in found.needs if need.name not in allowed and (need.kind is None or not has_rate(price, need.kind))
    )


def read_costs(body: Mapping[str, Any], kind: str, dialect: str, settings: Mapping[str, Any]) -> FieldCosts:
    """Return the possible costs of a call's fields on a channel of this dialect with these settings.

    `body` is the validated canonical body of a call of this `kind` (a key of `OTHER_KINDS`, or else a chat), or for the kind
    `responses`, a body of the Responses API.
    """
    if kind in OTHER_KINDS:
        return _of_other_kind(body, kind)
    reader = _Reader(body, dialect, settings)
    if kind == "responses":
        reader.read_response()
    else:
        reader.read_chat()
    return reader.found()


def unpriced_media_field(body: Mapping[str, Any], kind: str, settings: Mapping[str, Any]) -> str | None:
    """Return the first field of a media request that the media price does not cover and these channel settings do not allow.

    `kind` is a key of `OTHER_KINDS`. None means that the channel may serve the request.
    """
    allowed = settings.get("allowed_parameters") or {}
    return next((need.param for need in _of_other_kind(body, kind).needs if need.name not in allowed), None)


def merge(costs: list[FieldCosts]) -> RequestCosts:
    """Return the limits of a call that any of several channels may serve."""
    limits = [found.limits for found in costs if found.limits is not PLAIN]
    if not limits:
        return PLAIN
    return RequestCosts(
        kinds=tuple(dict.fromkeys(kind for one in limits for kind in one.kinds)),
        service_tier=next((one.service_tier for one in limits if one.service_tier), ""),
        web_searches=max(one.web_searches for one in limits),
        output_tokens=max(one.output_tokens for one in limits),
        unbounded_input=any(one.unbounded_input for one in limits),
        seconds=max(one.seconds for one in limits),
    )


def _of_other_kind(body: Mapping[str, Any], kind: str) -> FieldCosts:
    known = OTHER_KINDS[kind]
    limits = PLAIN
    if kind == "transcription":
        names = [name.removesuffix("[]") for name, _ in body["fields"]]
        limits = RequestCosts(seconds=body.get("seconds") or len(body.get("file", b"")) // MIN_AUDIO_BYTES_PER_SECOND + 1)
    else:
        names = [name for name, value in body.items() if value is not None]
    needs = tuple(Need(name, name, None) for name in names if name not in known or known[name].cost in ("priced", "refused"))
    return FieldCosts(needs, limits if not needs or limits is not PLAIN else RequestCosts())


class _Reader:
    """Reads one chat body. See `read_costs`."""

    def __init__(self, body: Mapping[str, Any], dialect: str, settings: Mapping[str, Any]) -> None:
        self._body = body
        self._dialect = dialect
        accepted = settings.get("history")
        # Whether cache marks are sent: Gemini has none, and some providers of OpenAI's format do not accept them.
        self._marks = dialect in ("openai", "anthropic") and not (isinstance(accepted, list) and "cache_control" not in accepted)
        self._needs: list[Need] = []
        self._kinds: list[str] = []
        self._tier = ""
        self._searches = self._output_tokens = 0
        self._unbounded_input = self._is_response = False

    def found(self) -> FieldCosts:
        if not (self._needs or self._kinds or self._output_tokens or self._unbounded_input):
            return NO_COSTS
        kinds = dict.fromkeys([*self._kinds, *(need.kind for need in self._needs if need.kind in TOKEN_KINDS)])
        limits = RequestCosts(
            kinds=tuple(kind for kind in kinds if kind is not None),
            service_tier=self._tier,
            web_searches=self._searches,
            output_tokens=self._output_tokens,
            unbounded_input=self._unbounded_input,
        )
        return FieldCosts(tuple(self._needs), limits)

    def read_chat(self) -> None:
        for name, value in self._body.items():
            if name not in _PLAIN and value is not None:
                self._field(name, value)
            elif name in _CACHE_HINTS and value and self._dialect == "anthropic" and "cache_control" not in self._body:
                hour = name == "prompt_cache_retention" and value == "24h"
                self._needs.append(Need(name, name, "cache_write_1h" if hour else "cache_write", is_hint=True))
        for index, message in enumerate(self._body["messages"]):
            if len(message) > 2 or not isinstance(message.get("content"), str):
                self._message(message, f"messages[{index}]")

    def read_response(self) -> None:
        self._is_response = True
        for name, value in self._body.items():
            if name not in _PLAIN_RESPONSES and value is not None and not (name in RESPONSES and not value):
                self._field(name, value)
        items = self._body.get("input")
        for index, item in enumerate(items if isinstance(items, list) else ()):
            if item.get("type") == "image_generation_call":  # an image of an earlier answer
                self._kinds.append("image_input")
            elif item.get("type") == "additional_tools":
                self._tools(item["tools"], f"input[{index}].tools")
            for name in ("content", "output"):
                if item.get("type") == "shell_call_output":
                    continue  # its output is text, without parts
                self._parts(item.get(name), f"input[{index}].{name}", _PART_OF_ITEM)

    def _need(self, param: str, name: str, kind: str | None, *, is_hint: bool = False) -> None:
        self._needs.append(Need(param, name, kind, is_hint))

    def _field(self, name: str, value: Any) -> None:
        match name:
            case "service_tier":
                self._service_tier(value)
            case "modalities":
                for modality in value:
                    if modality != "text":
                        self._need(name, name, f"{modality}_output" if modality in ("audio", "image") else None)
            case "audio":
                self._need(name, name, "audio_output")
            case "cache_control":
                self._cache(value, name)
            case "prompt_cache_options":
                self._need(name, name, "cache_write" if _ttl(value) in _SHORT_TTLS else "cache_write_1h")
            case "prediction":
                # OpenAI, "Predicted Outputs": rejected tokens are billed as output. Each takes at least one byte.
                self._output_tokens += _text_bytes(value) * _choices(self._body)
            case "tools":
                self._tools(value, name)
            case "web_search_options" | "search_parameters" | "search_options" | "enable_search":
                if value is not False and not (isinstance(value, Mapping) and value.get("mode") == "off"):
                    self._search(name, name)
            case _:
                self._need(name, name, None)

    def _service_tier(self, value: Any) -> None:
        if isinstance(value, str) and value in STANDARD_TIERS:
            return
        usable = isinstance(value, str) and 0 < len(value) <= MAX_TIER_LENGTH
        self._need("service_tier", "service_tier", f"{TIER_PREFIX}{value}" if usable else None)
        self._tier = value if usable else ""

    def _search(self, param: str, name: str, count: int = MAX_SEARCHES_PER_CHOICE, *, is_hint: bool = False) -> None:
        self._need(param, name, "web_search", is_hint=is_hint)
        count = max_tool_calls(self._body) if self._is_response else count * _choices(self._body)
        self._searches = max(self._searches, count)
        self._unbounded_input = True  # results are added to the prompt

    def _tools(self, tools: Any, where: str) -> None:
        for index, tool in enumerate(tools):
            self._tool(tool, f"{where}[{index}]")

    def _tool(self, tool: Any, where: str) -> None:
        kind = tool.get("type", "function")
        is_hint = self._is_response and isinstance(kind, str) and kind.startswith(OPTIONAL_TOOLS)
        if isinstance(kind, str) and kind.startswith(_SEARCH_TOOLS):
            self._search(f"{where}.type", "tools", max_searches(tool), is_hint=is_hint)
        elif not (isinstance(kind, str) and (kind in _CLIENT_TOOLS or kind.startswith(_CLIENT_TOOL_PREFIXES))):
            self._need(f"{where}.type", "tools", None, is_hint=is_hint)
        self._marked(tool, where)
        if isinstance(tool.get("function"), Mapping):
            self._marked(tool["function"], f"{where}.function")

    def _marked(self, owner: Mapping[str, Any], where: str) -> None:
        """Read the cache mark of a message, part or tool."""
        if owner.get("cache_control") is not None:
            self._cache(owner["cache_control"], f"{where}.cache_control")
        if owner.get("prompt_cache_breakpoint") is not None and self._dialect in (
            "openai",
            "responses",
        ):  # OpenAI, "Prompt caching"
            self._need(f"{where}.prompt_cache_breakpoint", "prompt_cache_options", "cache_write")

    def _cache(self, mark: Any, param: str) -> None:
        if self._marks:
            ttl = _ttl(mark)
            where = param if ttl is None else f"{param}.ttl"
            self._need(where, "cache_control", "cache_write" if ttl in _SHORT_TTLS else "cache_write_1h")

    def _message(self, message: Mapping[str, Any], where: str) -> None:
        self._marked(message, where)
        if message.get("audio"):  # an earlier answer's audio, by its id
            self._need(f"{where}.audio", "input_audio", "audio_input")
            self._unbounded_input = True
        self._parts(message.get("content"), f"{where}.content")
        self._parts(message.get("images"), f"{where}.images")

    def _parts(self, parts: Any, where: str, names: Mapping[str, str] = MappingProxyType({})) -> None:
        for position, part in enumerate(parts if isinstance(parts, list) else ()):
            kind = part.get("type") if isinstance(part, Mapping) else None
            if isinstance(kind, str):
                value = part if kind in names else part.get(kind, part)
                self._part(part, f"{where}[{position}]", names.get(kind, kind), value)
            else:
                self._need(f"{where}[{position}].type", "type", None)

    def _part(self, part: Mapping[str, Any], where: str, kind: str, value: Any) -> None:
        self._marked(part, where)
        if kind in _PLAIN_PARTS:
            return
        if kind not in PARTS:
            self._need(f"{where}.type", str(kind)[:100], None)
            return
        for url in _urls_of(value):
            self._content(url, where, kind)

    def _content(self, url: str, where: str, kind: str) -> None:
        media = data_url_type(url)
        is_link = url.startswith(("https:", "http:")) or not url
        finds_out = self._dialect == "gemini" and is_link  # Gemini finds out what a link is
        if PARTS[kind].cost == "priced" or media.startswith(("audio/", "video/")) or (finds_out and not _is_document(url)):
            self._need(where, kind, "audio_input")
        else:
            self._kinds.append("image_input")
        # Documents have many tokens in few bytes: a page is an image. Of an `image_url`, only an image's tokens are held.
        if kind == "image_url":
            is_unbounded = (finds_out and not _is_image(url)) or (media != "" and not media.startswith("image/"))
        else:
            is_unbounded = (is_link and kind != "input_audio") or (kind == "file" and not media.startswith(("text/", "image/")))
        self._unbounded_input = self._unbounded_input or is_unbounded


# Parts of input items in the Responses API.
_PART_OF_ITEM = MappingProxyType(
    {
        **dict.fromkeys(("summary_text", "reasoning_text", "encrypted_content"), "text"),
        "input_image": "image_url",
        "computer_screenshot": "image_url",
        "input_file": "file",
    }
)
_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".heic", ".heif", ".bmp")
_DOCUMENTS = (*_IMAGES, ".pdf", ".txt", ".md", ".csv", ".html", ".json")
_CONTENTS = ("url", "image_url", "file_data", "data")  # fields of a part's value


def _is_document(url: str) -> bool:
    """Return whether a link names an image or a document, rather than audio or video."""
    return _path_of(url).endswith(_DOCUMENTS)


def _is_image(url: str) -> bool:
    return _path_of(url).endswith(_IMAGES)


def _path_of(url: str) -> str:
    return url.partition("?")[0].partition("#")[0].lower()


def _urls_of(value: Any) -> list[str]:
    """Return the URLs (or data) in the value of a part: a provider may read any of them. "" stands for others, such as ids."""
    if not isinstance(value, Mapping):
        return [value if isinstance(value, str) else ""]
    found = [value[name] for name in _CONTENTS if isinstance(value.get(name), str)]
    return found if found and value.get("file_id") is None else [*found, ""]


def _ttl(mark: Any) -> Any:
    return mark.get("ttl") if isinstance(mark, Mapping) else None


def max_searches(tool: Mapping[str, Any]) -> int:
    """Return how many searches a provider may make with a search tool: its `max_uses`, or five."""
    limit = tool.get("max_uses")  # Anthropic, "Web search tool"
    return min(max(limit, 1), MAX_SEARCHES) if type(limit) is int else MAX_SEARCHES_PER_CHOICE


def max_tool_calls(body: Mapping[str, Any]) -> int:
    """Return how many calls of its own tools a provider may make for a body of the Responses API."""
    limit = body.get("max_tool_calls")
    return max(limit, 1) if type(limit) is int else MAX_SEARCHES_PER_CHOICE


def _choices(body: Mapping[str, Any]) -> int:
    choices = body.get("n")
    return choices if type(choices) is int else 1


def _text_bytes(value: Any) -> int:
    """Return the bytes of all text in a JSON value."""
    if isinstance(value, str):
        return len(value.encode(errors="replace"))
    if isinstance(value, Mapping):
        return sum(_text_bytes(item) for item in value.values())
    return sum(_text_bytes(item) for item in value) if isinstance(value, list) else 0
