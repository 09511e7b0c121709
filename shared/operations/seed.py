"""Seeds the catalog with the embedded models and their channel, so that a new installation works at once."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, NamedTuple

from shared.core.settings import Settings
from shared.models import AIModel, AuditEntry, Channel, ChannelModel
from shared.operations.audit import Origin
from shared.operations.catalog import create_channel, create_model, is_alias, set_model_status, update_channel
from shared.operations.model_details import ModelDetails
from shared.operations.prices import Rates

ACTOR = "seed"
ORIGIN = Origin(ACTOR)
LOCAL_CHANNEL = "local"
CHAT_MODEL = "smollm2-135m-instruct"
_CHANNEL_SETTINGS = {"provider": "local", "data_collection": "deny", "cancel": "free"}
_EMBEDDED_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/v1")


class LocalModel(NamedTuple):
    """An embedded model's initial catalog entry.

    Prices in credits: per 1,000 tokens, per image, per 5 seconds of video, per 1,000 characters of speech. They are similar to
    those of providers, so that trials show realistic costs. Visitors can use `free` models too, within their daily allowance.
    """

    id: str
    rates: Rates
    details: ModelDetails


LOCAL_MODELS = (
    LocalModel(
        CHAT_MODEL,
        Rates(input=10, output=20),
        ModelDetails(
            "Tiny local demonstration model (SmolLM2, 135 million parameters, 4 bits each). Its answers are often wrong.",
            context_window=4_096,
            max_output_tokens=2_048,
            capabilities=("json_mode", "structured_output", "logprobs"),
            free=True,
        ),
    ),
    LocalModel(
        "demo-echo",
        Rates(input=10, output=20),
        ModelDetails(
            "Deterministic stand-in without a model: it repeats the last message and counts exactly. For trying out a client.",
            context_window=100_000,
            max_output_tokens=10_000,
            capabilities=("tools", "json_mode", "structured_output", "test"),  # the chat does not offer models for tests
            free=True,
        ),
    ),
    LocalModel(
        "all-minilm-l6-v2",
        Rates(input=20),
        ModelDetails(
            "Small sentence embedding model for English (384 dimensions, 8 bits), made for texts up to about 256 tokens.",
            kind="embedding",
            context_window=512,
        ),
    ),
    LocalModel(
        "demo-image",
        Rates(per_call=40_000),
        ModelDetails(
            "Demonstration images without a model: a landscape in colors that follow some words of the prompt, labeled as"
            " a demo.",
            kind="image",
            capabilities=("image",),
        ),
    ),
    LocalModel(
        "demo-video",
        Rates(per_5_seconds=1_200_000),
        ModelDetails(
            "Demonstration videos without a model: a moving landscape, up to 20 seconds, without sound, labeled as a demo.",
            kind="video",
            capabilities=("video",),
        ),
    ),
    LocalModel(
        "demo-speech",
        Rates(per_1k_characters=15_000),
        ModelDetails(
            "Robotic demonstration speech by the synthesizer eSpeak NG, in English and some other languages.",
            kind="speech",
            capabilities=("speech",),
        ),
    ),
)


def sync_local_models(settings: Settings, served: Collection[str]) -> list[str]:
    """Add the embedded models that are `served`, disable the others, and return the names of what was added.

    Safe to run at every start. Changes by staff are kept: a model that they disabled or added to another channel is not changed;
    a deleted one is added again. A model whose id is now an alias is left alone. The base URL of the channel `local` follows the
    port, and its settings follow this version, unless staff changed them.
    """
    selected = [model for model in LOCAL_MODELS if model.id in served]
    added = _seed_channel(settings) if selected else []
    for model in selected:
        if AIModel.get_or_none(AIModel.id == model.id) is None and not is_alias(model.id):
            create_model(model.id, LOCAL_CHANNEL, model.rates, model.details, origin=ORIGIN)
            added.append(model.id)
    for model in LOCAL_MODELS:
        _sync_status(model.id, model.id in served)
    return added


def _sync_status(id: str, served: bool) -> None:
    row = AIModel.get_or_none(AIModel.id == id)
    if row is None:
        return
    if served and row.status == "disabled" and _disabled_here(id) and not is_alias(id):
        set_model_status(id, "active", origin=ORIGIN)
    if not served and row.status == "active" and _served_here_only(id):
        set_model_status(id, "disabled", origin=ORIGIN)


def _disabled_here(id: str) -> bool:
    """Return whether the model's status was last changed by this module."""
    changes = AuditEntry.select().where((AuditEntry.target == id) & (AuditEntry.action == "model.status"))
    last = changes.order_by(AuditEntry.created_at.desc(), AuditEntry.id.desc()).first()
    return last is not None and last.actor == ACTOR


def _served_here_only(id: str) -> bool:
    """Return whether only the embedded channel serves the model."""
    links = ChannelModel.select(ChannelModel, Channel).join(Channel).where(ChannelModel.model == id)
    return all(link.channel.name == LOCAL_CHANNEL and _EMBEDDED_ADDRESS.fullmatch(link.channel.base_url) for link in links)


def _seed_channel(settings: Settings) -> list[str]:
    channel = Channel.get_or_none(Channel.name == LOCAL_CHANNEL)
    if channel is None:
        create_channel(
            LOCAL_CHANNEL,
            "openai",
            settings.local_base_url,
            "",
            secret_key=settings.secret_key,
            settings={**_CHANNEL_SETTINGS},
            origin=ORIGIN,
        )
        return [LOCAL_CHANNEL]
    if _EMBEDDED_ADDRESS.fullmatch(channel.base_url):
        new = {**channel.settings, **_settings_to_update()}
        if channel.base_url != settings.local_base_url or new != channel.settings:
            update_channel(LOCAL_CHANNEL, base_url=settings.local_base_url, settings=new, origin=ORIGIN)
    return []


def _settings_to_update() -> dict[str, Any]:
    """Return the settings of this version that staff never changed; empty for a channel that staff created."""
    entries = AuditEntry.select().where((AuditEntry.target == LOCAL_CHANNEL) & (AuditEntry.actor != ACTOR))
    changed: set[str] = set()
    for entry in entries.where(AuditEntry.action << ("channel.create", "channel.update")):
        if entry.action == "channel.create":
            return {}
        before, after = ((values or {}).get("settings") or {} for values in (entry.before, entry.after))
        changed |= {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    return {name: value for name, value in _CHANNEL_SETTINGS.items() if name not in changed}
