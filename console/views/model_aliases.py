"""Aliases: other names for models, with the dates of their deprecation and shutdown."""

from __future__ import annotations

from flask import url_for
from flask.typing import ResponseReturnValue

from console.actions import catalog as actions
from console.forms.catalog import AliasForm, NewAliasForm
from console.views.form_handling import run_action, submit_form
from console.views.view import View, action_route, page_route
from shared.core.clock import now_ms
from shared.models import ModelAlias
from shared.operations.model_aliases import find_alias, list_aliases


class AliasesView(View):
    @page_route("/")
    def index(self) -> ResponseReturnValue:
        return self._list(NewAliasForm(formdata=None))

    @action_route("/", "alias.edit")
    def create(self) -> ResponseReturnValue:
        form = NewAliasForm()
        done = submit_form(form, lambda: actions.create_alias(form), url_for("aliases.index"))
        return done or (self._list(form), 422)

    @page_route("/<path:alias_name>")
    def detail(self, alias_name: str) -> ResponseReturnValue:
        alias = find_alias(alias_name)
        return self._page(alias, AliasForm.from_alias(alias))

    @action_route("/<path:alias_name>/edit", "alias.edit")
    def edit(self, alias_name: str) -> ResponseReturnValue:
        alias, form = find_alias(alias_name), AliasForm()
        done = submit_form(form, lambda: actions.update_alias(alias.name, form), _alias_url(alias.name))
        return done or (self._page(alias, form), 422)

    @action_route("/<path:alias_name>/delete", "alias.edit")
    def delete(self, alias_name: str) -> ResponseReturnValue:
        alias = find_alias(alias_name)
        return run_action(lambda: actions.delete_alias(alias.name), url_for("aliases.index"))

    def _list(self, form: NewAliasForm) -> str:
        return self.page("aliases/list.html", aliases=list_aliases(), form=form, now=now_ms())

    def _page(self, alias: ModelAlias, form: AliasForm) -> str:
        return self.page("aliases/detail.html", alias=alias, form=form)


def _alias_url(name: str) -> str:
    return url_for("aliases.detail", alias_name=name)
