"""Composes the text of an email from its row in the outbox: when it is sent, and when staff read it in the console."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from shared.alerts import budgets
from shared.core.settings import Settings
from shared.mail.preferences import BUDGET, LOW_BALANCE, recipient_language
from shared.mail.texts import MailText
from shared.operations import account_invitations, account_mails, invitations, verification
from shared.operations.account_mails import MailContext

# The emails whose text needs only the account, the recipient, and what links are made from.
_LINK_MAILS = {
    verification.KIND: verification.compose,
    invitations.KIND: invitations.compose,
    account_invitations.KIND: account_invitations.compose,
}


class OutboxRow(Protocol):
    """What an email is about (`OutgoingMail`)."""

    @property
    def kind(self) -> str: ...
    @property
    def recipient(self) -> str: ...
    @property
    def subject(self) -> str: ...


def compose(account: UUID, mail: OutboxRow, settings: Settings) -> MailText | None:
    """Return the text of an email to a member of `account`, with new links, or None if it is no longer needed.

    Raises `ValueError` for an unknown kind.
    """
    secret_key, edge_url = settings.secret_key, settings.edge_url
    link_mail = _LINK_MAILS.get(mail.kind)
    if link_mail is not None:
        return link_mail(account, mail.recipient, secret_key=secret_key, edge_url=edge_url)
    if mail.kind in (BUDGET, LOW_BALANCE):
        language = recipient_language(mail.recipient)
        return budgets.compose(account, mail.recipient, mail.subject, language=language, edge_url=edge_url)
    if mail.kind in account_mails.KINDS:
        context = MailContext(account, mail.recipient, mail.subject, secret_key, edge_url)
        return account_mails.compose(mail.kind, context)
    raise ValueError(f"unknown kind of email: {mail.kind}")
