"""`/api/admin/prices/`: set prices of models, and list them with their history and future."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Blueprint

from edge.admin.models import ModelId
from edge.admin.price_fields import RATES, Rates, rates_document, rates_from
from edge.admin.route import AdminCall, Document, admin_route
from edge.http.api_spec import ID, PAGE, STRING, TIMESTAMP, described, page_of, response_schema
from edge.http.paging import split_page
from edge.http.time_fields import Time, parse_time
from shared.core.errors import NotFound
from shared.core.timestamps import format_timestamp
from shared.models import Price
from shared.operations.prices import set_price
from shared.text.translation import lazy_gettext

prices = Blueprint("admin_prices", __name__)

PRICE = response_schema(
    {
        "id": ID,
        "model": described(STRING, "Id of the model.", "gpt-4o-mini"),
        "effective_at": described(TIMESTAMP, "When the price takes effect; a later one replaces it."),
        **RATES,
        "created": TIMESTAMP,
    }
)


class NewPrice(Rates, kw_only=True):
    """A price of a model. Omitted rates are 0, or null where null is allowed: nothing is taken from the former price."""

    EXAMPLE = {"model": "gpt-4o-mini", "credits_per_1k_input": 150, "credits_per_1k_output": 600}

    model: Annotated[ModelId, Meta(description="Id of the model.")]
    effective_at: Annotated[Time | None, Meta(description="When the price takes effect, not in the past. Null: now.")] = None


@admin_route(
    prices,
    "GET",
    "/prices/",
    "prices:read",
    "List prices",
    returns=page_of("prices", PRICE),
    description="The prices in order of creation. The one in force is the latest whose `effective_at` has passed.",
    query={**PAGE, "model": described(STRING, "Only prices of this model.")},
)
def list_all(call: AdminCall) -> Document:
    """List prices."""
    limit, after = call.page
    query = Price.select().order_by(Price.id).limit(limit + 1)
    if after is not None:
        query = query.where(Price.id > after)
    if "model" in call.query:
        query = query.where(Price.model == call.query["model"])
    rows, last = split_page(list(query), limit)
    return {"prices": [price_document(row) for row in rows], "next": str(last.id) if last is not None else None}


@admin_route(
    prices,
    "POST",
    "/prices/",
    "prices:write",
    "Set a price",
    status=201,
    body=NewPrice,
    returns=PRICE,
    errors=(NotFound,),
    notes=lazy_gettext(
        "Prices never change: a new one replaces the one in force from its time on. Running calls keep their price."
    ),
)
def create(call: AdminCall) -> Document:
    """Set a model's price."""
    body = call.body
    effective_at = parse_time("effective_at", body.effective_at) if body.effective_at is not None else None
    return price_document(set_price(body.model, rates_from(body), effective_at, origin=call.origin))


@admin_route(prices, "GET", "/prices/<price_id>/", "prices:read", "Retrieve a price", path={"price_id": ID}, returns=PRICE)
def show(_: AdminCall, price_id: str) -> Document:
    """Return a price."""
    return price_document(_find(price_id))


def _find(price_id: str) -> Price:
    """Return the price with this id. Raises `NotFound`."""
    try:
        row: Price | None = Price.get_or_none(Price.id == UUID(price_id))
    except ValueError:
        row = None
    if row is None:
        raise NotFound("No such price.")
    return row


def price_document(row: Price) -> Document:
    """Return a price in the format of the API."""
    return {
        "id": str(row.id),
        "model": row.model.id,
        "effective_at": format_timestamp(row.effective_at),
        **rates_document(row),
        "created": format_timestamp(row.created_at),
    }
