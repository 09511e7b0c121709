"""Channels from templates, and drafts that are not served until published."""

from __future__ import annotations

from typing import Any

import pytest

from shared.catalog import reader
from shared.catalog.templates import TEMPLATES
from shared.core.errors import InvalidInput, NotFound
from shared.models import AIModel, ChannelModel, Price
from shared.operations.channel_templates import (
    create_channel_from_template,
    create_known_model,
    draft_models,
    known_model,
    publish_model,
)
from shared.operations.channels import create_channel
from shared.operations.prices import rates_of
from tests.factories import ORIGIN
from tests.shared.catalog.price_data import price_data

KEY = "k" * 40


def make(template: str = "anthropic", secret: str = "sk-1", **options: Any) -> Any:
    return create_channel_from_template("c", template, secret, secret_key=KEY, origin=ORIGIN, **options)


def test_a_channel_gets_the_values_of_its_template(bound_database: Any) -> None:
    channel = make("openrouter", settings={"public_name": "router"})
    assert (channel.dialect, channel.base_url) == ("openai", "https://openrouter.ai/api/v1")
    assert channel.settings["body"] == {"provider": {"data_collection": "deny", "zdr": True}}
    assert (channel.settings["provider"], channel.settings["public_name"]) == ("openrouter", "router")


def test_placeholders_must_be_filled_in(bound_database: Any) -> None:
    with pytest.raises(InvalidInput, match="base URL"):
        make("azure-openai")
    with pytest.raises(InvalidInput, match="secret"):
        make("groq", secret="")
    with pytest.raises(NotFound, match="groq"):
        make("nobody")
    assert make("azure-openai", base_url="https://ours.openai.azure.com").base_url == "https://ours.openai.azure.com"


def test_drafts_are_not_served_until_published(bound_database: Any) -> None:
    make()
    known = TEMPLATES["anthropic"].models
    drafts = draft_models("c", credits_per_usd=1_000_000, markup_percent=10, origin=ORIGIN)
    assert (drafts.added, drafts.existing) == ([model.id for model in known], [])
    assert reader.load_catalog().models == {}
    publish_model(known[0].id, origin=ORIGIN)
    catalog = reader.load_catalog()
    assert set(catalog.models) == {known[0].id}
    (price,) = catalog.models[known[0].id].prices
    cost = ChannelModel.get(ChannelModel.model == known[0].id).cost_per_1k_input
    assert price.credits_per_1k_input == -(-cost * 11 // 10)
    assert price.credits_per_1k_cache_write is not None
    assert [rate.kind for rate in price.rates] == ["cache_write_1h"], "a draft must not allow web searches"
    assert catalog.models[known[0].id].owned_by == "anthropic"
    again = draft_models("c", credits_per_usd=1_000_000, origin=ORIGIN)
    assert (again.added, again.existing) == ([], drafts.added)
    assert AIModel.get_by_id(known[0].id).status == "active", "published models must stay published"


def test_a_single_known_model_is_published_directly(bound_database: Any) -> None:
    channel = make("groq")
    create_known_model("c", known_model(channel, "openai/gpt-oss-120b"), credits_per_usd=1_000_000, origin=ORIGIN)
    assert AIModel.get_by_id("gpt-oss-120b").status == "active"
    assert ChannelModel.get().upstream_model == "openai/gpt-oss-120b"
    assert Price.get().credits_per_1k_input == 150
    with pytest.raises(NotFound):
        known_model(channel, "gpt-9")


def test_audio_without_a_list_price_is_charged_as_input(bound_database: Any) -> None:
    channel = make("google")
    create_known_model("c", known_model(channel, "gemini-2.5-pro"), credits_per_usd=1_000_000, origin=ORIGIN)
    rates = rates_of(Price.get())
    steps = [(rate.above_tokens, rate.credits) for rate in rates.rates if rate.kind == "audio_input"]
    assert steps == [(0, rates.input), *((rate.above_tokens, rate.credits) for rate in rates.rates if rate.kind == "input")]


def test_a_known_model_without_a_list_price_is_refused(bound_database: Any) -> None:
    channel = make("groq")
    with price_data({}), pytest.raises(InvalidInput, match="price of gpt-oss-120b is not known"):
        create_known_model("c", known_model(channel, "gpt-oss-120b"), credits_per_usd=1_000_000, origin=ORIGIN)
    assert AIModel.select().count() == 0


def test_a_channel_without_a_template_has_no_drafts(bound_database: Any) -> None:
    create_channel("plain", "openai", "http://127.0.0.1:1/v1", "", secret_key=KEY, origin=ORIGIN)
    with pytest.raises(InvalidInput, match="no template"):
        draft_models("plain", credits_per_usd=1_000_000, origin=ORIGIN)
