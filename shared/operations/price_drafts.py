"""Price drafts: save, compare with the price in force, publish now or from a later time, or discard."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple
from uuid import UUID

from shared.core.clock import now_ms
from shared.core.database import is_sqlite, transaction
from shared.core.errors import InvalidInput, NotFound
from shared.models import AIModel, Price, PriceDraft
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.prices import COLUMNS, Rates, format_rate, rate_columns, rates_of, set_price
from shared.operations.prices_in_force import current_price
from shared.text.translation import lazy_gettext


def find_draft(model_id: str) -> PriceDraft | None:
    """Return the model's draft, or None."""
    found: PriceDraft | None = PriceDraft.get_or_none(PriceDraft.model == model_id)
    return found


def save_draft(model_id: str, rates: Rates, *, origin: Origin) -> PriceDraft:
    """Save a draft, replacing an earlier one. Drafts are not charged.

    Raises `NotFound` for an unknown model, and `InvalidInput` for a price out of range.
    """
    with transaction():
        model = AIModel.get_or_none(AIModel.id == model_id)
        if model is None:
            raise NotFound(lazy_gettext("No model {model_id!r} in the catalog.", model_id=model_id))
        rates.check(model.is_free)
        former = find_draft(model_id)
        values: dict[str, Any] = {
            **rate_columns(rates),
            "rates": [list(rate) for rate in rates.rates],
            "author": origin.actor[:254],
            "updated_at": now_ms(),
        }
        if former is None:
            PriceDraft.create(model=model_id, **values)
        else:
            PriceDraft.update(values).where(PriceDraft.model == model_id).execute()
        before = asdict(rates_of(former)) if former else None
        record_audit_entry(origin, "price.draft", model_id, before=before, after=asdict(rates))
        return PriceDraft.get(PriceDraft.model == model_id)


class ReviewedPrice(NamedTuple):
    """The draft's rates (see `written`) and the id of the price in force, if any, as shown to the publisher."""

    draft: str
    price: UUID | None


def rates_line(draft: PriceDraft) -> str:
    """Return the rates of a draft as one line, for comparison."""
    rates = rates_of(draft)
    columns = [f"{name}={getattr(rates, name)}" for name in COLUMNS if getattr(rates, name) is not None]
    return " ".join([*columns, *map(format_rate, rates.rates)])


def publish_draft(model_id: str, reviewed: ReviewedPrice, effective_at: int | None = None, *, origin: Origin) -> Price:
    """Publish a draft as a price, effective now or from `effective_at` (ms UTC). Running calls keep their price.

    Raises `NotFound` if there is no draft. Raises `InvalidInput` for a past time, or if the draft or the price in force changed
    since the page was shown, through a second click or a colleague.
    """
    with transaction():
        if not is_sqlite():  # SQLite's transaction is a lock
            AIModel.select().where(AIModel.id == model_id).for_update().first()
        draft, current = find_draft(model_id), current_price(model_id)
        if draft is None:
            raise NotFound(
                lazy_gettext("There is no price draft for {model_id!r}. It was published or discarded.", model_id=model_id)
            )
        if reviewed != (rates_line(draft), current.id if current else None):
            raise InvalidInput(
                lazy_gettext(
                    "The price has changed since you opened this page. Nothing was published. Review it and submit again."
                )
            )
        PriceDraft.delete().where(PriceDraft.model == model_id).execute()
        return set_price(model_id, rates_of(draft), effective_at, origin=origin)


def discard_draft(model_id: str, *, origin: Origin) -> None:
    """Discard a draft, if there is one."""
    with transaction():
        if PriceDraft.delete().where(PriceDraft.model == model_id).execute():
            record_audit_entry(origin, "price.draft", model_id, after={"discarded": True})
