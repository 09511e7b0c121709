"""Changes to one account besides its credits: plan, notes, sessions, email, purge. The page itself is in `accounts`."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from flask import flash, redirect, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm

from console.actions import customers as actions
from console.forms.customers import EmailForm, NoteForm, OverageForm, PurgeForm, SubscribeForm
from console.views.form_handling import run_action, submit_form
from console.views.view import View, action_route, page_route
from shared.models import Plan
from shared.operations.accounts import find_account
from shared.operations.subscriptions import active_subscription


class AccountCareView(View):
    """Form submissions only; each redirects to the account's page."""

    def is_visible(self) -> bool:
        return False

    @page_route("/")
    def index(self) -> ResponseReturnValue:
        return redirect(url_for("accounts.index"), 303)

    @action_route("/<uuid:account_id>/plan", "account.plan")
    def subscribe(self, account_id: UUID) -> ResponseReturnValue:
        account, form = find_account(account_id), SubscribeForm()
        form.plan.choices = plan_names()
        return self._back(account.id, form, lambda: actions.subscribe(account.id, form, active_subscription(account.id)))

    @action_route("/<uuid:account_id>/plan/cancel", "account.plan")
    def cancel(self, account_id: UUID) -> ResponseReturnValue:
        return self._do(account_id, lambda: actions.cancel_subscription(account_id, "next_period"))

    @action_route("/<uuid:account_id>/plan/end", "account.plan")
    def end(self, account_id: UUID) -> ResponseReturnValue:
        return self._do(account_id, lambda: actions.cancel_subscription(account_id, "now"))

    @action_route("/<uuid:account_id>/plan/keep", "account.plan")
    def keep(self, account_id: UUID) -> ResponseReturnValue:
        return self._do(account_id, lambda: actions.keep_subscription(account_id))

    @action_route("/<uuid:account_id>/plan/suspend", "account.plan")
    def suspend_plan(self, account_id: UUID) -> ResponseReturnValue:
        return self._do(account_id, lambda: actions.suspend_subscription(account_id))

    @action_route("/<uuid:account_id>/plan/resume", "account.plan")
    def resume_plan(self, account_id: UUID) -> ResponseReturnValue:
        return self._do(account_id, lambda: actions.resume_subscription(account_id))

    @action_route("/<uuid:account_id>/overage", "account.plan")
    def overage(self, account_id: UUID) -> ResponseReturnValue:
        account, form = find_account(account_id), OverageForm()
        return self._back(account.id, form, lambda: actions.set_overage(account.id, form.cap.required_value()))

    @action_route("/<uuid:account_id>/notes", "account.note")
    def note(self, account_id: UUID) -> ResponseReturnValue:
        account, form = find_account(account_id), NoteForm()
        return self._back(account.id, form, lambda: actions.add_note(account.id, form.text.data))

    @action_route("/<uuid:account_id>/notes/<uuid:note_id>/remove", "account.note")
    def remove_note(self, account_id: UUID, note_id: UUID) -> ResponseReturnValue:
        return self._do(account_id, lambda: actions.remove_note(account_id, note_id))

    @action_route("/<uuid:account_id>/second-factor/off", "account.password")
    def remove_second_factor(self, account_id: UUID) -> ResponseReturnValue:
        return self._do(account_id, lambda: actions.remove_second_factor(account_id))

    @action_route("/<uuid:account_id>/sign-out", "account.status")
    def sign_out(self, account_id: UUID) -> ResponseReturnValue:
        return self._do(account_id, lambda: actions.sign_out_account(account_id))

    @action_route("/<uuid:account_id>/email", "account.email")
    def email(self, account_id: UUID) -> ResponseReturnValue:
        account, form = find_account(account_id), EmailForm()
        return self._back(account.id, form, lambda: actions.change_email(account, form))

    @action_route("/<uuid:account_id>/verification-mail", "account.email")
    def resend_verification(self, account_id: UUID) -> ResponseReturnValue:
        return self._do(account_id, lambda: actions.resend_verification(account_id))

    @action_route("/<uuid:account_id>/purge", "account.purge")
    def purge(self, account_id: UUID) -> ResponseReturnValue:
        account, form = find_account(account_id), PurgeForm()
        return self._back(account.id, form, lambda: actions.purge_account(account, form.confirmation.data))

    def _do(self, account_id: UUID, action: Callable[[], str]) -> ResponseReturnValue:
        find_account(account_id)
        return run_action(action, _account_url(account_id))

    def _back(self, account_id: UUID, form: FlaskForm, action: Callable[[], str]) -> ResponseReturnValue:
        """Handle a form of the account page. Errors are flashed there, since the form is short and quickly retyped."""
        done = submit_form(form, action, _account_url(account_id))
        if done is not None:
            return done
        for errors in form.errors.values():
            for message in errors:
                flash(message, "bad")
        return redirect(_account_url(account_id), 303)


def plan_names() -> list[str]:
    """Return the names of the active plans."""
    return [row.name for row in Plan.select(Plan.name).where(Plan.status == "active").order_by(Plan.name)]


def _account_url(account_id: UUID) -> str:
    return url_for("accounts.detail", account_id=account_id)
