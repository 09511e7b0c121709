"""Models as JSON objects for clients: in OpenAI's format with OpenRouter's fields, and in Anthropic's format. Pure.

Sources: OpenRouter's docs, "Models"; Anthropic's API reference, "List Models".
"""

from __future__ import annotations

from decimal import Context
from typing import Any

from shared.billing.rates import PriceList, own_rate
from shared.catalog.model_settings import of_model
from shared.catalog.snapshot import Alias, CatalogModel, Route
from shared.core.billing_periods import format_timestamp
from shared.dialects.compatibility_table import TABLES

# Fields of a chat body, under OpenRouter's names, that are accepted if a channel's dialect accepts them.
_GENERAL = ("max_tokens", "max_completion_tokens", "stop", "seed", "n", "logit_bias")
_SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty")  # omitted for some models: see `sampling`
# Capability of a model → the fields that it supports.
_BY_CAPABILITY = {
    "tools": ("tools", "tool_choice", "parallel_tool_calls"),
    "json_mode": ("response_format",),
    "structured_output": ("response_format", "structured_outputs"),
    "logprobs": ("logprobs", "top_logprobs"),
    "reasoning": ("reasoning_effort",),
}
_FIELD_OF = {"structured_outputs": "response_format"}  # OpenRouter's parameter → the field of the body that contains it
_ACCEPTED = {
    dialect: frozenset(name for name, field in table.fields.items() if field.support != "refused")
    for dialect, table in TABLES.items()
}
# Our names of modalities → OpenRouter's.
_MODALITIES = {"embedding": "embeddings"}
_OUTPUT_BY_KIND = {"transcription": "transcription"}  # not "text", because these models cannot chat
_INPUT_BY_CAPABILITY = {"vision": "image", "audio": "audio"}
# OpenRouter's names of rates that only some models have → our kind, and the number of tokens or searches that the rate is for.
_FURTHER_RATES = {"audio": ("audio_input", 1_000), "internal_reasoning": ("reasoning", 1_000), "web_search": ("web_search", 1)}
_USD = Context(prec=12)


def openai_document(model: CatalogModel, price: PriceList, credits_per_usd: int, alias: Alias | None = None) -> dict[str, Any]:
    """Return a model, or an alias of it, in OpenAI's format, with the fields of OpenRouter's catalog and our own.

    `alias` may also be the model's own deprecation.
    """
    output_limit = model.max_output_tokens or model.default_output_limit
    name = model.id if alias is None else alias.name
    return {
        "id": name,
        "object": "model",
        "created": model.created_at // 1000,
        "owned_by": model.owned_by,
        "name": name,
        "canonical_slug": model.id,
        **({} if name == model.id else {"alias_of": model.id}),
        **({} if alias is None else {"deprecation": _deprecation(alias)}),
        "description": model.description,
        "context_length": model.context_window,
        "max_completion_tokens": output_limit,
        "architecture": architecture(model),
        "supported_parameters": supported_parameters(model),
        "pricing": {**usd_pricing(model.kind, price, credits_per_usd), **pricing(price)},
        "top_provider": {"context_length": model.context_window, "max_completion_tokens": output_limit},
        "context_window": model.context_window,
        "max_output_tokens": model.max_output_tokens,
        "kind": model.kind,
        "modality": model.modality,
        "capabilities": list(model.capabilities),
        "free": model.is_free,
    }


def _deprecation(alias: Alias) -> dict[str, Any] | None:
    if alias.deprecated_at is None:
        return None
    shutdown = None if alias.shutdown_at is None else format_timestamp(alias.shutdown_at)
    return {"since": format_timestamp(alias.deprecated_at), "shutdown": shutdown, "successor": alias.successor or None}


def anthropic_document(model: CatalogModel, alias: Alias | None = None) -> dict[str, Any]:
    """Return a model, or an alias of it, in Anthropic's format."""
    name = model.id if alias is None else alias.name
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": format_timestamp(model.created_at),
        "max_input_tokens": model.context_window,
        "max_tokens": model.max_output_tokens or model.default_output_limit,
    }


