"""Models and prices: what is offered, at what price, through which channels; set a price, switch a model on and off."""

from __future__ import annotations

from collections import defaultdict
from typing import Any
from uuid import UUID

from flask import url_for
from flask.typing import ResponseReturnValue

from console import actions
from console.forms import PriceForm
from console.views.filters import as_uuid
from console.views.submission import perform, submit
from console.views.view import View, changes, shows
from shared.clock import now_ms
from shared.models import AIModel, Channel, ChannelModel, Price
from shared.operations.catalogue import Rates, find_model
from shared.operations.price_change import price_in_force
from shared.pricing import PriceList, charge
from shared.usage import Usage

EXAMPLE = Usage(input_tokens=1_000, output_tokens=500)
PRICES_SHOWN = 50


class ModelsView(View):
    @shows("/")
    def index(self) -> ResponseReturnValue:
        routes = defaultdict(list)
        for route in _routes():
            routes[route.model_id].append(route)
        return self.page(
            "models/list.html", models=list(AIModel.select().order_by(AIModel.id)), prices=_prices_in_force(), routes=routes
        )

    @shows("/<path:model_id>")
    def detail(self, model_id: str) -> ResponseReturnValue:
        price = price_in_force(model_id)
        return self._page(find_model(model_id), price, _form_of(price))

    @changes("/<path:model_id>/price", "model.price")
    def price(self, model_id: str) -> ResponseReturnValue:
        model, form = find_model(model_id), PriceForm()
        target = url_for("models.detail", model_id=model.id)
        done = submit(form, lambda: actions.set_price(model.id, _rates(form), _seen(form)), target)
        if done is None:
            price = price_in_force(model_id)
            form.seen.data = str(price.id) if price else ""  # the page shows this price: sending again is meant
            return self._page(model, price, form), 422
        return done

    @changes("/<path:model_id>/enable", "model.status")
    def enable(self, model_id: str) -> ResponseReturnValue:
        return perform(lambda: actions.enable_model(model_id), url_for("models.detail", model_id=model_id))

    @changes("/<path:model_id>/disable", "model.status")
    def disable(self, model_id: str) -> ResponseReturnValue:
        return perform(lambda: actions.disable_model(model_id), url_for("models.detail", model_id=model_id))

    def _page(self, model: AIModel, price: Price | None, form: PriceForm) -> str:
        prices = Price.select().where(Price.model == model).order_by(Price.effective_at.desc()).limit(PRICES_SHOWN)
        return self.page(
            "models/detail.html",
            model=model,
            price=price,
            form=form,
            prices=list(prices),
            routes=[route for route in _routes() if route.model_id == model.id],
            example=EXAMPLE,
            example_charge=charge(price_list(price), EXAMPLE) if price else None,
            now=now_ms(),
        )


def price_list(price: Price) -> PriceList:
    """The row as the pure functions of `shared.pricing` take it."""
    return PriceList(**{name: getattr(price, name) for name in PriceList._fields})


def _routes() -> list[Any]:
    """Which channel serves which model, the first tried first."""
    order = (ChannelModel.model, ChannelModel.priority, ChannelModel.weight.desc(), Channel.name)
    shown = (Channel.id, Channel.name, Channel.status)
    return list(ChannelModel.select(ChannelModel, *shown).join(Channel).order_by(*order))


def _prices_in_force() -> dict[str, Price]:
    """Model id → the price that a call begins with now. Rows come oldest first, so that the newest stays."""
    rows: Any = Price.select().where(Price.effective_at <= now_ms()).order_by(Price.effective_at)
    return {row.model_id: row for row in rows}


def _form_of(price: Price | None) -> PriceForm:
    if price is None:
        return PriceForm(data={"per_call": 0, "minimum": 10})
    return PriceForm(
        data={
            "input": price.credits_per_1k_input,
            "cached_input": price.credits_per_1k_cached_input,
            "cache_write": price.credits_per_1k_cache_write,
            "output": price.credits_per_1k_output,
            "per_call": price.credits_per_call,
            "minimum": price.minimum_credits,
            "seen": price.id,
        }
    )


def _rates(form: PriceForm) -> Rates:
    return Rates(
        input=form.input.number(),
        output=form.output.number(),
        cached_input=form.cached_input.data,
        cache_write=form.cache_write.data,
        per_call=form.per_call.number(),
        minimum=form.minimum.number(),
    )


def _seen(form: PriceForm) -> UUID | None:
    return as_uuid("price", form.seen.data) if form.seen.data else None
