"""Redeem codes: create batches, show their codes once, void them."""

from __future__ import annotations

from uuid import UUID

from flask import request, url_for
from flask.typing import ResponseReturnValue

from console.actions import customers as actions
from console.forms.customers import CodesForm
from console.paging import fetch_page
from console.views.form_handling import run_action, submit_with_secret, take_shown_secret
from console.views.view import View, action_route, page_route
from shared.models import CodeBatch
from shared.operations.redeem_codes import batch_statuses
from shared.text.translation import gettext


class CodesView(View):
    @page_route("/")
    def index(self) -> ResponseReturnValue:
        return self._page(CodesForm(formdata=None))

    @action_route("/", "code.edit")
    def make(self) -> ResponseReturnValue:
        form = CodesForm()
        return submit_with_secret(form, lambda: actions.create_codes(form), "codes.made") or (self._page(form), 422)

    @page_route("/made/<form_id>")
    def made(self, form_id: str) -> ResponseReturnValue:
        batch, codes = take_shown_secret(form_id)
        if codes is None:
            advice = gettext("If the codes were not copied, void the batch and create another.")
            return self.page("shown.html", what=gettext("The batch of codes"), advice=advice, back=url_for("codes.index"))
        return self.page("codes/made.html", batch=CodeBatch.get_by_id(UUID(batch)), codes=codes.split())

    @action_route("/<uuid:batch_id>/void", "code.edit")
    def void(self, batch_id: UUID) -> ResponseReturnValue:
        return run_action(lambda: actions.void_codes(batch_id), url_for("codes.index"))

    def _page(self, form: CodesForm) -> str:
        page = fetch_page(CodeBatch.select(), [CodeBatch.id], request.args.get("before"))
        return self.page("codes/list.html", form=form, page=page, batches=batch_statuses(page.rows))
