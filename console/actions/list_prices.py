"""Publishes or drafts prices that are computed from list prices."""

from __future__ import annotations

from flask import current_app

from console.actions.origin import origin
from console.forms.list_prices import ListPricesForm
from shared.core.errors import InvalidInput
from shared.core.formats import format_credits
from shared.operations.price_sync import Comparisons, compare_prices, sync_prices


def compare(markup_percent: int) -> Comparisons:
    """Compare all prices with the list prices plus a markup."""
    return compare_prices(current_app.extensions["yout_settings"].credits_per_usd, markup_percent=markup_percent)


def sync(form: ListPricesForm) -> str:
    """Publish or draft the selected prices. Raises `InvalidInput` if one changed since the page was shown."""
    selected = set(form.models.data or ())
    if not selected:
        raise InvalidInput("Select at least one model.")
    shown = [row for row in compare(form.markup.required_value()).known if row.token in selected]
    if len(shown) != len(selected):
        raise InvalidInput(
            "A selected price has changed since you opened this page. Nothing was published. Review the prices and submit again."
        )
    synced = sync_prices(shown, publish=form.publish.data, origin=origin())
    done = [price for price in synced if price.status != "refused"]
    refused = "".join(f" {price.comparison.model} was refused: {price.reason}" for price in synced if price.status == "refused")
    if not done:
        raise InvalidInput(refused.strip())
    number = f"{format_credits(len(done))} {'price' if len(done) == 1 else 'prices'}"
    if form.publish.data:
        return f"{number} published. Calls already in progress keep their price.{refused}"
    return (
        f"{number} saved as {'a draft' if len(done) == 1 else 'drafts'}. A draft takes effect only when you publish it.{refused}"
    )
