"""Staff: who can use the console, and the permissions of each role."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import request, url_for
from flask.typing import ResponseReturnValue
from flask_admin.model.template import macro
from peewee import Case

from console.actions import staff
from console.forms.fields import NewStaffForm, ResetPasswordForm, RoleForm
from console.paging import fetch_page
from console.security.roles import ACTIONS
from console.views.form_handling import run_action, submit_form, submit_with_secret, take_shown_secret
from console.views.list_view import Filter, ListView, bulk_action
from console.views.view import action_route, page_route
from shared.core.errors import NotFound
from shared.core.timestamps import format_timestamp
from shared.models import ENABLED_STATUSES, STAFF_ROLES, StaffSession, StaffUser
from shared.operations.second_factor import STAFF
from shared.operations.staff_identities import identities_of
from shared.operations.staff_sessions import active_sessions
from shared.text.translation import gettext, lazy_gettext, ngettext


class StaffView(ListView):
    model = StaffUser
    has_aside = True
    row_name = "email"
    list_template = "staff/list.html"
    column_list = ("email", "role", "status", "second_factor", "last_sign_in_at")
    column_labels = {
        "email": lazy_gettext("Email"),
        "role": lazy_gettext("Role"),
        "status": lazy_gettext("State"),
        "second_factor": lazy_gettext("Second factor"),
        "last_sign_in_at": lazy_gettext("Last sign-in"),
    }
    column_sortable_list = ("email", "role", "status", "last_sign_in_at")
    column_default_sort = "email"
    column_searchable_list = ("email",)
    column_filters = (
        Filter(StaffUser.role, lazy_gettext("Role"), [(role, role) for role in STAFF_ROLES]),
        Filter(StaffUser.status, lazy_gettext("State"), [(status, status) for status in ENABLED_STATUSES]),
    )
    column_formatters = {column: macro(f"{column}_cell") for column in column_list}
    column_formatters_export = {"last_sign_in_at": lambda *cell: format_timestamp(cell[2].last_sign_in_at) or ""}
    clipped_columns = frozenset({"email"})

    @page_route("/")
    def index(self) -> ResponseReturnValue:
        return self._list(NewStaffForm(formdata=None))

    def get_query(self) -> Any:
        """Return the staff, without passwords and secrets."""
        return StaffUser.select(
            *(StaffUser.id, StaffUser.email, StaffUser.role, StaffUser.status, StaffUser.last_sign_in_at),
            Case(None, [(StaffUser.sealed_totp == "", "off")], "on").alias("second_factor"),
        )

    @bulk_action(
        "enable",
        "staff.manage",
        lazy_gettext("Enable logins"),
        lambda count: ngettext("Enable {count} login", "Enable {count} logins", count),
        lazy_gettext("They can sign in again."),
    )
    def enable_selected(self, row: StaffUser) -> None:
        """Let a person sign in again."""
        staff.set_staff_status(row.id, "active")

    @bulk_action(
        "disable",
        "staff.manage",
        lazy_gettext("Disable logins"),
        lambda count: ngettext("Disable {count} login", "Disable {count} logins", count),
        lazy_gettext("They are signed out everywhere and cannot sign in."),
    )
    def disable_selected(self, row: StaffUser) -> None:
        """Disable a person's login."""
        staff.set_staff_status(row.id, "disabled")

    @action_route("/", "staff.manage")
    def make(self) -> ResponseReturnValue:
        form = NewStaffForm()
        done = submit_with_secret(form, lambda: staff.create_staff(form.email.data, form.role.data), "staff.made")
        return done or (self._list(form), 422)

    @page_route("/made/<form_id>")
    def made(self, form_id: str) -> ResponseReturnValue:
        id, password = take_shown_secret(form_id)
        person = _find(UUID(id))
        if password is None:
            what, back = gettext("The password of {email}", email=person.email), _staff_url(person.id)
            return self.page(
                "shown.html", what=what, advice=gettext("If it was not copied, reset the password again."), back=back
            )
        return self.page("staff/password.html", person=person, password=password)

    @page_route("/<uuid:staff_id>")
    def detail(self, staff_id: UUID) -> ResponseReturnValue:
        return self._page(_find(staff_id))

    @action_route("/<uuid:staff_id>/role", "staff.manage")
    def role(self, staff_id: UUID) -> ResponseReturnValue:
        person, form = _find(staff_id), RoleForm()
        done = submit_form(form, lambda: staff.set_staff_role(person.id, form.role.data), _staff_url(staff_id))
        return done or (self._page(_find(staff_id), form), 422)

    @action_route("/<uuid:staff_id>/disable", "staff.manage")
    def disable(self, staff_id: UUID) -> ResponseReturnValue:
        return run_action(lambda: staff.set_staff_status(staff_id, "disabled"), _staff_url(staff_id))

    @action_route("/<uuid:staff_id>/enable", "staff.manage")
    def enable(self, staff_id: UUID) -> ResponseReturnValue:
        return run_action(lambda: staff.set_staff_status(staff_id, "active"), _staff_url(staff_id))

    @action_route("/<uuid:staff_id>/password", "staff.manage")
    def password(self, staff_id: UUID) -> ResponseReturnValue:
        form = ResetPasswordForm()
        done = submit_with_secret(form, lambda: staff.reset_staff_password(_find(staff_id).email), "staff.made")
        return done or (self._page(_find(staff_id), reset=form), 422)

    @action_route("/<uuid:staff_id>/second-factor/off", "staff.manage")
    def turn_off_second_factor(self, staff_id: UUID) -> ResponseReturnValue:
        return run_action(lambda: staff.disable_second_factor(_find(staff_id)), _staff_url(staff_id))

    @action_route("/<uuid:staff_id>/identities/disconnect", "staff.manage")
    def disconnect(self, staff_id: UUID) -> ResponseReturnValue:
        return run_action(lambda: staff.disconnect_identities(_find(staff_id)), _staff_url(staff_id))

    @action_route("/<uuid:staff_id>/sign-out", "staff.manage")
    def sign_out(self, staff_id: UUID) -> ResponseReturnValue:
        return run_action(lambda: staff.sign_out_staff(_find(staff_id)), _staff_url(staff_id))

    def _list(self, form: NewStaffForm) -> str:
        return self.list_page(form=form, permissions=ACTIONS, roles=STAFF_ROLES)

    def _page(self, person: StaffUser, form: RoleForm | None = None, reset: ResetPasswordForm | None = None) -> str:
        return self.page(
            "staff/detail.html",
            person=person,
            form=form or RoleForm(formdata=None, role=person.role),
            reset=reset or ResetPasswordForm(formdata=None),
            identities=identities_of(person.id),
            codes_left=STAFF.recovery_codes_left(person.id),
            page=fetch_page(active_sessions(person.id), (StaffSession.created_at,), request.args.get("before")),
        )


def _find(staff_id: UUID) -> StaffUser:
    person: StaffUser | None = StaffUser.get_or_none(StaffUser.id == staff_id)
    if person is None:
        raise NotFound(gettext("No staff member {staff_id}.", staff_id=staff_id))
    return person


def _staff_url(staff_id: UUID) -> str:
    return url_for("staff.detail", staff_id=staff_id)
