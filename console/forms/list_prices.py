"""Forms for prices from list prices."""

from __future__ import annotations

from typing import Any

from wtforms import BooleanField, Form, SelectMultipleField, ValidationError

from console.forms.fields import SingleUseForm, WholeNumber
from shared.operations.price_sync import MAX_MARKUP_PERCENT
from shared.text.translation import gettext, lazy_gettext

DEFAULT_MARKUP_PERCENT = 20


def check_markup(_form: Any, field: Any) -> None:
    if field.data is not None and not 0 <= field.data <= MAX_MARKUP_PERCENT:
        raise ValidationError(gettext("Enter a percentage from 0 to {maximum}.", maximum=MAX_MARKUP_PERCENT))


class MarkupForm(Form):
    """The markup in the URL of the page, from which it computes new prices."""

    markup = WholeNumber(lazy_gettext("Markup on list price (%)"), validators=[check_markup])


class ListPricesForm(SingleUseForm):
    """The selected prices, as shown (`PriceComparison.token`), to publish or to save as drafts."""

    markup = WholeNumber(lazy_gettext("Markup on list price (%)"), validators=[check_markup])
    models = SelectMultipleField(lazy_gettext("Models"), validate_choice=False)
    publish = BooleanField(lazy_gettext("Publish"))


def valid_markup(form: MarkupForm | ListPricesForm) -> int:
    """Return the submitted markup in percent, or the default if it is missing or invalid."""
    return DEFAULT_MARKUP_PERCENT if form.markup.errors or form.markup.data is None else form.markup.data
