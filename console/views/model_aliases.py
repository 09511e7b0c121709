"""Aliases: other names for models, with the dates of their deprecation and shutdown."""

from __future__ import annotations

from typing import Any

from flask import url_for
from flask.typing import ResponseReturnValue
from flask_admin.model.template import macro

from console.actions import catalog as actions
from console.forms.catalog import AliasForm, NewAliasForm
from console.views.form_handling import run_action, submit_form
from console.views.list_view import ListView, bulk_action
from console.views.view import action_route, page_route
from shared.core.clock import now_ms
from shared.core.timestamps import format_timestamp
from shared.models import ModelAlias
from shared.operations.model_aliases import find_alias
from shared.text.translation import lazy_gettext, ngettext


class AliasesView(ListView):
    model = ModelAlias
    has_aside = True
    row_name = "name"
    list_template = "aliases/list.html"
    column_list = ("name", "state", "model", "deprecated_at", "shutdown_at", "successor")
    column_labels = {
        "name": lazy_gettext("Alias"),
        "state": lazy_gettext("State"),
        "model": lazy_gettext("Model"),
        "deprecated_at": lazy_gettext("Deprecated"),
        "shutdown_at": lazy_gettext("Shutdown"),
        "successor": lazy_gettext("Successor"),
    }
    column_sortable_list = ("name", "model", "deprecated_at", "shutdown_at", "successor")
    column_default_sort = "name"
    column_searchable_list = ("name", "model", "successor")
    column_formatters = {column: macro(f"{column}_cell") for column in column_list}
    column_formatters_export = {
        column: lambda _view, _context, row, name: format_timestamp(getattr(row, name)) or ""
        for column in ("deprecated_at", "shutdown_at")
    }
    clipped_columns = frozenset({"name", "model", "successor"})

    @page_route("/")
    def index(self) -> ResponseReturnValue:
        return self._list(NewAliasForm(formdata=None))

    def is_off(self, row: Any) -> bool:
        """Return whether the alias no longer works."""
        return bool(row.state == "shut down")

    def add_details(self, rows: list[Any]) -> None:
        """Add each alias's state."""
        now = now_ms()
        for row in rows:
            ended = row.shutdown_at is not None and row.shutdown_at <= now
            deprecated = row.deprecated_at is not None and row.deprecated_at <= now
            row.state = "shut down" if ended else "deprecated" if deprecated else "active"

    @bulk_action(
        "delete",
        "alias.edit",
        lazy_gettext("Delete aliases"),
        lambda count: ngettext("Delete {count} alias", "Delete {count} aliases", count),
        lazy_gettext("Calls with these names get a 404 within a second."),
    )
    def delete_selected(self, row: ModelAlias) -> None:
        """Delete an alias."""
        actions.delete_alias(row.name)

    @action_route("/", "alias.edit")
    def create(self) -> ResponseReturnValue:
        form = NewAliasForm()
        done = submit_form(form, lambda: actions.create_alias(form), url_for("aliases.index"))
        return done or (self._list(form), 422)

    @page_route("/name/<path:alias_name>")
    def detail(self, alias_name: str) -> ResponseReturnValue:
        alias = find_alias(alias_name)
        return self._page(alias, AliasForm.from_alias(alias))

    @action_route("/name/<path:alias_name>/edit", "alias.edit")
    def edit(self, alias_name: str) -> ResponseReturnValue:
        alias, form = find_alias(alias_name), AliasForm()
        done = submit_form(form, lambda: actions.update_alias(alias.name, form), _alias_url(alias.name))
        return done or (self._page(alias, form), 422)

    @action_route("/name/<path:alias_name>/delete", "alias.edit")
    def delete(self, alias_name: str) -> ResponseReturnValue:
        alias = find_alias(alias_name)
        return run_action(lambda: actions.delete_alias(alias.name), url_for("aliases.index"))

    def _list(self, form: NewAliasForm) -> str:
        return self.list_page(form=form)

    def _page(self, alias: ModelAlias, form: AliasForm) -> str:
        return self.page("aliases/detail.html", alias=alias, form=form)


def _alias_url(name: str) -> str:
    return url_for("aliases.detail", alias_name=name)
