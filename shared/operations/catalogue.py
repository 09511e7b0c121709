"""The catalogue: models, and which channels serve them.

Channels are in `channels.py` and prices in `prices.py` beside this file; their functions are offered here too, so that one
import gives everything about the catalogue. Every change raises the row of `CatalogVersion`, by which edges know within a second
that their snapshot is old.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import peewee

from shared.clock import now_ms
from shared.database import transaction
from shared.errors import InvalidInput, NotFound
from shared.models import MEDIA_KINDS, MODEL_KINDS, SWITCH, AIModel, ChannelModel
from shared.operations.audit import Origin, record
from shared.operations.channels import (
    create_channel,
    find_channel,
    set_channel_status,
    update_channel,
    update_channel_secret,
)
from shared.operations.prices import LARGEST_PRICE, Rates, insert_price, set_price
from shared.operations.validation import check_choice, check_text, check_whole
from shared.operations.version import bump_catalog_version

__all__ = [
    "LARGEST_PRICE",
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

LONGEST_WINDOW = 100_000_000  # tokens
MODALITIES = {
    "chat": "text->text",
    "embedding": "text->embedding",
    "image": "text->image",
    "video": "text->video",
    "speech": "text->speech",
    "moderation": "text->scores",
    "transcription": "audio->text",
}


def find_model(model_id: str) -> AIModel:
    """The model with this public id. Raises `NotFound`."""
    model = AIModel.get_or_none(AIModel.id == model_id)
    if model is None:
        raise NotFound(f"No model {model_id!r} in the catalogue; `yout model create` makes one.")
    return model


def create_model(
    id: str,
    channel_name: str,
    *,
    upstream_model: str | None = None,
    input: int = 0,
    output: int = 0,
    cached_input: int | None = None,
    per_call: int = 0,
    minimum: int = 10,
    per_5_seconds: int | None = None,
    per_1k_characters: int | None = None,
    cache_write: int | None = None,
    kind: str = "chat",
    context_window: int | None = None,
    max_output_tokens: int | None = None,
    free: bool = False,
    description: str = "",
    owned_by: str = "yout",
    capabilities: Sequence[str] = (),
    modality: str | None = None,
    status: str = "active",
    actor: str,
    address: str = "",
) -> AIModel:
    """Put a model into the catalogue, priced from now on and served by one channel; `disabled`, it is a draft.

    Prices are whole credits per 1,000 tokens, or per call, and of media per 5 seconds or 1,000 characters; zero throughout is
    allowed for a `free` model only. `upstream_model`
    is the vendor's name for it, by default `id`; `modality` (such as `text+image->text`) follows from the kind by default.
    """
    check_model_id(id)
    rates = Rates(input, output, cached_input, per_call, minimum, per_5_seconds, per_1k_characters, cache_write)
    rates.check(free)
    _check_media_rates(kind, rates)
    values = {
        "id": id,
        "kind": check_choice("kind", kind, MODEL_KINDS),
        "description": check_text("description", description, 2_000, empty=True),
        "owned_by": check_text("owner", owned_by, 100),
        "context_window": _check_tokens("context window", context_window),
        "max_output_tokens": _check_tokens("output limit", max_output_tokens),
        "is_free": free,
        "capabilities": [check_text("capability", tag, 40) for tag in capabilities],
        "modality": check_text("modality", modality or MODALITIES[kind], 64),
        "status": check_choice("status", status, SWITCH),
    }
    with transaction():
        channel = find_channel(channel_name)
        try:
            model = AIModel.create(**values)
        except peewee.IntegrityError:
            raise InvalidInput(f"A model {id!r} exists already; change its price or channels in the console.") from None
        insert_price(id, rates, now_ms())
        ChannelModel.create(channel=channel, model=model, upstream_model=check_model_id(upstream_model or id))
        prices = {name: value for name, value in asdict(rates).items() if value}
        after = {"channel": channel.name, "kind": kind, "free": free, "status": status, **prices}
        record(Origin(actor, address), "model.create", id, after=after)
        bump_catalog_version()
        return model


def update_model(
    model_id: str,
    *,
    description: str,
    owned_by: str,
    context_window: int | None,
    max_output_tokens: int | None,
    capabilities: Sequence[str],
    modality: str,
    free: bool,
    actor: str,
    address: str = "",
) -> AIModel:
    """Change what the catalogue says of a model. Its id, kind and price are other matters."""
    values = {
        "description": check_text("description", description, 2_000, empty=True),
        "owned_by": check_text("owner", owned_by, 100),
        "context_window": _check_tokens("context window", context_window),
        "max_output_tokens": _check_tokens("output limit", max_output_tokens),
        "capabilities": [check_text("capability", tag, 40) for tag in capabilities],
        "modality": check_text("modality", modality, 64),
        "is_free": free,
    }
    with transaction():
        model = find_model(model_id)
        before = {name: getattr(model, name) for name in values}
        changed = {name: value for name, value in values.items() if before[name] != value}
        if changed:
            AIModel.update({**changed, "updated_at": now_ms()}).where(AIModel.id == model_id).execute()
            record(
                Origin(actor, address), "model.update", model_id, before={name: before[name] for name in changed}, after=changed
            )
            bump_catalog_version()
        return AIModel.get_by_id(model_id)


def add_channel_to_model(
    model_id: str,
    channel_name: str,
    upstream_model: str | None = None,
    priority: int = 0,
    weight: int = 1,
    *,
    actor: str,
    address: str = "",
) -> ChannelModel:
    """Let one more channel serve a model: a lower `priority` is tried first, `weight` shares out equals."""
    upstream_model = check_model_id(upstream_model or model_id)
    check_whole("priority", priority, -1_000, 1_000)
    check_whole("weight", weight, 1, 1_000_000)
    with transaction():
        model, channel = find_model(model_id), find_channel(channel_name)
        values = {"upstream_model": upstream_model, "priority": priority, "weight": weight}
        try:
            row = ChannelModel.create(channel=channel, model=model, **values)
        except peewee.IntegrityError:
            raise InvalidInput(f"The channel {channel.name!r} serves {model_id!r} already; change it in the console.") from None
        record(Origin(actor, address), "model.channel", model_id, after={"channel": channel.name, **values})
        bump_catalog_version()
        return row


def set_model_status(model_id: str, status: str, *, actor: str, address: str = "") -> AIModel:
    """Offer a model (`active`) or take it out of the catalogue (`disabled`). Its history stays."""
    check_choice("status", status, SWITCH)
    with transaction():
        model = find_model(model_id)
        if model.status != status:
            record(Origin(actor, address), "model.status", model_id, before={"status": model.status}, after={"status": status})
            model.status, model.updated_at = status, now_ms()
            model.save(only=[AIModel.status, AIModel.updated_at])
            bump_catalog_version()
        return model


def check_model_id(text: str) -> str:
    """A model's name, ours or a vendor's: 1 to 200 printable ASCII characters without a space."""
    if not usable_model_id(text):
        raise InvalidInput(f"The model id must be 1 to 200 printable ASCII characters without spaces, not {text[:220]!r}.")
    return text


def usable_model_id(text: str) -> bool:
    """Whether `text` can name a model."""
    return 0 < len(text) <= 200 and text.isascii() and text.isprintable() and " " not in text


def _check_media_rates(kind: str, rates: Rates) -> None:
    """A price that the kind is never charged by would be a free model by mistake."""
    if rates.per_5_seconds is not None and kind != "video":
        raise InvalidInput("A price per 5 seconds is for video models only; give the model's price in another way.")
    if rates.per_1k_characters is not None and kind != "speech":
        raise InvalidInput("A price per 1,000 characters is for speech models only; give the model's price in another way.")
    if kind in MEDIA_KINDS and (rates.input or rates.output):
        raise InvalidInput(
            f"A model of kind {kind} isn't charged by tokens; give a price per call, per 5 seconds or per character."
        )


def _check_tokens(what: str, tokens: int | None) -> int | None:
    return None if tokens is None else check_whole(f"{what} (tokens)", tokens, 1, LONGEST_WINDOW)