def architecture(model: CatalogModel) -> dict[str, Any]:
    """Return the modalities of a model, by OpenRouter's names."""
    inputs, _, outputs = model.modality.partition("->")
    input_modalities = [_MODALITIES.get(name, name) for name in inputs.split("+") if name]
    output_modalities = [_MODALITIES.get(name, name) for name in outputs.split("+") if name]
    if model.kind == "chat":
        input_modalities += [name for capability, name in _INPUT_BY_CAPABILITY.items() if capability in model.capabilities]
    if model.kind in _OUTPUT_BY_KIND:
        output_modalities = [_OUTPUT_BY_KIND[model.kind]]
    return {
        "modality": model.modality,
        "input_modalities": list(dict.fromkeys(input_modalities)),
        "output_modalities": list(dict.fromkeys(output_modalities)),
        "tokenizer": "Other",
        "instruct_type": None,
    }


def supported_parameters(model: CatalogModel) -> list[str]:
    """Return the fields of a chat body that some channel of the model accepts. Empty for other kinds of models."""
    if model.kind != "chat":
        return []
    dialects = {route.dialect for route in model.routes}
    sampling = {route.dialect for route in model.routes if _is_sampled(route)}
    named = [*_GENERAL, *(name for tag, names in _BY_CAPABILITY.items() if tag in model.capabilities for name in names)]
    found = [name for name in dict.fromkeys(named) if _is_accepted(name, dialects)]
    return [*(name for name in _SAMPLING if _is_accepted(name, sampling)), *found]


def _is_sampled(route: Route) -> bool:
    """Return whether the channel ever sends sampling parameters to this model."""
    return bool(of_model(route.settings, "sampling", route.upstream_model, "all") != "none")


def _is_accepted(name: str, dialects: set[str]) -> bool:
    return any(_FIELD_OF.get(name, name) in _ACCEPTED[dialect] for dialect in dialects)


def pricing(price: PriceList) -> dict[str, int]:
    """Return a price in the API's format, in credits. The media prices are included only if the model has them."""
    cached, written = price.credits_per_1k_cached_input, price.credits_per_1k_cache_write
    media = {name: getattr(price, name) for name in ("credits_per_5_seconds", "credits_per_1k_characters")}
    return {
        "credits_per_1k_input": price.credits_per_1k_input,
        "credits_per_1k_output": price.credits_per_1k_output,
        "credits_per_1k_cached_input": cached if cached is not None else price.credits_per_1k_input,
        "credits_per_1k_cache_write": written if written is not None else price.credits_per_1k_input,
        "credits_per_call": price.credits_per_call,
        **{name: value for name, value in media.items() if value is not None},
    }


def usd_pricing(kind: str, price: PriceList, credits_per_usd: int) -> dict[str, str]:
    """Return a price in USD per token, call, generated image and search, as decimal strings with up to 12 digits.

    Rates for long prompts and service tiers are left out.
    """
    credits = pricing(price)
    is_image = kind == "image"  # its price per call is charged for every image
    return {
        "prompt": usd(credits["credits_per_1k_input"], 1000 * credits_per_usd),
        "completion": usd(credits["credits_per_1k_output"], 1000 * credits_per_usd),
        "request": usd(0 if is_image else price.credits_per_call, credits_per_usd),
        "image": usd(price.credits_per_call if is_image else 0, credits_per_usd),
        "input_cache_read": usd(credits["credits_per_1k_cached_input"], 1000 * credits_per_usd),
        "input_cache_write": usd(credits["credits_per_1k_cache_write"], 1000 * credits_per_usd),
        **{
            name: usd(rate, units * credits_per_usd)
            for name, (kind, units) in _FURTHER_RATES.items()
            if (rate := own_rate(price, kind, 0)) is not None
        },
    }


def usd(credits: int, credits_per_usd: int) -> str:
    """Return credits in USD as a decimal string without an exponent, such as `0.00000025`."""
    return f"{_USD.divide(credits, credits_per_usd).normalize(_USD):f}"
