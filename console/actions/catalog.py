"""Staff actions on models, prices, routes and channels, one function each."""

from __future__ import annotations

from uuid import UUID

from flask import current_app

from console import channel_test
from console.actions.origin import origin
from console.channel_test import TestCallResult
from console.forms.catalog import (
    AliasForm,
    AllowForm,
    ChannelForm,
    ChannelRuleForm,
    DeprecationForm,
    DisallowForm,
    ModelForm,
    NewAliasForm,
    NewChannelForm,
    NewModelForm,
    NewRouteForm,
    RouteForm,
)
from shared.catalog.snapshot import Route
from shared.core.clock import now_ms
from shared.core.errors import InvalidInput, NotFound
from shared.core.formats import NARROW_SPACE, format_exact_time
from shared.core.settings import Settings
from shared.operations import (
    catalog,
    channel_checks,
    channel_templates,
    channels,
    model_aliases,
    model_deprecation,
    model_routes,
    price_drafts,
)
from shared.operations.channel_checks import Rule
from shared.operations.keys import KeyOptions, create_key, revoke_key
from shared.operations.price_drafts import ReviewedPrice
from shared.operations.route_costs import RouteCosts

TRY_KEY_MS = 5 * 60_000  # longer than any test call


def create_model(form: NewModelForm) -> str:
    row = catalog.create_model(
        form.model.data.strip(),
        form.channel.data,
        form.rates(),
        form.details(form.kind.data),
        upstream_model=(form.upstream_model.data or "").strip() or None,
        origin=origin(),
    )
    return f"{row.id} added to the catalog. It is available within a second."


def update_model(model_id: str, form: ModelForm) -> str:
    catalog.update_model(model_id, form.details(catalog.find_model(model_id).kind), origin=origin())
    return f"{model_id} updated. Changes apply within a second."


def save_draft(model_id: str, rates: catalog.Rates) -> str:
    price_drafts.save_draft(model_id, rates, origin=origin())
    return "Draft saved. It takes effect only when you publish it."


def publish_draft(model_id: str, seen: ReviewedPrice, effective_at: int | None) -> str:
    price_drafts.publish_draft(model_id, seen, effective_at, origin=origin())
    since = f"takes effect at {format_exact_time(effective_at)[:16]} UTC" if effective_at else "is in effect"
    return f"The new price of {model_id} {since}. Calls already in progress keep their price."


def discard_draft(model_id: str) -> str:
    price_drafts.discard_draft(model_id, origin=origin())
    return "Draft discarded. The current price is unchanged."


def enable_model(model_id: str) -> str:
    catalog.set_model_status(model_id, "active", origin=origin())
    return f"{model_id} enabled. It is available within a second."


def disable_model(model_id: str) -> str:
    catalog.set_model_status(model_id, "disabled", origin=origin())
    return f"{model_id} disabled. New calls are rejected within a second; calls in progress finish."


def add_route(model_id: str, form: NewRouteForm) -> str:
    upstream = (form.upstream_model.data or "").strip() or model_id
    row = catalog.add_channel_to_model(
        model_id, form.channel.data, upstream, form.priority.required_value(), form.weight.required_value(), origin=origin()
    )
    if form.costs() != RouteCosts():
        update_route(row.id, form, upstream)
    return f"Channel {form.channel.data} serves {model_id} within a second."


def update_route(route_id: UUID, form: RouteForm, upstream_model: str) -> str:
    model_routes.update_route(
        route_id,
        upstream_model=upstream_model,
        priority=form.priority.required_value(),
        weight=form.weight.required_value(),
        costs=form.costs(),
        origin=origin(),
    )
    return "Route updated. Changes apply within a second."


def remove_route(route_id: UUID) -> str:
    model_id = model_routes.remove_route(route_id, origin=origin())
    return f"The channel no longer serves {model_id}. Calls in progress finish."


def create_alias(form: NewAliasForm) -> str:
    fields = form.alias_fields()
    try:
        alias = model_aliases.create_alias(form.name.data.strip(), fields.pop("model"), **fields, origin=origin())
    except NotFound as error:  # the model or the successor, in the form
        raise InvalidInput(str(error)) from None
    return f"Alias {alias.name} created. It is available within a second."


def update_alias(name: str, form: AliasForm) -> str:
    try:
        model_aliases.update_alias(name, form.alias_fields(), origin=origin())
    except NotFound as error:
        raise InvalidInput(str(error)) from None
    return f"Alias {name} updated. Changes apply within a second."


