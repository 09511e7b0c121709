"""List prices: compares our prices with providers' list prices, and drafts or publishes several new prices at once."""

from __future__ import annotations

from flask import request, url_for
from flask.typing import ResponseReturnValue

from console.actions import list_prices as actions
from console.forms.list_prices import DEFAULT_MARKUP_PERCENT, ListPricesForm, MarkupForm, valid_markup
from console.views.form_handling import submit_form
from console.views.view import View, action_route, page_route
from shared.text.translation import lazy_gettext

VIEWS = {
    "": lazy_gettext("Different from list price"),
    "below": lazy_gettext("Below cost"),
    "all": lazy_gettext("All"),
    "unknown": lazy_gettext("No list price"),
}


class ListPricesView(View):
    @page_route("/")
    def index(self) -> ResponseReturnValue:
        wanted = MarkupForm(request.args) if "markup" in request.args else MarkupForm(None, markup=DEFAULT_MARKUP_PERCENT)
        if "markup" in request.args and not wanted.validate():
            return self._page(wanted, ListPricesForm(formdata=None)), 422
        return self._page(wanted, ListPricesForm(formdata=None, markup=wanted.markup.data))

    @action_route("/", "model.price")
    def sync(self) -> ResponseReturnValue:
        form = ListPricesForm()
        done = submit_form(form, lambda: actions.sync(form), lambda: url_for("list_prices.index", markup=form.markup.data))
        return done or (self._page(MarkupForm(None, markup=valid_markup(form)), form), 422)

    def _page(self, wanted: MarkupForm, form: ListPricesForm) -> str:
        markup = valid_markup(wanted)
        showing = request.args.get("show", "")
        compared = actions.compare(markup)
        rows = [
            row
            for row in compared.known
            if showing == "all" or (row.is_below_cost if showing == "below" else row.differs and showing != "unknown")
        ]
        return self.page(
            "list_prices.html",
            wanted=wanted,
            form=form,
            rows=rows,
            unknown=compared.unknown,
            showing=showing,
            choices=VIEWS,
            markup=markup,
            selected={row.token for row in rows} if request.args.get("select") == "all" else set(form.models.data or ()),
        )
