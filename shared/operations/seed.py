"""Seed: the embedded provider as one channel with its models, so that a fresh installation can answer at once."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from shared.models import AIModel, Channel
from shared.operations.catalogue import create_channel, create_model, update_channel
from shared.settings import Settings

ACTOR = "seed"
LOCAL_CHANNEL = "local"
CHAT_MODEL = "smollm2-135m-instruct"
_EMBEDDED_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/v1")


class LocalModel(NamedTuple):
    """A model of the embedded provider, as it is first put into the catalogue. Prices in credits per 1,000 tokens."""

    id: str
    description: str
    context_window: int
    max_output_tokens: int
    capabilities: tuple[str, ...]
    input: int = 10
    output: int = 20


LOCAL_MODELS = (
    LocalModel(
        CHAT_MODEL,
        "Tiny local demonstration model (SmolLM2, 135 million parameters, 4 bits each). Its answers are often wrong.",
        context_window=4_096,
        max_output_tokens=2_048,
        capabilities=("json_mode", "structured_output", "logprobs"),
    ),
    LocalModel(
        "demo-echo",
        "Deterministic stand-in without a model: it repeats the last message and counts exactly. For trying out a client.",
        context_window=100_000,
        max_output_tokens=10_000,
        capabilities=("tools", "json_mode", "structured_output"),
    ),
)


def seed_catalogue(settings: Settings) -> list[str]:
    """Add what is missing of the embedded provider and give the names of what was added. Safe to run at every start.

    What staff changed stays. Only the address of the channel `local` follows `YOUT_LOCAL_PORT`, unless staff pointed it
    elsewhere. Staff who don't want a model disable it; a deleted one comes back.
    """
    added = _seed_channel(settings)
    for model in LOCAL_MODELS:
        if AIModel.get_or_none(AIModel.id == model.id) is None:
            values: dict[str, Any] = model._asdict()
            create_model(values.pop("id"), LOCAL_CHANNEL, **values, free=True, actor=ACTOR)
            added.append(model.id)
    return added


def _seed_channel(settings: Settings) -> list[str]:
    channel = Channel.get_or_none(Channel.name == LOCAL_CHANNEL)
    if channel is None:
        create_channel(LOCAL_CHANNEL, "openai", settings.local_base_url, "", secret_key=settings.secret_key, actor=ACTOR)
        return [LOCAL_CHANNEL]
    if channel.base_url != settings.local_base_url and _EMBEDDED_ADDRESS.fullmatch(channel.base_url):
        update_channel(LOCAL_CHANNEL, base_url=settings.local_base_url, actor=ACTOR)
    return []