def deprecate_model(model_id: str, form: DeprecationForm) -> str:
    try:
        model_deprecation.deprecate_model(model_id, form.fields(), origin=origin())
    except NotFound as error:  # the successor, in the form
        raise InvalidInput(str(error)) from None
    return f"Deprecation of {model_id} saved. Changes apply within a second."


def delete_alias(name: str) -> str:
    model_aliases.delete_alias(name, origin=origin())
    return f"Alias {name} deleted. Calls with this name get a 404 within a second."


def create_channel(form: NewChannelForm) -> str:
    channel = catalog.create_channel(
        form.name.data,
        form.dialect.data,
        form.base_url.data,
        form.secret.data or "",
        secret_key=_secret_key(),
        settings=form.provider_settings(),
        origin=origin(),
    )
    return f"Channel {channel.name} created. Add it to a model to start serving calls."


def draft_models(channel: str, markup_percent: int) -> str:
    drafted = channel_templates.draft_models(
        channel, credits_per_usd=_settings().credits_per_usd, markup_percent=markup_percent, origin=origin()
    )
    kept = f" {len(drafted.existing)} already in the catalog, unchanged." if drafted.existing else ""
    return f"{len(drafted.added)} models added, disabled. Review and enable each.{kept}"


def import_models(route: Route) -> str:
    """Add the models that the channel's provider lists, disabled and without a price."""
    drafted = channel_templates.draft_listed_models(
        route.channel_name, channel_test.list_models(route, _settings()), origin=origin()
    )
    kept = f" {len(drafted.existing)} already in the catalog, unchanged." if drafted.existing else ""
    return f"{len(drafted.added)} models added without a price. Set a price for each one you want to offer.{kept}"


def update_channel(name: str, form: ChannelForm) -> str:
    catalog.update_channel(name, base_url=form.base_url.data, settings=form.provider_settings(), origin=origin())
    return f"Channel {name} updated. New calls use it within a second."


def allow_parameter(name: str, form: AllowForm) -> str:
    channels.allow_parameter(name, form.parameter.data, form.worst_case.data, origin=origin())
    return f"Calls of {name} can use {form.parameter.data} without a price within a second."


def disallow_parameter(name: str, form: DisallowForm) -> str:
    channels.disallow_parameter(name, form.parameter.data, origin=origin())
    return f"{form.parameter.data} is refused on {name} within a second, unless the model's price covers it."


def update_channel_rule(name: str, form: ChannelRuleForm) -> str:
    rule = Rule(form.margin_floor.required_value(), form.count_tolerance.required_value(), form.pauses_when_flagged.data)
    channel_checks.update_rule(name, rule, origin=origin())
    return "Rule updated. It applies from the next check on, within five minutes."


def pause_channel(name: str, minutes: int, reason: str) -> str:
    model_routes.pause_channel(name, minutes * 60_000, reason, origin=origin())
    if not minutes:
        return f"Channel {name} resumed."
    return f"Channel {name} paused for {minutes}{NARROW_SPACE}min. Calls in progress finish."


def enable_channel(name: str) -> str:
    catalog.set_channel_status(name, "active", origin=origin())
    return f"Channel {name} enabled. It receives calls within a second."


def disable_channel(name: str) -> str:
    catalog.set_channel_status(name, "disabled", origin=origin())
    return f"Channel {name} disabled. New calls stop within a second; calls in progress finish."


def replace_channel_secret(name: str, secret: str) -> str:
    catalog.update_channel_secret(name, secret, secret_key=_secret_key(), origin=origin())
    return f"Secret of {name} replaced. New calls use it within a second."


def _secret_key() -> str:
    return _settings().secret_key


def try_model(model_id: str, prompt: str, email: str) -> TestCallResult:
    """Call a model through our own edge with a key of the account, created for this call and revoked after it."""
    key = create_key(
        email,
        "console test call",
        KeyOptions(expires_at=now_ms() + TRY_KEY_MS, allowed_models=[model_id]),
        origin=origin(),
    )
    try:
        return channel_test.test_call(model_id, prompt, key.secret, _settings())
    finally:
        revoke_key(key.row.id, origin=origin())


def test_channels(routes: list[Route]) -> list[tuple[str, channel_test.ProbeResult]]:
    """Send a test request to each channel. Returns each channel's name and result."""
    settings = _settings()
    return [(route.channel_name, channel_test.probe(route, settings)) for route in routes]


def _settings() -> Settings:
    found: Settings = current_app.extensions["yout_settings"]
    return found
