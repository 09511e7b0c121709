"""Routes: how one channel serves one model. Linked from both, so not in the menu."""

from __future__ import annotations

from uuid import UUID

from flask import redirect, url_for
from flask.typing import ResponseReturnValue

from console.actions import catalog as actions
from console.forms.catalog import RouteForm
from console.views.form_handling import run_action, submit_form
from console.views.view import View, action_route, page_route
from shared.models import ChannelModel
from shared.operations.model_routes import find_route
from shared.operations.route_costs import format_costs


class RoutesView(View):
    def is_visible(self) -> bool:
        return False

    @page_route("/")
    def index(self) -> ResponseReturnValue:
        """Redirect: routes are listed on the pages of their model and channel."""
        return redirect(url_for("models.index"), 303)

    @page_route("/<uuid:route_id>")
    def detail(self, route_id: UUID) -> ResponseReturnValue:
        return self._page(find_route(route_id))

    @action_route("/<uuid:route_id>", "model.route")
    def update(self, route_id: UUID) -> ResponseReturnValue:
        route, form = find_route(route_id), RouteForm()
        upstream = (form.upstream_model.data or "").strip() or route.model.id
        done = submit_form(form, lambda: actions.update_route(route_id, form, upstream), _model_url(route))
        return done or (self._page(route, form), 422)

    @action_route("/<uuid:route_id>/remove", "model.route")
    def remove(self, route_id: UUID) -> ResponseReturnValue:
        target = _model_url(find_route(route_id))
        return run_action(lambda: actions.remove_route(route_id), target)

    def _page(self, route: ChannelModel, form: RouteForm | None = None) -> str:
        values = {
            "upstream_model": route.upstream_model,
            "priority": route.priority,
            "weight": route.weight,
            "cost_input": route.cost_per_1k_input,
            "cost_output": route.cost_per_1k_output,
            "further_costs": format_costs(route.further_costs),
        }
        return self.page("routes/detail.html", route=route, form=form or RouteForm(formdata=None, data=values))


def _model_url(route: ChannelModel) -> str:
    return url_for("models.detail", model_id=route.model.id)
