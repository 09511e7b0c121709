"""Reads price lists from the database, each with its rates, in one query."""

from __future__ import annotations

from itertools import groupby
from typing import Any
from uuid import UUID

from peewee import JOIN, Expression

from shared.billing.rates import COLUMNS, PriceList, Rate
from shared.models import Price, PriceDraft, PriceRate


def read_prices(*conditions: Expression) -> list[tuple[str, PriceList]]:
    """Return the prices that meet the conditions, with their models' ids, sorted by effective date, latest first."""
    columns = [getattr(Price, name) for name in COLUMNS]
    rows: Any = (
        Price.select(Price.model, *columns, PriceRate.kind, PriceRate.above_tokens, PriceRate.credits)
        .join(PriceRate, JOIN.LEFT_OUTER, on=(PriceRate.price == Price.id))
        .order_by(Price.effective_at.desc(), Price.id, PriceRate.kind, PriceRate.above_tokens)
        .tuples()
    )
    if conditions:
        rows = rows.where(*conditions)
    width = 1 + len(columns)
    return [
        (head[0], PriceList(*head[1:])._replace(rates=tuple(Rate(*row[width:]) for row in group if row[width] is not None)))
        for head, group in groupby(rows, key=lambda row: row[:width])
    ]


def read_price(id: UUID) -> PriceList | None:
    """Return the price with this id, or None if it was deleted."""
    return next((price for _, price in read_prices(Price.id == id)), None)


def further_rates(row: Price | PriceDraft | PriceList) -> tuple[Rate, ...]:
    """Return the rates beyond the columns of a price. Those of a `Price` are read from the table `price_rate`."""
    if not isinstance(row, Price):
        return tuple(Rate(*rate) for rate in row.rates)
    rows = PriceRate.select().where(PriceRate.price == row).order_by(PriceRate.kind, PriceRate.above_tokens)
    return tuple(Rate(rate.kind, rate.above_tokens, rate.credits) for rate in rows)


def price_of(row: Price | PriceDraft) -> PriceList:
    """Return a row as a price list. The id and the effective date of a draft are 0."""
    values = {name: getattr(row, name) for name in COLUMNS if name not in ("id", "effective_at")}
    return PriceList(getattr(row, "id", UUID(int=0)), getattr(row, "effective_at", 0), **values)._replace(
        rates=further_rates(row)
    )
