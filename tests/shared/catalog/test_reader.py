"""The catalog snapshot of an edge: its content, and when it must be reloaded although no row changed."""

from __future__ import annotations

import pytest

from shared.catalog.reader import load_catalog
from shared.catalog.snapshot import UNLISTED_PREFIX
from shared.core.clock import now_ms
from shared.models import Channel
from shared.operations.model_routes import pause_channel
from tests import factories
from tests.factories import ORIGIN

pytestmark = pytest.mark.usefixtures("bound_database")


def served_by(model: str) -> list[str]:
    return sorted(route.channel_name for route in load_catalog().models[model].routes)


def test_a_paused_channel_is_excluded_until_its_pause_ends() -> None:
    factories.model(
        "m", factories.channel("https://a.example.com", name="a"), factories.channel("https://b.example.com", name="b")
    )
    before = load_catalog()
    assert (served_by("m"), before.stale_at) == (["a", "b"], None)
    pause_channel("a", 60_000, "maintenance", origin=ORIGIN)
    resting = load_catalog()
    assert resting.version > before.version
    assert served_by("m") == ["b"]
    assert resting.stale_at is not None
    assert 0 < resting.stale_at - now_ms() <= 60_000
    Channel.update(out_until=now_ms() - 1).where(Channel.name == "a").execute()
    assert (served_by("m"), load_catalog().stale_at) == (["a", "b"], None)


def test_a_pause_of_a_disabled_channel_causes_no_reload() -> None:
    factories.model("m", factories.channel("https://a.example.com", name="a"))
    pause_channel("a", 60_000, "maintenance", origin=ORIGIN)
    Channel.update(status="disabled").execute()
    assert (served_by("m"), load_catalog().stale_at) == ([], None)


def test_models_of_providers_that_require_an_output_limit_have_one() -> None:
    claude = factories.channel("https://a.example.com", name="a", dialect="anthropic")
    other = factories.channel("https://b.example.com", name="b")
    factories.model("known", claude, upstream_model="claude-opus-4-8")
    factories.model("unknown", claude, upstream_model="claude-of-tomorrow")
    factories.model("result", claude, upstream_model="claude-opus-4-8", max_output_tokens=5_000)
    factories.model("mixed", claude, other)
    factories.model("other", other)
    models = load_catalog().models
    limits = {
        name: ([route.required_output_limit for route in model.routes], model.default_output_limit)
        for name, model in models.items()
    }
    limits["mixed"] = (sorted(limits["mixed"][0], key=str), limits["mixed"][1])
    assert limits == {
        "known": ([64_000], 64_000),
        "unknown": ([8_192], 8_192),
        "result": ([None], None),
        "mixed": ([8_192, None], None),
        "other": ([None], None),
    }


def test_reasoning_beyond_the_output_limit_is_known_by_the_providers_model() -> None:
    by_model = factories.channel("https://a.example.com", name="a", settings={"reasoning_tokens_limit": {"thinker": 32_000}})
    for_all = factories.channel("https://b.example.com", name="b", settings={"reasoning_tokens_limit": 8_000})
    factories.model("both", for_all, by_model, upstream_model="thinker")
    factories.model("quick", by_model, upstream_model="quick")
    factories.model("all", for_all)
    limits = {name: model.reasoning_tokens for name, model in load_catalog().models.items()}
    assert limits == {"both": 32_000, "quick": 0, "all": 8_000}


def test_unlisted_models_are_served_but_not_listed() -> None:
    channel = factories.channel("https://a.example.com", name="a")
    factories.model("m", channel)
    factories.model(f"{UNLISTED_PREFIX}0123/chat", channel)
    catalog = load_catalog()
    assert list(catalog.listed) == ["m"]
    assert catalog.find(f"{UNLISTED_PREFIX}0123/chat", now_ms()) is not None
