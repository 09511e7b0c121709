"""Channels, models and prices: rejected and stored values, and that edges are notified."""

from __future__ import annotations

from typing import Any

import pytest

from shared.core.clock import now_ms
from shared.core.errors import InvalidInput, NotFound, SettingsError
from shared.core.secrets import unseal
from shared.models import AIModel, AuditEntry, CatalogVersion, Channel, ChannelModel, Price
from shared.operations import catalog
from shared.operations.audit import Origin
from shared.operations.model_details import ModelDetails
from shared.operations.prices import COLUMNS, Rates

ORIGIN = Origin("operator:test")
SECRET_KEY = "0123456789abcdef0123456789abcdef"
pytestmark = pytest.mark.usefixtures("bound_database")


def new_channel(name: str = "acme", base_url: str = "https://api.example.com/v1/", secret: str = "sk-1") -> Channel:
    return catalog.create_channel(name, "openai", base_url, secret, secret_key=SECRET_KEY, origin=ORIGIN)


def new_model(id: str = "m-1", *, upstream_model: str | None = None, **options: Any) -> AIModel:
    rates = {field: options.pop(field) for field in COLUMNS if field in options}
    values = Rates(**{"input": 10, "output": 20, **rates}), ModelDetails(**options)
    return catalog.create_model(id, "acme", *values, upstream_model=upstream_model, origin=ORIGIN)


def test_a_channels_secret_is_stored_encrypted() -> None:
    new_channel()
    row = Channel.get()
    assert (row.name, row.dialect, row.base_url) == ("acme", "openai", "https://api.example.com/v1")
    assert "sk-1" not in row.sealed_secret
    assert unseal(row.sealed_secret, SECRET_KEY) == "sk-1"
    assert "sk-1" not in repr(list(AuditEntry.select().dicts()))
    with pytest.raises(SettingsError, match="another SECRET_KEY"):
        unseal(row.sealed_secret, "f" * 32)


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "api.example.com/v1",
        "ftp://example.com",
        "https://",
        "https://user:pass@example.com/v1",
        "https://example.com/v1?key=1",
        "https://example.com/v1#x",
        "https://example.com:99999",
        "https://exa mple.com",
        "https://[::1",
    ],
)
def test_a_base_url_has_only_scheme_host_and_path(base_url: str) -> None:
    with pytest.raises(InvalidInput, match="base URL"):
        new_channel(base_url=base_url)


def test_every_change_raises_the_catalog_version_and_is_audited() -> None:
    changes = [
        lambda: new_channel(),
        lambda: new_channel("spare", secret=""),
        lambda: new_model(),
        lambda: catalog.set_price("m-1", Rates(30, 40), origin=ORIGIN),
        lambda: catalog.add_channel_to_model("m-1", "spare", "their-m-1", 1, 3, origin=ORIGIN),
        lambda: catalog.update_channel("acme", base_url="http://127.0.0.1:9/v1", origin=ORIGIN),
        lambda: catalog.update_channel_secret("acme", "sk-2", secret_key=SECRET_KEY, origin=ORIGIN),
        lambda: catalog.set_channel_status("acme", "disabled", origin=ORIGIN),
        lambda: catalog.set_model_status("m-1", "disabled", origin=ORIGIN),
    ]
    for number, change in enumerate(changes, 1):
        before = CatalogVersion.get().version
        change()
        assert CatalogVersion.get().version == before + 1
        assert AuditEntry.select().count() == number
    assert unseal(Channel.get(Channel.name == "acme").sealed_secret, SECRET_KEY) == "sk-2"
    spare = ChannelModel.get(ChannelModel.upstream_model == "their-m-1")
    assert (spare.channel.name, spare.priority, spare.weight) == ("spare", 1, 3)


def test_an_update_without_changes_does_not_raise_the_version() -> None:
    new_channel()
    new_model()
    before = (CatalogVersion.get().version, AuditEntry.select().count())
    catalog.set_channel_status("acme", "active", origin=ORIGIN)
    catalog.set_model_status("m-1", "active", origin=ORIGIN)
    catalog.update_channel("acme", base_url="https://api.example.com/v1", origin=ORIGIN)
    assert (CatalogVersion.get().version, AuditEntry.select().count()) == before


def test_a_new_model_has_a_route_and_a_price() -> None:
    channel = new_channel()
    new_model(
        "org/m:1", upstream_model="theirs", cached_input=5, per_call=7, minimum=3, context_window=8_000, capabilities=["tools"]
    )
    row = AIModel.get_by_id("org/m:1")
    assert (row.context_window, row.capabilities, row.modality, row.is_free) == (8_000, ["tools"], "text->text", False)
    price = Price.get(Price.model == row)
    assert (price.credits_per_1k_input, price.credits_per_1k_output, price.credits_per_1k_cached_input) == (10, 20, 5)
    assert (price.credits_per_call, price.minimum_credits) == (7, 3)
    assert price.effective_at <= now_ms()
    assert [(link.channel_id, link.upstream_model) for link in ChannelModel.select()] == [(channel.id, "theirs")]


