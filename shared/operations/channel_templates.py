"""Creates channels from templates, and adds a provider's models to the catalog as drafts, not served until published."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from shared.catalog.list_prices import ListPrice, find_list_price
from shared.catalog.templates import TEMPLATES, ChannelTemplate, KnownModel
from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.models import AIModel, Channel, ChannelModel
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.catalog import create_model, is_valid_model_id, set_model_status
from shared.operations.catalog_version import bump_catalog_version
from shared.operations.channels import create_channel, find_channel
from shared.operations.model_details import ModelDetails
from shared.operations.price_sync import MAX_MARKUP_PERCENT, list_costs, list_rates
from shared.operations.validation import check_integer
from shared.text.translation import lazy_gettext


class DraftResult(NamedTuple):
    """Result of adding drafts: ids that were added, and ids that the catalog already had."""

    added: list[str]
    existing: list[str]


def find_template(id: str) -> ChannelTemplate:
    """Return the template with this id. Raises `NotFound`."""
    template = TEMPLATES.get(id)
    if template is None:
        raise NotFound(lazy_gettext("No template {id!r}. Choose one of {templates}.", id=id, templates=", ".join(TEMPLATES)))
    return template


def create_channel_from_template(
    name: str,
    template_id: str,
    secret: str,
    *,
    base_url: str | None = None,
    settings: dict[str, Any] | None = None,
    secret_key: str,
    origin: Origin,
) -> Channel:
    """Create a channel from a provider's template. `base_url` and `settings` override the template."""
    template = find_template(template_id)
    if template.needs_base_url and base_url is None:
        raise InvalidInput(
            lazy_gettext(
                "{template} needs your own base URL, such as {base_url}.", template=template.name, base_url=template.base_url
            )
        )
    if template.needs_secret and not secret:
        raise InvalidInput(lazy_gettext("{template} needs a secret: your API key from this provider.", template=template.name))
    return create_channel(
        name,
        template.dialect,
        base_url or template.base_url,
        secret,
        secret_key=secret_key,
        settings={**template.channel_settings, **(settings or {})},
        origin=origin,
    )


def draft_models(channel_name: str, *, credits_per_usd: int, markup_percent: int = 0, origin: Origin) -> DraftResult:
    """Add the known models of a channel's provider to the catalog as drafts, at list price plus a markup.

    A draft is a disabled model, which is not served until it is published. Models that are in the catalog do not change.
    """
    check_integer("markup (percent)", markup_percent, 0, MAX_MARKUP_PERCENT)
    channel = find_channel(channel_name)
    made, kept = [], []
    for model in known_models(channel):
        if AIModel.get_or_none(AIModel.id == model.id) is not None:
            kept.append(model.id)
            continue
        create_known_model(
            channel.name,
            model,
            credits_per_usd=credits_per_usd,
            markup_percent=markup_percent,
            status="disabled",
            origin=origin,
        )
        made.append(model.id)
    return DraftResult(made, kept)


def draft_listed_models(channel_name: str, names: Sequence[str], *, origin: Origin) -> DraftResult:
    """Add models from a provider's model list to the catalog as drafts, under the provider's names and without a price.

    Drafts are not served until staff set a price and enable them. Names that are not valid ids are skipped; models that are in
    the catalog do not change.
    """
    with transaction():
        channel = find_channel(channel_name)
        usable = [name for name in names if is_valid_model_id(name)]
        known = {row.id for row in AIModel.select(AIModel.id).where(AIModel.id.in_(usable))}
        made = [name for name in usable if name not in known]
        owner = str((channel.settings or {}).get("provider") or "yout")
        for name in made:
            AIModel.create(id=name, status="disabled", owned_by=owner)
            ChannelModel.create(channel=channel, model=name, upstream_model=name)
        if made:
            record_audit_entry(origin, "model.import", channel.name, after={"models": made})
            bump_catalog_version()
        return DraftResult(made, [name for name in usable if name in known])


def create_known_model(
    channel_name: str,
    model: KnownModel,
    *,
    credits_per_usd: int,
    markup_percent: int = 0,
    status: str = "active",
    origin: Origin,
) -> AIModel:
    """Add a known model to the catalog, at list price plus a markup (rounded up). The list price is stored as our cost.

    Raises `InvalidInput` if the model has no list price.
    """
    image = "+image" if "vision" in model.tags else ""
    audio = "+audio" if "audio" in model.tags else ""
    with transaction():
        channel = find_channel(channel_name)
        details = ModelDetails(
            owned_by=str(channel.settings.get("provider") or "yout"),
            context_window=model.context_window,
            max_output_tokens=model.max_output_tokens,
            capabilities=model.tags,
            modality=f"text{image}{audio}->text",
        )
        price = _list_price(channel, model)
        rates = list_rates([price], credits_per_usd, markup_percent=markup_percent)
        upstream = model.upstream or model.id
        made = create_model(model.id, channel_name, rates, details, upstream_model=upstream, status=status, origin=origin)
        route = (ChannelModel.model == made) & (ChannelModel.channel == channel)
        costs = list_costs(price, credits_per_usd)
        ChannelModel.update(**costs.columns(), costs_listed=True).where(route).execute()
        return made


def publish_model(model_id: str, *, origin: Origin) -> AIModel:
    """Publish a draft at its current price."""
    return set_model_status(model_id, "active", origin=origin)


def known_models(channel: Channel) -> tuple[KnownModel, ...]:
    """Return the known models of a channel's provider. Raises `InvalidInput` if no template, or one without models, matches."""
    template = TEMPLATES.get(str((channel.settings or {}).get("provider", "")))
    if template is None:
        raise InvalidInput(
            lazy_gettext(
                "The channel {channel!r} matches no template; its setting `provider` does not name one.", channel=channel.name
            )
        )
    if not template.models:
        raise InvalidInput(
            lazy_gettext("No models of {template} are known. Add yours with `yout model create`.", template=template.name)
        )
    return template.models


def known_model(channel: Channel, model_id: str) -> KnownModel:
    """Return a known model by its id or the provider's name. Raises `NotFound`."""
    for model in known_models(channel):
        if model_id in (model.id, model.upstream):
            return model
    raise NotFound(
        lazy_gettext(
            "No known model {model_id!r} of this channel's provider. Add all known models with `yout channel drafts`.",
            model_id=model_id,
        )
    )


def _list_price(channel: Channel, model: KnownModel) -> ListPrice:
    """Return the list price. Audio is charged as input if the list price has no rate for it."""
    template = TEMPLATES[channel.settings["provider"]]
    try:
        at = datetime.fromtimestamp(now_ms() / 1000, UTC)
        price = find_list_price(template.base_url, template.id, model.upstream or model.id, at)
    except NotFound as error:
        raise InvalidInput(lazy_gettext("The price of {model} is not known. {error}", model=model.id, error=error)) from None
    if "audio" in model.tags and "audio_input" not in price.rates:
        price = price._replace(rates={**price.rates, "audio_input": price.rates["input"]})
    return price
