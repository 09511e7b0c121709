"""Looks up current prices."""

from __future__ import annotations

from typing import Any

from peewee import fn

from shared.billing.price_rows import read_prices
from shared.billing.rates import PriceList
from shared.core.clock import now_ms
from shared.models import AIModel, ChannelModel, Price


def current_price(model_id: str) -> Price | None:
    """Return the model's current price, or None if it has none yet."""
    found: Price | None = (
        Price.select()
        .where((Price.model == model_id) & (Price.effective_at <= now_ms()))
        .order_by(Price.effective_at.desc())
        .first()
    )
    return found


def current_prices() -> dict[str, Price]:
    """Return the current prices by model id."""
    rows: Any = Price.select().where(Price.effective_at <= now_ms()).order_by(Price.effective_at)
    return {row.model_id: row for row in rows}  # the latest row of a model comes last


def current_price_lists() -> dict[str, PriceList]:
    """Return the current prices by model id, with all rates."""
    latest: dict[str, PriceList] = {}
    for model_id, price in read_prices(Price.effective_at <= now_ms()):
        latest.setdefault(model_id, price)  # the latest one comes first
    return latest


def models_below_cost() -> set[str]:
    """Return the ids of enabled models, except free ones, whose price is below the cost of an enabled route."""
    earlier = Price.alias()
    latest = earlier.select(fn.MAX(earlier.effective_at)).where(
        (earlier.model_id == ChannelModel.model) & (earlier.effective_at <= now_ms())
    )
    rows: Any = (
        ChannelModel.select(ChannelModel.model)
        .join(AIModel)
        .switch(ChannelModel)
        .join(Price, on=(Price.model == ChannelModel.model))
        .where(
            (Price.effective_at == latest)
            & (AIModel.status == "active")
            & ~AIModel.is_free
            & (ChannelModel.status == "active")
            & (
                (ChannelModel.cost_per_1k_input > Price.credits_per_1k_input)
                | (ChannelModel.cost_per_1k_output > Price.credits_per_1k_output)
            )
        )
        .distinct()
        .tuples()
    )
    return {model_id for (model_id,) in rows}