def test_the_details_of_a_model_can_change_but_not_its_kind() -> None:
    new_channel()
    new_model(capabilities=["tools"], modality="text+image->text")
    catalog.update_model("m-1", ModelDetails("Small.", context_window=9_000, free=True), origin=ORIGIN)
    row = AIModel.get_by_id("m-1")
    assert (row.description, row.context_window, row.is_free) == ("Small.", 9_000, True)
    assert (row.capabilities, row.modality) == ([], "text->text")
    with pytest.raises(InvalidInput, match="kind"):
        catalog.update_model("m-1", ModelDetails(kind="embedding"), origin=ORIGIN)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"id": ""}, "model id"),
        ({"id": "a b"}, "model id"),
        ({"id": "é"}, "model id"),
        ({"id": "x" * 201}, "model id"),
        ({"upstream_model": "a\tb"}, "model id"),
        ({"input": -1}, "price"),
        ({"output": 10**12 + 1}, "price"),
        ({"per_call": 0.5}, "price"),
        ({"input": 0, "output": 0}, "must be marked as free"),
        ({"kind": "talk"}, "kind"),
        ({"context_window": 0}, "context window"),
        ({"max_output_tokens": -5}, "output limit"),
        ({"capabilities": [""]}, "capability"),
    ],
)
def test_an_invalid_model_is_rejected_without_side_effects(options: dict[str, Any], message: str) -> None:
    new_channel()
    with pytest.raises(InvalidInput, match=message):
        new_model(**options)
    assert AIModel.select().count() == Price.select().count() == ChannelModel.select().count() == 0


def test_a_model_requires_a_price_unless_it_is_free() -> None:
    new_channel()
    new_model(input=0, output=0, free=True)
    new_model("m-2", input=0, output=0, per_call=5)
    with pytest.raises(InvalidInput, match="must be marked as free"):
        catalog.set_price("m-2", Rates(0, 0), origin=ORIGIN)


def test_names_are_unique() -> None:
    new_channel()
    new_model()
    with pytest.raises(InvalidInput, match="already exists"):
        new_channel()
    with pytest.raises(InvalidInput, match="already exists"):
        new_model()
    with pytest.raises(InvalidInput, match="already serves 'm-1'"):
        catalog.add_channel_to_model("m-1", "acme", origin=ORIGIN)
    assert ChannelModel.select().count() == Price.select().count() == 1


def test_unknown_rows_are_not_found() -> None:
    with pytest.raises(NotFound, match="yout channel create"):
        new_model()
    with pytest.raises(NotFound, match="yout model create"):
        catalog.set_price("m-1", Rates(1, 1), origin=ORIGIN)
    with pytest.raises(NotFound):
        catalog.set_channel_status("acme", "active", origin=ORIGIN)


def test_prices_take_effect_in_order_and_never_in_the_past() -> None:
    new_channel()
    new_model()
    later = now_ms() + 60_000
    for _ in range(3):  # possibly within the same millisecond
        catalog.set_price("m-1", Rates(1, 2), origin=ORIGIN)
    catalog.set_price("m-1", Rates(3, 4), effective_at=later, origin=ORIGIN)
    with pytest.raises(InvalidInput, match="takes effect at this time"):
        catalog.set_price("m-1", Rates(5, 6), effective_at=later, origin=ORIGIN)
    with pytest.raises(InvalidInput, match="in the past"):
        catalog.set_price("m-1", Rates(5, 6), effective_at=later - 120_000, origin=ORIGIN)
    assert Price.select().count() == 5


@pytest.mark.parametrize("settings", [{"x": float("nan")}, {"x": object()}, {"x": "y" * 10_001}])
def test_channel_settings_must_be_json(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="JSON"):
        catalog.create_channel(
            "acme", "openai", "https://example.com", "", settings=settings, secret_key=SECRET_KEY, origin=ORIGIN
        )


@pytest.mark.parametrize("value", [0, 32_000, {"a": 1_000_000}], ids=str)
def test_a_reasoning_limit_is_stored(value: Any) -> None:
    new_channel()
    catalog.update_channel("acme", settings={"reasoning_tokens_limit": value}, origin=ORIGIN)
    assert Channel.get().settings == {"reasoning_tokens_limit": value}


@pytest.mark.parametrize("value", [-1, 1.5, True, "32000", None, [1], 1_000_001, {"a": 1, "b": "2"}], ids=str)
def test_an_invalid_reasoning_limit_is_refused(value: Any) -> None:
    new_channel()
    with pytest.raises(InvalidInput, match="reasoning_tokens_limit"):
        catalog.update_channel("acme", settings={"reasoning_tokens_limit": value}, origin=ORIGIN)
