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
    ProbeRuleForm,
    RouteForm,
)
from shared.catalog.snapshot import Route
from shared.core.clock import now_ms
from shared.core.errors import InvalidInput, NotFound
from shared.core.formats import format_exact_time
from shared.core.settings import Settings
from shared.operations import (
    catalog,
    channel_checks,
    channel_templates,
    channels,
    model_aliases,
    model_deprecation,
    model_probes,
    model_routes,
    price_drafts,
)
from shared.operations.channel_checks import Rule
from shared.operations.keys import KeyOptions, create_key, revoke_key
from shared.operations.model_probes import ProbeRule
from shared.operations.price_drafts import ReviewedPrice
from shared.operations.route_costs import RouteCosts
from shared.text.translation import gettext, ngettext

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
    return gettext("{model} added to the catalog. It is available within a second.", model=row.id)


def update_model(model_id: str, form: ModelForm) -> str:
    catalog.update_model(model_id, form.details(catalog.find_model(model_id).kind), origin=origin())
    return gettext("{model} updated. Changes apply within a second.", model=model_id)


def save_draft(model_id: str, rates: catalog.Rates) -> str:
    price_drafts.save_draft(model_id, rates, origin=origin())
    return gettext("Draft saved. It takes effect only when you publish it.")


def publish_draft(model_id: str, seen: ReviewedPrice, effective_at: int | None) -> str:
    price_drafts.publish_draft(model_id, seen, effective_at, origin=origin())
    if effective_at is None:
        return gettext("The new price of {model} is in effect. Calls already in progress keep their price.", model=model_id)
    return gettext(
        "The new price of {model} takes effect at {time} UTC. Calls already in progress keep their price.",
        model=model_id,
        time=format_exact_time(effective_at)[:16],
    )


def discard_draft(model_id: str) -> str:
    price_drafts.discard_draft(model_id, origin=origin())
    return gettext("Draft discarded. The current price is unchanged.")


def enable_model(model_id: str) -> str:
    catalog.set_model_status(model_id, "active", origin=origin())
    return gettext("{model} enabled. It is available within a second.", model=model_id)


def disable_model(model_id: str) -> str:
    catalog.set_model_status(model_id, "disabled", origin=origin())
    return gettext("{model} disabled. New calls are rejected within a second; calls in progress finish.", model=model_id)


def add_route(model_id: str, form: NewRouteForm) -> str:
    upstream = (form.upstream_model.data or "").strip() or model_id
    row = catalog.add_channel_to_model(
        model_id, form.channel.data, upstream, form.priority.required_value(), form.weight.required_value(), origin=origin()
    )
    if form.costs() != RouteCosts():
        update_route(row.id, form, upstream)
    return gettext("Channel {channel} serves {model} within a second.", channel=form.channel.data, model=model_id)


def update_route(route_id: UUID, form: RouteForm, upstream_model: str) -> str:
    model_routes.update_route(
        route_id,
        upstream_model=upstream_model,
        priority=form.priority.required_value(),
        weight=form.weight.required_value(),
        costs=form.costs(),
        origin=origin(),
    )
    return gettext("Route updated. Changes apply within a second.")


def remove_route(route_id: UUID) -> str:
    model_id = model_routes.remove_route(route_id, origin=origin())
    return gettext("The channel no longer serves {model}. Calls in progress finish.", model=model_id)


def create_alias(form: NewAliasForm) -> str:
    fields = form.alias_fields()
    try:
        alias = model_aliases.create_alias(form.name.data.strip(), fields.pop("model"), **fields, origin=origin())
    except NotFound as error:  # the model or the successor, in the form
        raise InvalidInput(str(error)) from None
    return gettext("Alias {alias} created. It is available within a second.", alias=alias.name)


def update_alias(name: str, form: AliasForm) -> str:
    try:
        model_aliases.update_alias(name, form.alias_fields(), origin=origin())
    except NotFound as error:
        raise InvalidInput(str(error)) from None
    return gettext("Alias {name} updated. Changes apply within a second.", name=name)


def deprecate_model(model_id: str, form: DeprecationForm) -> str:
    try:
        model_deprecation.deprecate_model(model_id, form.fields(), origin=origin())
    except NotFound as error:  # the successor, in the form
        raise InvalidInput(str(error)) from None
    return gettext("Deprecation of {model} saved. Changes apply within a second.", model=model_id)


