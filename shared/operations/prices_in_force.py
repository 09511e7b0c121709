"""Looks up current prices."""

from __future__ import annotations

from typing import Any

from shared.core.clock import now_ms
from shared.models import Price


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
