"""Accounts: search, balance, keys and calls; adjust credits, suspend and activate."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue

from console.actions import accounts
from console.forms.customers import (
    EmailForm,
    NewAccountForm,
    NewMemberForm,
    NoteForm,
    OverageForm,
    PasswordLinkForm,
    PurgeForm,
    SubscribeForm,
)
from console.forms.fields import CreditsForm
from console.paging import fetch_page
from console.security.auth import settings
from console.views.account_management import plan_names
from console.views.form_handling import run_action, submit_form, submit_with_secret, take_shown_secret
from console.views.view import View, action_route, page_route
from shared.core.clock import now_ms
from shared.identity.account_links import LASTS_MS
from shared.identity.emails import normalize_for_lookup
from shared.identity.roles import OWNER
from shared.mail.outbox import recent_mails
from shared.models import Account, ApiKey, EmailChange, Hold, LedgerEntry, MediaJob, Payment, Subscription, UsageLedger
from shared.operations.account_closing import closing_entry
from shared.operations.account_notes import list_notes
from shared.operations.accounts import find_account
from shared.operations.budgets import list_budgets, target_names
from shared.operations.email_changes import pending_change
from shared.operations.invitations import open_invitations
from shared.operations.members import MemberRow, list_members
from shared.operations.payments import unpaid_bills
from shared.operations.plans import find_plan
from shared.operations.purges import latest_purge
from shared.operations.subscriptions import active_subscription
from shared.operations.web_accounts import account_actor
from shared.payments.labels import shown_state
from shared.text.translation import gettext

LATEST_ROWS = 10


class AccountsView(View):
    @page_route("/")
    def index(self) -> ResponseReturnValue:
        text = request.args.get("q", "").strip()
        if found := _by_id(text):
            return redirect(url_for("accounts.detail", account_id=found.id), 303)
        query = Account.select()
        if text:
            query = query.where(Account.email.startswith(normalize_for_lookup(text)))
        return self.page("accounts/list.html", q=text, page=fetch_page(query, [Account.id], request.args.get("before")))

    @page_route("/new")
    def new(self) -> ResponseReturnValue:
        return self.page("accounts/new.html", form=_new_form(NewAccountForm(formdata=None)))

    @action_route("/new", "account.create")
    def create(self) -> ResponseReturnValue:
        form = _new_form(NewAccountForm())
        done = submit_form(form, lambda: accounts.create_account(form), lambda: _account_url(find_account(form.email.data).id))
        return done or (self.page("accounts/new.html", form=form), 422)

    @action_route("/<uuid:account_id>/password-link", "account.password")
    def password_link(self, account_id: UUID) -> ResponseReturnValue:
        account, form = find_account(account_id), PasswordLinkForm()
        done = submit_with_secret(form, lambda: accounts.create_password_link(account.id), "accounts.made_password_link")
        return done or (self._page(account, CreditsForm(formdata=None), link=form), 422)

    @page_route("/password-link/<form_id>")
    def made_password_link(self, form_id: str) -> ResponseReturnValue:
        id, link = take_shown_secret(form_id)
        account = find_account(id)
        if link is None:
            advice, back = (
                gettext("If the link was not copied, create another. The first one still works."),
                _account_url(account.id),
            )
            return self.page(
                "shown.html", what=gettext("The password link of {email}", email=account.email), advice=advice, back=back
            )
        return self.page("accounts/password_link.html", account=account, address=link, hours=LASTS_MS // 3_600_000)

    @page_route("/<uuid:account_id>")
    def detail(self, account_id: UUID) -> ResponseReturnValue:
        return self._page(find_account(account_id), CreditsForm())

    @action_route("/<uuid:account_id>/credits", "account.credits")
    def credits(self, account_id: UUID) -> ResponseReturnValue:
        account, form = find_account(account_id), CreditsForm()
        target = url_for("accounts.detail", account_id=account.id)
        done = submit_form(
            form, lambda: accounts.adjust_credits(account.id, form.amount.required_value(), form.reason.data), target
        )
        return done or (self._page(find_account(account_id), form), 422)

    @action_route("/<uuid:account_id>/suspend", "account.status")
    def suspend(self, account_id: UUID) -> ResponseReturnValue:
        return run_action(lambda: accounts.suspend_account(account_id), url_for("accounts.detail", account_id=account_id))

    @action_route("/<uuid:account_id>/activate", "account.status")
    def activate(self, account_id: UUID) -> ResponseReturnValue:
        return run_action(lambda: accounts.activate_account(account_id), url_for("accounts.detail", account_id=account_id))

    def _page(self, account: Account, form: CreditsForm, link: PasswordLinkForm | None = None) -> str:
        queries: dict[str, Any] = {
            "keys": ApiKey.select().where(ApiKey.account == account).order_by(ApiKey.id.desc()).limit(LATEST_ROWS),
            "entries": LedgerEntry.select()
            .where(LedgerEntry.account == account)
            .order_by(LedgerEntry.seq.desc())
            .limit(LATEST_ROWS),
            "calls": UsageLedger.select()
            .where(UsageLedger.account == account)
            .order_by(UsageLedger.created_at.desc(), UsageLedger.id.desc())
            .limit(LATEST_ROWS),
            "holds": Hold.select()
            .where((Hold.account == account) & (Hold.state == "held"))
            .order_by(Hold.expires_at, Hold.id)
            .limit(LATEST_ROWS),
            "jobs": MediaJob.select()
            .where(MediaJob.account == account)
            .order_by(MediaJob.created_at.desc(), MediaJob.id.desc())
            .limit(LATEST_ROWS),
            "unpaid": unpaid_bills(account.id),
            "payments": Payment.select()
            .where(Payment.account == account)
            .order_by(Payment.created_at.desc(), Payment.reference)
            .limit(LATEST_ROWS),
        }
        rows = {name: list(query) for name, query in queries.items()}
        subscription, budgets = active_subscription(account.id), list_budgets(account.id)
        subscribe = SubscribeForm(formdata=None)
        subscribe.plan.choices = plan_names()
        overage = OverageForm(formdata=None, cap=subscription.overage_cap if subscription else 0)
        members = list_members(account.id)
        return self.page(
            "accounts/detail.html",
            account=account,
            pending_email=_pending_email(members),
            second_factor=any(row.member.role == OWNER and row.member.person.sealed_totp for row in members),
            form=form,
            subscription=subscription,
            next_plan=find_plan(subscription.next_plan) if subscription and subscription.next_plan else None,
            limits=_limits(subscription),
            subscribe=subscribe,
            overage=overage,
            password_link=link or PasswordLinkForm(formdata=None),
            note=NoteForm(formdata=None),
            notes=list_notes(account.id),
            email=EmailForm(formdata=None),
            new_member=NewMemberForm(formdata=None),
            members=members,
            invitations=open_invitations(account.id),
            mails=recent_mails(account.id),
            budgets=budgets,
            payment_state=shown_state,
            budget_targets=target_names(account.id, budgets),
            sends_mail=settings().sends_mail,
            purge=PurgeForm(formdata=None),
            purging=latest_purge(account.id),
            closing=closing_entry(account.id) if account.status == "closed" else None,
            own_actor=account_actor(account.id),
            now=now_ms(),
            **rows,
        )


def _new_form(form: NewAccountForm) -> NewAccountForm:
    """Return the form, without the choice to send an invitation if no mail server is set."""
    if not settings().sends_mail:
        del form.invite
    return form


def _pending_email(members: list[MemberRow]) -> EmailChange | None:
    """Return the new email address that the owner has not confirmed yet."""
    owner = next((row.member for row in members if row.member.role == OWNER), None)
    return pending_change(owner.person.id) if owner is not None else None


def _account_url(account: UUID) -> str:
    return url_for("accounts.detail", account_id=account)


def _limits(subscription: Subscription | None) -> list[tuple[str, int, bool]]:
    """Return (label, limit, whether the plan sets it) for each limit; the plan's values replace the platform defaults."""
    defaults = settings()
    plan = subscription.plan if subscription is not None else None
    limits = []
    for label, name, default in (
        (gettext("Requests per minute"), "rpm", defaults.default_rpm),
        (gettext("Tokens per minute"), "tpm", defaults.default_tpm),
        (gettext("Concurrent requests"), "concurrency", defaults.default_concurrency),
    ):
        own = getattr(plan, name, None)
        limits.append((label, default if own is None else own, own is not None))
    return limits


def _by_id(text: str) -> Account | None:
    try:
        found: Account | None = Account.get_or_none(Account.id == UUID(text))
    except ValueError:
        return None
    return found
