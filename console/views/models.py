"""Models and prices: the catalog, each model's routes, and prices, which are drafted, compared and then published."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple, cast

from flask import Response, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_admin.model.template import macro

from console.actions import catalog as actions
from console.channel_test import TestCallResult
from console.dashboard import models_used
from console.formats import price_in_usd
from console.forms.catalog import DeprecationForm, ModelForm, NewModelForm, NewRouteForm, PublishForm, RatesForm, TestCallForm
from console.time_ranges import find_range
from console.views.filters import parse_uuid
from console.views.form_handling import run_action, submit_form, use_once
from console.views.list_view import Filter, ListView, YesNoFilter, bulk_action
from console.views.margins import margins
from console.views.view import action_route, page_route
from shared.billing.price_rows import price_of, read_prices
from shared.billing.price_text import Example, example_charge, price_lines, price_summary
from shared.billing.rates import PriceList, rate_label
from shared.core.clock import now_ms
from shared.core.errors import AlreadySubmitted, InvalidInput, NotFound
from shared.models import ENABLED_STATUSES, MODEL_KINDS, AIModel, Channel, ChannelModel, Price, PriceDraft
from shared.operations.catalog import find_model
from shared.operations.price_drafts import ReviewedPrice, find_draft, rates_line
from shared.operations.prices import COLUMNS, format_rate, rates_of
from shared.operations.prices_in_force import current_price, current_price_lists, models_below_cost
from shared.text.translation import gettext, lazy_gettext, ngettext

PRICES_SHOWN = 50
SHOWING = {
    "": lazy_gettext("All"),
    "unused": lazy_gettext("Unused for 30 days"),
    "unpriced": lazy_gettext("No price"),
    "drafts": lazy_gettext("Draft price"),
    "below": lazy_gettext("Below cost"),
    "disabled": lazy_gettext("Disabled"),
    "unrouted": lazy_gettext("No channel"),
}


class ModelsView(ListView):
    model = AIModel
    row_name = "id"
    list_template = "models/list.html"
    bulk_template = "models/selected.html"
    column_list = ("id", "price", "status", "kind", "channels")
    column_labels = {
        "id": lazy_gettext("Model"),
        "price": lazy_gettext("Price"),
        "status": lazy_gettext("State"),
        "kind": lazy_gettext("Kind"),
        "usd": lazy_gettext("USD"),
        "channels": lazy_gettext("Channels"),
    }
    column_sortable_list = ("id", "status", "kind")
    column_default_sort = "id"
    column_searchable_list = ("id", "owned_by", "description")
    column_filters = (
        Filter(AIModel.kind, lazy_gettext("Kind"), [(kind, kind) for kind in MODEL_KINDS]),
        Filter(AIModel.status, lazy_gettext("State"), [(status, status) for status in ENABLED_STATUSES]),
        Filter(AIModel.owned_by, lazy_gettext("Provider"), lambda: _owners()),
        YesNoFilter(AIModel.is_free, lazy_gettext("Free")),
    )
    column_formatters = {column: macro(f"{column}_cell") for column in column_list}
    column_export_list = ("id", "kind", "status", "is_free", "price", "usd", "channels")
    column_formatters_export = {
        "price": lambda *cell: price_summary(cell[2].kind, cell[2].price) if cell[2].price else "",
        "usd": lambda *cell: price_in_usd(cell[2].kind, cell[2].price) if cell[2].price else "",
        "channels": lambda *cell: ", ".join(route.channel.name for route in cell[2].routes),
    }
    clipped_columns = frozenset({"id", "channels"})
    wide_columns = frozenset({"price"})

    @page_route("/")
    def index(self) -> ResponseReturnValue:
        return self.list_page(showing=request.args.get("show", ""), choices=SHOWING)

    def get_query(self) -> Any:
        """Return the models that the view of the list (`show=`) includes."""
        query, showing = AIModel.select(), request.args.get("show", "")
        if showing == "unused":
            now = now_ms()
            return query.where(AIModel.id.not_in(list(models_used(find_range("30d").span(now), now))))
        if showing == "unpriced":
            return query.where(AIModel.id.not_in(list(current_price_lists())))
        if showing == "drafts":
            return query.where(AIModel.id.in_(list(_drafted())))
        if showing == "below":
            return query.where(AIModel.id.in_(list(models_below_cost())))
        if showing == "disabled":
            return query.where(AIModel.status == "disabled")
        if showing == "unrouted":
            return query.where(AIModel.id.not_in(ChannelModel.select(ChannelModel.model)))
        return query

    def add_details(self, rows: list[Any]) -> None:
        """Add each model's price in force, draft and routes."""
        prices, drafts, routes = current_price_lists(), _drafted(), defaultdict(list)
        for route in _routes():
            routes[route.model_id].append(route)
        for row in rows:
            row.price, row.draft, row.routes = prices.get(row.id), row.id in drafts, routes[row.id]

    def bulk_rows(self, action: str, rows: list[Any]) -> list[Any]:
        """Return the models with a draft, for actions on drafts. Before publishing, each is compared with the price in force."""
        if action not in ("publish", "discard"):
            return rows
        drafted = [row for row in rows if row.draft]
        if not drafted:
            raise NotFound(gettext("None of the selected models has a draft price."))
        self._template_args["reviews"] = [_review(row) for row in drafted]
        return drafted

    @bulk_action(
        "publish",
        "model.price",
        lazy_gettext("Publish draft prices"),
        lambda count: ngettext("Publish {count} price", "Publish {count} prices", count),
        lazy_gettext("New calls are charged the new prices at once. Calls already in progress keep their price."),
    )
    def publish_selected(self, row: Any) -> None:
        """Publish a draft, if it and the price in force are those that were reviewed."""
        seen = dict(zip(request.form.getlist("rowid"), _reviewed(), strict=False))
        actions.publish_draft(row.id, seen.get(row.id, ReviewedPrice("", None)), None)

    @bulk_action(
        "discard",
        "model.price",
        lazy_gettext("Discard draft prices"),
        lambda count: ngettext("Discard the draft of {count} model", "Discard the drafts of {count} models", count),
        lazy_gettext("Their prices in force are unchanged."),
    )
    def discard_selected(self, row: Any) -> None:
        """Discard a draft."""
        actions.discard_draft(row.id)

    @bulk_action(
        "enable",
        "model.status",
        lazy_gettext("Enable models"),
        lambda count: ngettext("Enable {count} model", "Enable {count} models", count),
        lazy_gettext("They are available within a second."),
    )
    def enable_selected(self, row: Any) -> None:
        """Enable a model."""
        actions.enable_model(row.id)

    @bulk_action(
        "disable",
        "model.status",
        lazy_gettext("Disable models"),
        lambda count: ngettext("Disable {count} model", "Disable {count} models", count),
        lazy_gettext("New calls are rejected within a second. Calls in progress finish."),
    )
    def disable_selected(self, row: Any) -> None:
        """Disable a model."""
        actions.disable_model(row.id)

    @page_route("/new")
    def new(self) -> ResponseReturnValue:
        return self._new(NewModelForm(formdata=None, per_call=0, minimum=10))

    @action_route("/new", "model.edit")
    def create(self) -> ResponseReturnValue:
        form = NewModelForm()
        form.channel.choices = _channel_names()
        done = submit_form(form, lambda: actions.create_model(form), lambda: _model_url(form.model.data.strip()))
        return done or (self._new(form), 422)

    @page_route("/id/<path:model_id>")
    def detail(self, model_id: str) -> ResponseReturnValue:
        return self._page(find_model(model_id))

    @action_route("/id/<path:model_id>/edit", "model.edit")
    def edit(self, model_id: str) -> ResponseReturnValue:
        model, form = find_model(model_id), ModelForm()
        done = submit_form(form, lambda: actions.update_model(model.id, form), _model_url(model.id))
        return done or (self._page(model, edit=form), 422)

    @action_route("/id/<path:model_id>/deprecation", "model.edit")
    def deprecate(self, model_id: str) -> ResponseReturnValue:
        model, form = find_model(model_id), DeprecationForm()
        done = submit_form(form, lambda: actions.deprecate_model(model.id, form), _model_url(model.id))
        return done or (self._page(model, deprecation=form), 422)

    @action_route("/id/<path:model_id>/draft", "model.price")
    def draft(self, model_id: str) -> ResponseReturnValue:
        model, form = find_model(model_id), RatesForm()
        done = submit_form(form, lambda: actions.save_draft(model.id, form.rates()), _model_url(model.id) + "#price")
        return done or (self._page(model, rates=form), 422)

    @action_route("/id/<path:model_id>/draft/publish", "model.price")
    def publish(self, model_id: str) -> ResponseReturnValue:
        model, form = find_model(model_id), PublishForm()
        done = submit_form(
            form, lambda: actions.publish_draft(model.id, _seen(form), form.effective_at_ms()), _model_url(model.id)
        )
        return done or (self._page(model, publish=form), 422)

    @action_route("/id/<path:model_id>/draft/discard", "model.price")
    def discard(self, model_id: str) -> ResponseReturnValue:
        model = find_model(model_id)
        return run_action(lambda: actions.discard_draft(model.id), _model_url(model.id))

    @action_route("/id/<path:model_id>/routes", "model.route")
    def add_route(self, model_id: str) -> ResponseReturnValue:
        model, form = find_model(model_id), NewRouteForm()
        form.channel.choices = _channel_names()
        done = submit_form(form, lambda: actions.add_route(model.id, form), _model_url(model.id))
        return done or (self._page(model, route=form), 422)

    @action_route("/id/<path:model_id>/try", "model.try")
    def try_out(self, model_id: str) -> ResponseReturnValue:
        model, form = find_model(model_id), TestCallForm()
        if not form.validate_on_submit():
            return self._page(model, trying=form), 422
        try:
            use_once(form)
            tried = actions.try_model(model.id, form.prompt.data, form.account.data)
        except AlreadySubmitted as error:
            form.form_errors = [str(error)]
            return self._page(model, trying=form), 422
        except (InvalidInput, NotFound) as error:
            form.account.errors = [str(error)]
            return self._page(model, trying=form), 422
        return self._page(model, trying=form, tried=tried)

    @action_route("/id/<path:model_id>/enable", "model.status")
    def enable(self, model_id: str) -> ResponseReturnValue:
        return run_action(lambda: actions.enable_model(model_id), _model_url(model_id))

    @action_route("/id/<path:model_id>/disable", "model.status")
    def disable(self, model_id: str) -> ResponseReturnValue:
        return run_action(lambda: actions.disable_model(model_id), _model_url(model_id))

    def _new(self, form: NewModelForm) -> str | Response:
        form.channel.choices = _channel_names()
        if not form.channel.choices:
            return cast(Response, redirect(url_for("channels.new"), 303))  # a model needs a channel
        return self.page("models/new.html", form=form)

    def _page(
        self,
        model: AIModel,
        *,
        edit: ModelForm | None = None,
        deprecation: DeprecationForm | None = None,
        rates: RatesForm | None = None,
        publish: PublishForm | None = None,
        route: NewRouteForm | None = None,
        trying: TestCallForm | None = None,
        tried: TestCallResult | None = None,
    ) -> str:
        price, draft = current_price(model.id), find_draft(model.id)
        routes = [row for row in _routes() if row.model_id == model.id]
        route = route or NewRouteForm(formdata=None, priority=0, weight=1)
        route.channel.choices = [name for name in _channel_names() if name not in {row.channel.name for row in routes}]
        shown_rates = rates or _rates_form(draft or price)
        shown = publish or PublishForm(formdata=None)
        shown.seen_draft.data, shown.seen_price.data = rates_line(draft) if draft else "", str(price.id) if price else ""
        return self.page(
            "models/detail.html",
            model=model,
            price=price,
            draft=draft,
            compared=_compared(price, draft, shown_rates),
            edit=edit or _form_of(model),
            deprecation=deprecation or DeprecationForm.from_model(model),
            rates=shown_rates,
            publish=shown,
            route=route,
            trying=trying or TestCallForm(formdata=None),
            tried=tried,
            prices=[found for _, found in read_prices(Price.model == model)][:PRICES_SHOWN],
            lines=price_lines(model.kind, price_of(price)) if price else [],
            routes=routes,
            margins=margins(draft or price, routes),
            example_now=_example(model.kind, price),
            example_then=_example(model.kind, draft),
            now=now_ms(),
        )


