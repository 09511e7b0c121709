"""Redeem codes: batches of them, made and shown once, voided."""

from __future__ import annotations

from uuid import UUID

from flask import request, url_for
from flask.typing import ResponseReturnValue

from console import customer_actions as actions
from console.customer_forms import CodesForm
from console.paging import page_of
from console.views.submission import perform
from console.views.view import View, changes, shows
from shared.errors import InvalidInput
from shared.models import CodeBatch
from shared.operations.codes import standings


class CodesView(View):
    @shows("/")
    def index(self) -> ResponseReturnValue:
        return self._page(CodesForm(formdata=None))

    @changes("/", "code.edit")
    def create(self) -> ResponseReturnValue:
        form = CodesForm()
        if not form.validate_on_submit():
            return self._page(form), 422
        try:
            batch = actions.create_codes(form)
        except InvalidInput as problem:
            form.form_errors = [str(problem)]
            return self._page(form), 422
        return self.page("codes/made.html", batch=batch.row, codes=batch.codes)

    @changes("/<uuid:batch_id>/void", "code.edit")
    def void(self, batch_id: UUID) -> ResponseReturnValue:
        return perform(lambda: actions.void_codes(batch_id), url_for("codes.index"))

    def _page(self, form: CodesForm) -> str:
        page = page_of(CodeBatch.select(), [CodeBatch.id], request.args.get("before"))
        return self.page("codes/list.html", form=form, page=page, batches=standings(page.rows))
