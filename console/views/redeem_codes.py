"""Redeem codes: create batches, show their codes once, void them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import url_for
from flask.typing import ResponseReturnValue
from flask_admin.model.template import macro

from console.actions import customers as actions
from console.forms.customers import CodesForm
from console.views.form_handling import submit_with_secret, take_shown_secret
from console.views.list_view import Filter, ListView, bulk_action
from console.views.view import action_route, page_route
from shared.core.timestamps import format_timestamp
from shared.models import CodeBatch
from shared.operations.redeem_codes import batch_statuses
from shared.text.translation import gettext, lazy_gettext, ngettext


class CodesView(ListView):
    model = CodeBatch
    has_aside = True
    row_name = "label"
    list_template = "codes/list.html"
    column_list = ("created_at", "note", "credits", "open", "redeemed", "voided", "expires_at")
    column_export_list = ("id", "created_at", "created_by", *column_list[1:])
    column_labels = {
        "created_at": lazy_gettext("Created"),
        "note": lazy_gettext("Note"),
        "credits": lazy_gettext("Credits each"),
        "open": lazy_gettext("Unused"),
        "redeemed": lazy_gettext("Redeemed"),
        "voided": lazy_gettext("Void"),
        "expires_at": lazy_gettext("Expires"),
    }
    column_sortable_list = ("created_at", "note", "credits", "expires_at")
    column_default_sort = ("created_at", True)
    column_searchable_list = ("note", "created_by")
    column_filters = (Filter(CodeBatch.created_by, lazy_gettext("Created by"), lambda: _creators()),)
    column_formatters = {column: macro(f"{column}_cell") for column in column_list}
    column_formatters_export = {
        column: lambda _view, _context, row, name: format_timestamp(getattr(row, name)) or ""
        for column in ("created_at", "expires_at")
    }
    right_columns = frozenset({"credits", "open", "redeemed", "voided"})
    clipped_columns = frozenset({"note"})

    @page_route("/")
    def index(self) -> ResponseReturnValue:
        return self._page(CodesForm(formdata=None))

    def is_off(self, row: Any) -> bool:
        """Return whether no code of the batch can still be redeemed."""
        return bool(row.open == 0)

    def add_details(self, rows: list[Any]) -> None:
        """Add the number of codes in each state."""
        for status in batch_statuses(rows):
            row: Any = status.row
            row.open, row.redeemed, row.voided = status.open, status.redeemed, status.voided
            row.label = row.note or format_timestamp(row.created_at)

    @bulk_action(
        "void",
        "code.edit",
        lazy_gettext("Void unused codes"),
        lambda count: ngettext("Void the codes of {count} batch", "Void the codes of {count} batches", count),
        lazy_gettext("Codes that were not redeemed become invalid. This cannot be undone."),
    )
    def void_selected(self, row: CodeBatch) -> None:
        """Void a batch."""
        actions.void_codes(row.id)

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

    def _page(self, form: CodesForm) -> str:
        return self.list_page(form=form)


def _creators() -> list[tuple[str, str]]:
    """Return who created batches, for a filter."""
    rows: Any = CodeBatch.select(CodeBatch.created_by).distinct().order_by(CodeBatch.created_by).tuples()
    return [(name, name) for (name,) in rows]
