"""Plans: their terms and subscribers; create, edit, open or close to new subscribers."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import url_for
from flask.typing import ResponseReturnValue
from flask_admin.model.template import macro
from peewee import fn

from console.actions import customers as actions
from console.forms.customers import NewPlanForm, PlanForm
from console.views.form_handling import run_action, submit_form
from console.views.list_view import Filter, ListView, bulk_action
from console.views.view import action_route, page_route
from shared.models import ENABLED_STATUSES, Account, Plan, Subscription
from shared.operations.payments import find_payment_settings
from shared.operations.plans import find_plan
from shared.text.translation import lazy_gettext, ngettext

SUBSCRIBERS_SHOWN = 50


class PlansView(ListView):
    model = Plan
    row_name = "name"
    list_template = "plans/list.html"
    column_list = ("name", "status", "monthly_credits", "price_cents", "overage_allowed", "stores_content", "subscribers")
    column_labels = {
        "name": lazy_gettext("Plan"),
        "status": lazy_gettext("State"),
        "monthly_credits": lazy_gettext("Credits per month"),
        "price_cents": lazy_gettext("Price per month"),
        "overage_allowed": lazy_gettext("Overage"),
        "stores_content": lazy_gettext("Stores content"),
        "subscribers": lazy_gettext("Subscribers"),
    }
    column_sortable_list = ("name", "status", "monthly_credits", "price_cents")
    column_default_sort = "name"
    column_searchable_list = ("name",)
    column_filters = (Filter(Plan.status, lazy_gettext("State"), [(status, status) for status in ENABLED_STATUSES]),)
    column_formatters = {column: macro(f"{column}_cell") for column in column_list}
    right_columns = frozenset({"monthly_credits", "price_cents", "subscribers"})
    clipped_columns = frozenset({"name"})

    def add_details(self, rows: list[Any]) -> None:
        """Add each plan's number of subscribers, and the currency of its price, or None if there are no payment settings."""
        counts: Any = (
            Subscription.select(Subscription.plan, fn.COUNT(Subscription.id))
            .where(Subscription.status == "active")
            .group_by(Subscription.plan)
            .tuples()
        )
        subscribers, terms = dict(counts), find_payment_settings()
        for row in rows:
            row.subscribers = subscribers.get(row.id, 0)
            row.currency = terms.currency if terms else None

    @bulk_action(
        "open",
        "plan.edit",
        lazy_gettext("Open plans"),
        lambda count: ngettext("Open {count} plan", "Open {count} plans", count),
        lazy_gettext("Accounts can be subscribed to them."),
    )
    def open_selected(self, row: Plan) -> None:
        """Open a plan to new subscribers."""
        actions.set_plan_status(row.id, "active")

    @bulk_action(
        "close",
        "plan.edit",
        lazy_gettext("Close plans"),
        lambda count: ngettext("Close {count} plan", "Close {count} plans", count),
        lazy_gettext("No new subscribers. Current subscribers keep their plan."),
    )
    def close_selected(self, row: Plan) -> None:
        """Close a plan to new subscribers."""
        actions.set_plan_status(row.id, "disabled")

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
