"""The catalog: models, and which channels serve them.

Functions for channels and prices, defined in `channels.py` and `prices.py`, can also be imported from here. Each change
increments `CatalogVersion`, so edge processes reload their snapshot within a second.
"""

from __future__ import annotations

from dataclasses import asdict

import peewee

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.models import ENABLED_STATUSES, MEDIA_KINDS, AIModel, ChannelModel, ModelAlias
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.catalog_version import bump_catalog_version
from shared.operations.channels import (
    create_channel,
    find_channel,
    set_channel_status,
    update_channel,
    update_channel_secret,
)
from shared.operations.model_details import DEFAULT_DETAILS, ModelDetails
from shared.operations.prices import MAX_PRICE, Rates, insert_price, set_price
from shared.operations.validation import check_choice, check_integer
from shared.text.translation import lazy_gettext

__all__ = [
    "MAX_PRICE",
    "ModelDetails",
    "Rates",
    "add_channel_to_model",
    "bump_catalog_version",
    "create_channel",
    "create_model",
    "find_channel",
    "find_model",
    "set_channel_status",
    "set_model_status",
    "set_price",
    "update_channel",
    "update_channel_secret",
    "update_model",
]


def find_model(model_id: str) -> AIModel:
    """Return the model with this id. Raises `NotFound`."""
    model = AIModel.get_or_none(AIModel.id == model_id)
    if model is None:
        raise NotFound(
            lazy_gettext("No model {model_id!r} in the catalog. Create it with `yout model create`.", model_id=model_id)
        )
    return model


def create_model(
    id: str,
    channel_name: str,
    rates: Rates,
    details: ModelDetails = DEFAULT_DETAILS,
    *,
    upstream_model: str | None = None,
    status: str = "active",
    origin: Origin,
) -> AIModel:
    """Create a model with a price from now on and one channel. With the status `disabled` it is a draft.

    `upstream_model` is the provider's name, by default `id`. Raises `InvalidInput` for invalid values, or if the id is taken by a
    model or, for an active one, by an alias.
    """
    check_own_model_id(id)
    rates.check(details.free)
    _check_media_rates(details.kind, rates)
    values = {"id": id, **details.columns(), "status": check_choice("status", status, ENABLED_STATUSES)}
    with transaction():
        channel = find_channel(channel_name)
        if status == "active":
            _check_no_alias(id)
        try:
            model = AIModel.create(**values)
        except peewee.IntegrityError:
            raise InvalidInput(
                lazy_gettext("A model {id!r} already exists. Change its price or channels in the console.", id=id)
            ) from None
        insert_price(id, rates, now_ms())
        ChannelModel.create(channel=channel, model=model, upstream_model=check_model_id(upstream_model or id))
        prices = {name: value for name, value in asdict(rates).items() if value}
        after = {"channel": channel.name, "kind": details.kind, "free": details.free, "status": status, **prices}
        record_audit_entry(origin, "model.create", id, after=after)
        bump_catalog_version()
        return model


def update_model(model_id: str, details: ModelDetails, *, origin: Origin) -> AIModel:
    """Change a model's catalog entry. Raises `NotFound`, and `InvalidInput` for invalid values or another kind."""
    values = details.columns()
    with transaction():
        model = find_model(model_id)
        if model.kind != details.kind:
            raise InvalidInput(lazy_gettext("The kind of a model cannot be changed. Create another model."))
        before = {name: getattr(model, name) for name in values}
        changed = {name: value for name, value in values.items() if before[name] != value}
        if changed:
            AIModel.update({**changed, "updated_at": now_ms()}).where(AIModel.id == model_id).execute()
            record_audit_entry(origin, "model.update", model_id, before={name: before[name] for name in changed}, after=changed)
            bump_catalog_version()
        return AIModel.get_by_id(model_id)


def add_channel_to_model(
    model_id: str,
    channel_name: str,
    upstream_model: str | None = None,
    priority: int = 0,
    weight: int = 1,
    *,
    origin: Origin,
) -> ChannelModel:
    """Add a channel to a model. Routes with lower `priority` are tried first; `weight` splits calls among equal ones."""
    upstream_model = check_model_id(upstream_model or model_id)
    check_integer("priority", priority, -1_000, 1_000)
    check_integer("weight", weight, 1, 1_000_000)
    with transaction():
        model, channel = find_model(model_id), find_channel(channel_name)
        values = {"upstream_model": upstream_model, "priority": priority, "weight": weight}
        try:
            row = ChannelModel.create(channel=channel, model=model, **values)
        except peewee.IntegrityError:
            raise InvalidInput(
                lazy_gettext(
                    "The channel {channel!r} already serves {model_id!r}. Change it in the console.",
                    channel=channel.name,
                    model_id=model_id,
                )
            ) from None
        record_audit_entry(origin, "model.channel", model_id, after={"channel": channel.name, **values})
        bump_catalog_version()
        return row


def set_model_status(model_id: str, status: str, *, origin: Origin) -> AIModel:
    """Enable a model (`active`) or remove it from the catalog (`disabled`). Its history stays.

    Raises `NotFound`, and `InvalidInput` if an alias has the name of a model to enable.
    """
    check_choice("status", status, ENABLED_STATUSES)
    with transaction():
        model = find_model(model_id)
        if model.status != status:
            if status == "active":
                _check_no_alias(model_id)
            record_audit_entry(origin, "model.status", model_id, before={"status": model.status}, after={"status": status})
            model.status, model.updated_at = status, now_ms()
            model.save(only=[AIModel.status, AIModel.updated_at])
            bump_catalog_version()
        return model


def is_alias(name: str) -> bool:
    """Return whether `name` is an alias."""
    return bool(ModelAlias.select().where(ModelAlias.name == name).exists())


def _check_no_alias(model_id: str) -> None:
    if is_alias(model_id):
        raise InvalidInput(lazy_gettext("{model_id!r} is an alias. Delete it first with `yout alias delete`.", model_id=model_id))


def check_model_id(text: str) -> str:
    """Validate a model name, ours or a provider's: 1 to 200 printable ASCII characters without spaces."""
    if not is_valid_model_id(text):
        raise InvalidInput(
            lazy_gettext(
                "The model id must be 1 to 200 printable ASCII characters without spaces, not {text!r}.", text=text[:220]
            )
        )
    return text


def check_own_model_id(text: str) -> str:
    """Validate the id of a model or alias of the catalog, which is part of URLs. It may contain slashes, such as `org/model`."""
    check_model_id(text)
    if any(part in ("", ".", "..") for part in text.split("/")):
        raise InvalidInput(
            lazy_gettext("No part of the model id between slashes may be empty, '.' or '..', not {text!r}.", text=text)
        )
    return text


def is_valid_model_id(text: str) -> bool:
    """Return whether `text` is a valid model name."""
    return 0 < len(text) <= 200 and text.isascii() and text.isprintable() and " " not in text


def _check_media_rates(kind: str, rates: Rates) -> None:
    """Raise `InvalidInput` for a price that does not apply to the kind: the model would be free by mistake."""
    if rates.per_5_seconds is not None and kind != "video":
        raise InvalidInput(lazy_gettext("A price per 5 seconds is only for video models. Set a different price."))
    if rates.per_1k_characters is not None and kind != "speech":
        raise InvalidInput(lazy_gettext("A price per 1,000 characters is only for speech models. Set a different price."))
    if kind in MEDIA_KINDS and (rates.input or rates.output):
        raise InvalidInput(
            lazy_gettext(
                "A model of kind {kind} is not billed by tokens. Set a price per call, per 5 seconds or per 1,000 characters.",
                kind=kind,
            )
        )
