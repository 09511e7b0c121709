"""Redeem codes: create batches, show their codes once, void them."""

from __future__ import annotations

from uuid import UUID

from flask import request, url_for
from flask.typing import ResponseReturnValue

from console.actions import customers as actions
from console.forms.customers import CodesForm
from console.paging import page_of
from console.views.form_handling import create, perform, shown
from console.views.view import View, changes, shows
from shared.models import CodeBatch
from shared.operations.redeem_codes import standings


class CodesView(View):
    @shows("/")
    def index(self) -> ResponseReturnValue:
        return self._page(CodesForm(formdata=None))

    @changes("/", "code.edit")
    def make(self) -> ResponseReturnValue:
        form = CodesForm()
        return create(form, lambda: actions.create_codes(form), "codes.made") or (self._page(form), 422)

    @shows("/made/<form_id>")
    def made(self, form_id: str) -> ResponseReturnValue:
        batch, codes = shown(form_id)
        if codes is None:
            advice = "If the codes were not copied, void the batch and create another."
            return self.page("shown.html", what="The batch of codes", advice=advice, back=url_for("codes.index"))
        return self.page("codes/made.html", batch=CodeBatch.get_by_id(UUID(batch)), codes=codes.split())

    @changes("/<uuid:batch_id>/void", "code.edit")
    def void(self, batch_id: UUID) -> ResponseReturnValue:
        return perform(lambda: actions.void_codes(batch_id), url_for("codes.index"))

    def _page(self, form: CodesForm) -> str:
        page = page_of(CodeBatch.select(), [CodeBatch.id], request.args.get("before"))
        return self.page("codes/list.html", form=form, page=page, batches=standings(page.rows))
