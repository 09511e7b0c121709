"""Plans: their terms and subscribers; create, edit, open or close to new subscribers."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import url_for
from flask.typing import ResponseReturnValue
from peewee import fn

from console.actions import customers as actions
from console.forms.customers import NewPlanForm, PlanForm
from console.views.form_handling import run_action, submit_form
from console.views.view import View, action_route, page_route
from shared.models import Account, Plan, Subscription
from shared.operations.plans import find_plan

SUBSCRIBERS_SHOWN = 50


class PlansView(View):
    @page_route("/")
    def index(self) -> ResponseReturnValue:
        counts: Any = (
            Subscription.select(Subscription.plan, fn.COUNT(Subscription.id))
            .where(Subscription.status == "active")
            .group_by(Subscription.plan)
            .tuples()
        )
        plans: Any = Plan.select().order_by(Plan.name)
        return self.page("plans/list.html", plans=list(plans), subscribers=dict(counts))

    @page_route("/new")
    def new(self) -> ResponseReturnValue:
        return self.page("plans/new.html", form=NewPlanForm(formdata=None, price_cents=0))

    @action_route("/new", "plan.edit")
    def create(self) -> ResponseReturnValue:
        form = NewPlanForm()
        done = submit_form(form, lambda: actions.create_plan(form), lambda: _plan_url(find_plan(form.name.data).id))
        return done or (self.page("plans/new.html", form=form), 422)

    @page_route("/<uuid:plan_id>")
    def detail(self, plan_id: UUID) -> ResponseReturnValue:
        return self._page(find_plan(plan_id))

    @action_route("/<uuid:plan_id>", "plan.edit")
    def change(self, plan_id: UUID) -> ResponseReturnValue:
        plan, form = find_plan(plan_id), PlanForm()
        done = submit_form(form, lambda: actions.change_plan(plan.id, form), _plan_url(plan_id))
        return done or (self._page(plan, form), 422)

    @action_route("/<uuid:plan_id>/enable", "plan.edit")
    def enable(self, plan_id: UUID) -> ResponseReturnValue:
        return run_action(lambda: actions.set_plan_status(plan_id, "active"), _plan_url(plan_id))

    @action_route("/<uuid:plan_id>/disable", "plan.edit")
    def disable(self, plan_id: UUID) -> ResponseReturnValue:
        return run_action(lambda: actions.set_plan_status(plan_id, "disabled"), _plan_url(plan_id))

    def _page(self, plan: Plan, form: PlanForm | None = None) -> str:
        subscribers = (
            Subscription.select(Subscription, Account)
            .join(Account)
            .where((Subscription.plan == plan) & (Subscription.status == "active"))
            .order_by(Subscription.started_at.desc())
            .limit(SUBSCRIBERS_SHOWN)
        )
        models = {"allowed_models": ", ".join(plan.allowed_models or ())}
        shown = form or PlanForm(formdata=None, obj=plan, data=models)
        return self.page("plans/detail.html", plan=plan, form=shown, subscribers=list(subscribers))


def _plan_url(plan_id: UUID) -> str:
    return url_for("plans.detail", plan_id=plan_id)