def delete_alias(name: str) -> str:
    model_aliases.delete_alias(name, origin=origin())
    return gettext("Alias {name} deleted. Calls with this name get a 404 within a second.", name=name)


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
    return gettext("Channel {channel} created. Add it to a model to start serving calls.", channel=channel.name)


def draft_models(channel: str, markup_percent: int) -> str:
    drafted = channel_templates.draft_models(
        channel, credits_per_usd=_settings().credits_per_usd, markup_percent=markup_percent, origin=origin()
    )
    kept = _kept(len(drafted.existing))
    return gettext("{count} models added, disabled. Review and enable each.", count=len(drafted.added)) + kept


def import_models(route: Route) -> str:
    """Add the models that the channel's provider lists, disabled and without a price."""
    drafted = channel_templates.draft_listed_models(
        route.channel_name, channel_test.list_models(route, _settings()), origin=origin()
    )
    kept = _kept(len(drafted.existing))
    added = gettext("{count} models added without a price. Set a price for each one you want to offer.", count=len(drafted.added))
    return added + kept


def _kept(count: int) -> str:
    return " " + gettext("{count} already in the catalog, unchanged.", count=count) if count else ""


def update_channel(name: str, form: ChannelForm) -> str:
    catalog.update_channel(name, base_url=form.base_url.data, settings=form.provider_settings(), origin=origin())
    return gettext("Channel {name} updated. New calls use it within a second.", name=name)


def allow_parameter(name: str, form: AllowForm) -> str:
    channels.allow_parameter(name, form.parameter.data, form.worst_case.data, origin=origin())
    return gettext(
        "Within a second, calls to {name} can use {parameter} without a price.", name=name, parameter=form.parameter.data
    )


def disallow_parameter(name: str, form: DisallowForm) -> str:
    channels.disallow_parameter(name, form.parameter.data, origin=origin())
    return gettext(
        "{parameter} is refused on {name} within a second, unless the model's price covers it.",
        parameter=form.parameter.data,
        name=name,
    )


def update_channel_rule(name: str, form: ChannelRuleForm) -> str:
    rule = Rule(form.margin_floor.required_value(), form.count_tolerance.required_value(), form.pauses_when_flagged.data)
    channel_checks.update_rule(name, rule, origin=origin())
    return gettext("Rule updated. It applies from the next check on, within five minutes.")


def update_probe_rule(name: str, form: ProbeRuleForm) -> str:
    rule = ProbeRule(
        form.is_reference.data,
        form.daily_probes.required_value(),
        form.daily_probe_credits.required_value(),
        form.lowers_weight_when_different.data,
    )
    model_probes.update_probe_rule(name, rule, origin=origin())
    if rule.daily_probes:
        return gettext("Probes updated. Workers send the first ones within a day.")
    return gettext("Probes updated.")


def restart_comparison(name: str, model: str) -> str:
    model_probes.restart_comparison(name, model, origin=origin())
    return gettext("The comparison of {model} starts over.", model=model)


def pause_channel(name: str, minutes: int, reason: str) -> str:
    model_routes.pause_channel(name, minutes * 60_000, reason, origin=origin())
    if not minutes:
        return gettext("Channel {name} resumed.", name=name)
    return ngettext(
        "Channel {name} paused for {count} minute. Calls in progress finish.",
        "Channel {name} paused for {count} minutes. Calls in progress finish.",
        minutes,
        name=name,
    )


def enable_channel(name: str) -> str:
    catalog.set_channel_status(name, "active", origin=origin())
    return gettext("Channel {name} enabled. It receives calls within a second.", name=name)


def disable_channel(name: str) -> str:
    catalog.set_channel_status(name, "disabled", origin=origin())
    return gettext("Channel {name} disabled. New calls stop within a second; calls in progress finish.", name=name)


def replace_channel_secret(name: str, secret: str) -> str:
    catalog.update_channel_secret(name, secret, secret_key=_secret_key(), origin=origin())
    return gettext("Secret of {name} replaced. New calls use it within a second.", name=name)


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
