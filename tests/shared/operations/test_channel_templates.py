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
from tests.factories import ORIGIN

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
    drafts = draft_models("c", markup_percent=10, origin=ORIGIN)
    assert (drafts.added, drafts.existing) == ([model.id for model in known], [])
    assert reader.load_catalog().models == {}
    publish_model(known[0].id, origin=ORIGIN)
    catalog = reader.load_catalog()
    assert set(catalog.models) == {known[0].id}
    (price,) = catalog.models[known[0].id].prices
    assert price.credits_per_1k_input == known[0].input * 11 // 10
    assert price.credits_per_1k_cache_write == (known[0].cache_write or 0) * 11 // 10
    assert catalog.models[known[0].id].owned_by == "anthropic"
    again = draft_models("c", origin=ORIGIN)
    assert (again.added, again.existing) == ([], drafts.added)
    assert AIModel.get_by_id(known[0].id).status == "active", "published models must stay published"


def test_a_single_known_model_is_published_directly(bound_database: Any) -> None:
    channel = make("groq")
    create_known_model("c", known_model(channel, "openai/gpt-oss-120b"), origin=ORIGIN)
    assert AIModel.get_by_id("gpt-oss-120b").status == "active"
    assert ChannelModel.get().upstream_model == "openai/gpt-oss-120b"
    assert Price.get().credits_per_1k_input == 150
    with pytest.raises(NotFound):
        known_model(channel, "gpt-9")


def test_a_channel_without_a_template_has_no_drafts(bound_database: Any) -> None:
    create_channel("plain", "openai", "http://127.0.0.1:1/v1", "", secret_key=KEY, origin=ORIGIN)
    with pytest.raises(InvalidInput, match="no template"):
        draft_models("plain", origin=ORIGIN)
