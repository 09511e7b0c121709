"""Publishes or drafts prices that are computed from list prices."""

from __future__ import annotations

from flask import current_app

from console.actions.origin import origin
from console.forms.list_prices import ListPricesForm
from shared.core.errors import InvalidInput
from shared.core.formats import format_credits
from shared.operations.price_sync import Comparisons, compare_prices, sync_prices
from shared.text.translation import gettext, ngettext


def compare(markup_percent: int) -> Comparisons:
    """Compare all prices with the list prices plus a markup."""
    return compare_prices(current_app.extensions["yout_settings"].credits_per_usd, markup_percent=markup_percent)


def sync(form: ListPricesForm) -> str:
    """Publish or draft the selected prices. Raises `InvalidInput` if one changed since the page was shown."""
    selected = set(form.models.data or ())
    if not selected:
        raise InvalidInput(gettext("Select at least one model."))
    shown = [row for row in compare(form.markup.required_value()).known if row.token in selected]
    if len(shown) != len(selected):
        raise InvalidInput(
            gettext(
                "A selected price has changed since you opened this page. Nothing was published."
                " Review the prices and submit again."
            )
        )
    synced = sync_prices(shown, publish=form.publish.data, origin=origin())
    done = [price for price in synced if price.status != "refused"]
    refused = " ".join(
        gettext("{model} was refused: {reason}", model=price.comparison.model, reason=price.reason)
        for price in synced
        if price.status == "refused"
    )
    if not done:
        raise InvalidInput(refused)
    return f"{_published(len(done)) if form.publish.data else _drafted(len(done))} {refused}".rstrip()


def _published(count: int) -> str:
    return ngettext(
        "{number} price published. Calls already in progress keep their price.",
        "{number} prices published. Calls already in progress keep their price.",
        count,
        number=format_credits(count),
    )


def _drafted(count: int) -> str:
    return ngettext(
        "{number} price saved as a draft. A draft takes effect only when you publish it.",
        "{number} prices saved as drafts. A draft takes effect only when you publish it.",
        count,
        number=format_credits(count),
    )
