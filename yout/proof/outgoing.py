"""Mails and webhooks about an account, composed as the worker composes them, and searched for canaries.

They are composed in a transaction that is rolled back, so that no worker of the installation sends them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import UUID

from shared.alerts import budget_webhooks, budgets
from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.settings import Settings
from shared.mail.outbox import queue_mail
from shared.mail.preferences import BUDGET, KEY_EXPIRING, LOW_BALANCE
from shared.mail.texts import MailText
from shared.media.job_json import job_document
from shared.media.output_urls import signed_output_url
from shared.models import Account, ApiKey, BudgetAlert, MediaJob, MediaOutput, OutgoingMail, Person
from shared.operations import account_mails
from shared.operations.audit import Origin
from shared.operations.budgets import BudgetTerms, create_budget
from shared.operations.people import sync_owner
from yout.proof.canary import Finder
from yout.proof.places import Hit, Place

NAME = "mails and webhooks about the account"
KEPT = frozenset({"error_code"})  # in the webhook of a failed job, if the provider's code looks like one


class _RollBack(Exception):
    """Ends the transaction without a commit."""


def search_outgoing(finder: Finder, account: UUID, settings: Settings, origin: Origin) -> Place:
    """Compose a mail and a webhook of each kind that is about usage, and search them. Run it after the calls."""
    sent: list[str] = []
    try:
        with transaction():
            _cause_alerts(account, origin)
            sent += [*_mails(account, settings), *_webhooks(account, settings)]
            raise _RollBack
    except _RollBack:
        pass
    hits = {Hit(*found, NAME, found.canary in KEPT) for text in sent for found in finder.find(text.encode())}
    return Place(NAME, len(sent), "messages", sorted(hits))


def _cause_alerts(account: UUID, origin: Origin) -> None:
    """Create budgets that are reached, and queue the mails about the account."""
    person = sync_owner(account).person
    Person.update(email_verified_at=now_ms()).where(Person.id == person.id).execute()
    Account.update(email_verified_at=now_ms()).where(Account.id == account).execute()
    for scope in ("account", "balance"):
        for webhook_format in ("event", "slack"):
            terms = BudgetTerms(1_000, [1], webhook_url="https://example.com/", webhook_format=webhook_format)
            row = create_budget(account, scope, "", "month", terms, origin=origin)
            budgets.record_spending(row, 999, now_ms(), sends_mail=True)
    account_mails.queue_new_sign_in(account, person.id, "Firefox on Linux")
    for key in ApiKey.select().where(ApiKey.account == account):
        queue_mail(account, KEY_EXPIRING, person.email, subject=str(key.id), one_recipient=False)


def _mails(account: UUID, settings: Settings) -> Iterator[str]:
    for mail in OutgoingMail.select().where((OutgoingMail.account == account) & (OutgoingMail.status == "queued")):
        text = _compose(account, mail, settings)
        if text is not None:
            yield f"{text.subject}\n{text.text}\n{text.html}"


def _compose(account: UUID, mail: OutgoingMail, settings: Settings) -> MailText | None:
    about = (account, mail.recipient, mail.subject)
    if mail.kind in (BUDGET, LOW_BALANCE):
        return budgets.compose(*about, language="en", edge_url=settings.edge_url)
    return account_mails.compose(mail.kind, account_mails.MailContext(*about, settings.secret_key, settings.edge_url))


def _webhooks(account: UUID, settings: Settings) -> Iterator[str]:
    for alert in BudgetAlert.select(BudgetAlert.id):
        found = budgets.find_alert(alert.id)
        if found is not None and found.budget.__data__["account"] == account:
            yield json.dumps(budget_webhooks.webhook_document(found))
    for job in MediaJob.select().where(MediaJob.account == account):
        outputs = list(MediaOutput.select().where(MediaOutput.job == job.id))
        yield json.dumps(job_document(job, outputs, lambda output: signed_output_url(settings.edge_url, job, output, settings)))  # noqa: B023  (called at once)
