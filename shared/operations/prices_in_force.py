"""The price that a call begins with now."""

from __future__ import annotations

from typing import Any

from shared.clock import now_ms
from shared.models import Price


def price_in_force(model_id: str) -> Price | None:
    """The price of this model at this moment, None before the first."""
    found: Price | None = (
        Price.select()
        .where((Price.model == model_id) & (Price.effective_at <= now_ms()))
        .order_by(Price.effective_at.desc())
        .first()
    )
    return found


def prices_in_force() -> dict[str, Price]:
    """The same of every model that has one, by its id. Rows come oldest first, so that the newest stays."""
    rows: Any = Price.select().where(Price.effective_at <= now_ms()).order_by(Price.effective_at)
    return {row.model_id: row for row in rows}