class _Review(NamedTuple):
    """A draft beside the price in force, and what identifies both."""

    model: AIModel
    now: PriceList | None
    then: PriceList
    seen: ReviewedPrice


def _review(model: AIModel) -> _Review:
    """Return what to compare before a model's draft is published. Raises `NotFound` without a draft."""
    price, draft = current_price(model.id), find_draft(model.id)
    if draft is None:
        raise NotFound(gettext("There is no price draft for {model_id!r}. It was published or discarded.", model_id=model.id))
    seen = ReviewedPrice(rates_line(draft), price.id if price else None)
    return _Review(model, price_of(price) if price else None, price_of(draft), seen)


def _reviewed() -> list[ReviewedPrice]:
    """Return what was reviewed of each submitted model."""
    drafts, prices = request.form.getlist("seen_draft"), request.form.getlist("seen_price")
    return [
        ReviewedPrice(draft, parse_uuid("price", price) if price else None) for draft, price in zip(drafts, prices, strict=False)
    ]


def _owners() -> list[tuple[str, str]]:
    """Return the providers of models, for a filter."""
    rows: Any = AIModel.select(AIModel.owned_by).distinct().order_by(AIModel.owned_by).tuples()
    return [(owner, owner) for (owner,) in rows]


def _model_url(model_id: str) -> str:
    return url_for("models.detail", model_id=model_id)


