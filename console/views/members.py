"""Members of an account: their roles, limits and spending. The list is on the account's page."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from flask import flash, redirect, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm

from console.actions import members as actions
from console.forms.customers import MemberForm, NewMemberForm
from console.views.form_handling import run_action, submit_form
from console.views.view import View, action_route, page_route
from shared.models import ApiKey
from shared.operations.accounts import find_account
from shared.operations.keys import of_member
from shared.operations.members import find_member

LATEST_KEYS = 50


class MembersView(View):
    def is_visible(self) -> bool:
        return False

    @page_route("/")
    def index(self) -> ResponseReturnValue:
        return redirect(url_for("accounts.index"), 303)

    @page_route("/<uuid:account_id>/<uuid:member_id>")
    def detail(self, account_id: UUID, member_id: UUID) -> ResponseReturnValue:
        account, row = find_account(account_id), find_member(account_id, member_id)
        keys = ApiKey.select().where(of_member(account_id, member_id)).order_by(ApiKey.id.desc()).limit(LATEST_KEYS)
        return self.page("members/detail.html", account=account, row=row, keys=list(keys), form=MemberForm.from_member(row))

    @action_route("/<uuid:account_id>", "account.members")
    def invite(self, account_id: UUID) -> ResponseReturnValue:
        account, form = find_account(account_id), NewMemberForm()
        return _back(form, lambda: actions.invite(account.id, form), url_for("accounts.detail", account_id=account.id))

    @action_route("/<uuid:account_id>/invitations/<uuid:invitation_id>/revoke", "account.members")
    def revoke_invitation(self, account_id: UUID, invitation_id: UUID) -> ResponseReturnValue:
        target = url_for("accounts.detail", account_id=find_account(account_id).id)
        return run_action(lambda: actions.revoke_invitation(account_id, invitation_id), target)

    @action_route("/<uuid:account_id>/<uuid:member_id>", "account.members")
    def change(self, account_id: UUID, member_id: UUID) -> ResponseReturnValue:
        row, form = find_member(account_id, member_id), MemberForm()
        return _back(form, lambda: actions.change_member(account_id, row.id, form), _member_url(account_id, row.id))

    @action_route("/<uuid:account_id>/<uuid:member_id>/suspend", "account.members")
    def suspend(self, account_id: UUID, member_id: UUID) -> ResponseReturnValue:
        row = find_member(account_id, member_id)
        return run_action(lambda: actions.suspend_member(account_id, row.id), _member_url(account_id, row.id))

    @action_route("/<uuid:account_id>/<uuid:member_id>/resume", "account.members")
    def resume(self, account_id: UUID, member_id: UUID) -> ResponseReturnValue:
        row = find_member(account_id, member_id)
        return run_action(lambda: actions.resume_member(account_id, row.id), _member_url(account_id, row.id))

    @action_route("/<uuid:account_id>/<uuid:member_id>/remove", "account.members")
    def remove(self, account_id: UUID, member_id: UUID) -> ResponseReturnValue:
        row, target = find_member(account_id, member_id), url_for("accounts.detail", account_id=account_id)
        return run_action(lambda: actions.remove_member(account_id, row.id), target)

    @action_route("/<uuid:account_id>/<uuid:member_id>/transfer", "account.email")
    def transfer(self, account_id: UUID, member_id: UUID) -> ResponseReturnValue:
        row = find_member(account_id, member_id)
        return run_action(lambda: actions.transfer_ownership(account_id, row.id), _member_url(account_id, row.id))


def _member_url(account_id: UUID, member_id: UUID) -> str:
    return url_for("members.detail", account_id=account_id, member_id=member_id)


def _back(form: FlaskForm, action: Callable[[], str], target: str) -> ResponseReturnValue:
    """Handle a form and redirect to `target`. Errors are flashed there, since the form is short and quickly retyped."""
    done = submit_form(form, action, target)
    if done is not None:
        return done
    for errors in form.errors.values():
        for message in errors:
            flash(message, "bad")
    return redirect(target, 303)
