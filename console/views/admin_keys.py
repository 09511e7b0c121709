"""Keys of the administration API: create them, show their secrets once, revoke them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import url_for
from flask.typing import ResponseReturnValue
from flask_admin.model.template import macro

from console.actions import staff
from console.forms.admin_keys import AdminKeyForm
from console.views.form_handling import submit_with_secret, take_shown_secret
from console.views.list_view import ListView, bulk_action
from console.views.view import action_route, page_route
from shared.core.clock import now_ms
from shared.core.timestamps import format_timestamp
from shared.models import AdminKey
from shared.operations.admin_keys import actor_of
from shared.text.translation import gettext, lazy_gettext, ngettext


class AdminKeysView(ListView):
    model = AdminKey
    has_aside = True
    row_name = "name"
    list_template = "admin_keys/list.html"
    column_list = ("name", "state", "expires_at", "last_used_at")
    column_export_list = ("id", "name", "prefix", "scopes", "created_at", "expires_at", "revoked_at", "last_used_at")
    column_labels = {
        "name": lazy_gettext("Name"),
        "prefix": lazy_gettext("Key"),
        "scopes": lazy_gettext("Scopes"),
        "state": lazy_gettext("State"),
        "created_at": lazy_gettext("Created"),
        "expires_at": lazy_gettext("Expires"),
        "last_used_at": lazy_gettext("Last used"),
    }
    column_sortable_list = ("name", "last_used_at", "created_at")
    column_default_sort = ("created_at", True)
    column_searchable_list = ("name", "prefix")
    column_formatters = {column: macro(f"{column}_cell") for column in column_list}
    column_formatters_export = {
        **{
            column: lambda _view, _context, row, name: format_timestamp(getattr(row, name)) or ""
            for column in ("created_at", "expires_at", "revoked_at", "last_used_at")
        },
        "scopes": lambda _view, _context, row, _name: " ".join(row.scopes),
    }
    wide_columns = frozenset({"name"})

    @page_route("/")
    def index(self) -> ResponseReturnValue:
        return self._page(AdminKeyForm(formdata=None))

    def is_off(self, row: Any) -> bool:
        """Return whether the key is refused."""
        return row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= now_ms())

    @bulk_action(
        "revoke",
        "admin_key.manage",
        lazy_gettext("Revoke keys"),
        lambda count: ngettext("Revoke {count} key", "Revoke {count} keys", count),
        lazy_gettext("Programs with these keys are refused from the next request on. This cannot be undone."),
    )
    def revoke_selected(self, row: AdminKey) -> None:
        """Revoke a key."""
        staff.revoke_admin_key(row.id)

    @action_route("/", "admin_key.manage")
    def make(self) -> ResponseReturnValue:
        form = AdminKeyForm()
        done = submit_with_secret(form, lambda: staff.create_admin_key(*form.terms()), "admin_keys.made")
        return done or (self._page(form), 422)

    @page_route("/made/<form_id>")
    def made(self, form_id: str) -> ResponseReturnValue:
        id, secret = take_shown_secret(form_id)
        if secret is None:
            advice = gettext("If it was not copied, revoke the key and create another.")
            return self.page("shown.html", what=gettext("The secret of the key"), advice=advice, back=url_for("admin_keys.index"))
        return self.page("admin_keys/made.html", key=AdminKey.get_by_id(UUID(id)), secret=secret)

    def _page(self, form: AdminKeyForm) -> str:
        return self.list_page(form=form, now=now_ms(), actor_of=actor_of)