def _channel_names() -> list[str]:
    return [row.name for row in Channel.select(Channel.name).order_by(Channel.name)]


def _example(kind: str, row: Price | PriceDraft | None) -> Example | None:
    """Return what a small call costs at these rates."""
    return None if row is None else example_charge(kind, price_of(row))


def _drafted() -> set[str]:
    """Return the ids of models with a draft price."""
    rows: Any = PriceDraft.select(PriceDraft.model).tuples()
    return {model_id for (model_id,) in rows}


def _compared(price: Price | None, draft: PriceDraft | None, form: Any) -> list[tuple[str, int | None, int | None]]:
    """Return (rate, current value, draft value) for every rate that differs. `form` has the labels of the rates."""
    if draft is None:
        return []
    rows = [(form[name].label.text, getattr(price, column, None), getattr(draft, column)) for name, column in COLUMNS.items()]
    current = {rate[:2]: rate.credits for rate in rates_of(price).rates} if price is not None else {}
    drafted = {rate[:2]: rate.credits for rate in rates_of(draft).rates}
    rows += [(rate_label(*key), current.get(key), drafted.get(key)) for key in sorted(current.keys() | drafted.keys())]
    return [row for row in rows if row[1] != row[2]]


def _routes() -> list[Any]:
    """Return all routes, each model's in the order they are tried."""
    order = (ChannelModel.model, ChannelModel.priority, ChannelModel.weight.desc(), Channel.name)
    shown = (Channel.id, Channel.name, Channel.status)
    return list(ChannelModel.select(ChannelModel, *shown).join(Channel).order_by(*order))


def _form_of(model: AIModel) -> ModelForm:
    return ModelForm(formdata=None, obj=model, data={"capabilities": ", ".join(model.capabilities or ()), "free": model.is_free})


def _rates_form(row: Price | PriceDraft | None) -> RatesForm:
    if row is None:
        return RatesForm(formdata=None, per_call=0, minimum=10)
    rates = rates_of(row)
    plain = {rate.kind: rate.credits for rate in rates.rates if not rate.above_tokens}
    fields = {kind: credits for kind, credits in plain.items() if kind in RatesForm.KINDS}
    more = "\n".join(format_rate(rate) for rate in rates.rates if rate.above_tokens or rate.kind not in fields)
    return RatesForm(formdata=None, **{name: getattr(rates, name) for name in COLUMNS}, **fields, more_rates=more)


def _seen(form: PublishForm) -> ReviewedPrice:
    return ReviewedPrice(form.seen_draft.data or "", parse_uuid("price", form.seen_price.data) if form.seen_price.data else None)
