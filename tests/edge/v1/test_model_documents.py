"""The fields of a model that clients read: modalities, parameters, prices in USD."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from edge.v1.model_documents import architecture, supported_parameters, usd, usd_pricing
from shared.billing.rates import PriceList, Rate
from shared.catalog.snapshot import CatalogModel, Route

OPENAI_ONLY = ["presence_penalty", "frequency_penalty", "seed", "n", "logit_bias"]


def model(dialects: tuple[str, ...] = ("openai",), settings: dict[str, Any] | None = None, **fields: Any) -> CatalogModel:
    routes = tuple(
        Route(uuid4(), uuid4(), "c", dialect, "http://localhost", "", settings or {}, "upstream", 0, 1) for dialect in dialects
    )
    common = CatalogModel("m", "chat", "yout", "", 8_000, None, "text->text", (), False, 0, (), routes)
    return common._replace(**fields)


@pytest.mark.parametrize(
    ("kind", "modality", "capabilities", "inputs", "outputs"),
    [
        ("chat", "text->text", (), ["text"], ["text"]),
        ("chat", "text+image->text", ("vision",), ["text", "image"], ["text"]),
        ("chat", "text->text", ("vision", "audio"), ["text", "image", "audio"], ["text"]),
        ("chat", "text->text+image", (), ["text"], ["text", "image"]),
        ("embedding", "text->embedding", (), ["text"], ["embeddings"]),
        ("image", "text->image", ("vision",), ["text"], ["image"]),
        ("video", "text->video", (), ["text"], ["video"]),
        ("speech", "text->speech", (), ["text"], ["speech"]),
        ("transcription", "audio->text", (), ["audio"], ["transcription"]),
        ("moderation", "text->scores", (), ["text"], ["scores"]),
        ("chat", "unknown", (), ["unknown"], []),
    ],
)
def test_modalities(kind: str, modality: str, capabilities: tuple[str, ...], inputs: list[str], outputs: list[str]) -> None:
    found = architecture(model(kind=kind, modality=modality, capabilities=capabilities))
    assert (found["input_modalities"], found["output_modalities"]) == (inputs, outputs)


def test_supported_parameters_follow_the_dialects_and_the_capabilities() -> None:
    plain = supported_parameters(model())
    assert {*OPENAI_ONLY, "temperature", "max_tokens", "stop"} <= {*plain}
    assert not {"tools", "reasoning_effort", "response_format", "logprobs"} & {*plain}
    assert not {*OPENAI_ONLY} & {*supported_parameters(model(("anthropic",)))}
    assert {*OPENAI_ONLY} <= {*supported_parameters(model(("anthropic", "openai")))}
    able = supported_parameters(model(capabilities=("tools", "reasoning", "structured_output", "logprobs")))
    assert {"tools", "tool_choice", "reasoning_effort", "response_format", "structured_outputs", "logprobs"} <= {*able}
    assert len(able) == len({*able})
    unsampled = supported_parameters(model(settings={"sampling": {"upstream": "none"}}))
    assert {*plain} - {*unsampled} == {"temperature", "top_p", "presence_penalty", "frequency_penalty"}
    assert supported_parameters(model(())) == supported_parameters(model(kind="embedding")) == []


@pytest.mark.parametrize(
    ("credits", "credits_per_usd", "text"),
    [
        (0, 1_000_000, "0"),
        (250, 1_000_000_000, "0.00000025"),
        (2_000, 1_000_000_000, "0.000002"),
        (1, 3, "0.333333333333"),
        (5_000_000, 1_000_000, "5"),
        (10**12, 1, "1000000000000"),
    ],
)
def test_usd_is_a_plain_decimal(credits: int, credits_per_usd: int, text: str) -> None:
    assert usd(credits, credits_per_usd) == text


def test_the_price_of_a_call_is_per_image_for_image_models() -> None:
    price = PriceList(uuid4(), 0, 1_000, 4_000, 100, 40_000, 10, credits_per_1k_cache_write=1_250)
    tokens = {"prompt": "0.000001", "completion": "0.000004", "input_cache_read": "0.0000001", "input_cache_write": "0.00000125"}
    assert usd_pricing("chat", price, 10**6) == {**tokens, "request": "0.04", "image": "0"}
    further = price._replace(rates=(Rate("audio_input", 0, 3_000), Rate("reasoning", 0, 5_000), Rate("web_search", 0, 10_000)))
    more = {"audio": "0.000003", "internal_reasoning": "0.000005", "web_search": "0.01"}
    assert usd_pricing("chat", further, 10**6) == {**tokens, "request": "0.04", "image": "0", **more}
    assert usd_pricing("image", price, 10**6) == {**tokens, "request": "0", "image": "0.04"}
