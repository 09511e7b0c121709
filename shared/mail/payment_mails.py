"""Queues emails about payments. Call them in the transaction that records the payment, if the installation sends email."""

from __future__ import annotations

from uuid import UUID

from shared.mail.outbox import queue_mail
from shared.mail.preferences import RECEIPT, billing_recipients

TOP_UP_FAILED = "top_up_failed"
PAYMENT_FAILED = "payment_failed"  # of a plan or an overage bill
PAYMENT_REVIEW = "payment_review"


def queue_receipt_mail(account: UUID, provider: str, reference: str) -> None:
    """Queue the receipt of a payment (`Payment`) to the members who manage payments. Call it once, when it is paid."""
    for email in billing_recipients(account, RECEIPT, verified=False):
        queue_mail(account, RECEIPT, email, subject=f"{provider}:{reference}", one_recipient=False)


def queue_top_up_failed_mail(account: UUID, credits: int) -> None:
    """Queue an email that an automatic top-up of `credits` failed to the members who manage payments."""
    for email in billing_recipients(account, TOP_UP_FAILED, verified=False):
        queue_mail(account, TOP_UP_FAILED, email, subject=str(credits), one_recipient=False)


def queue_payment_failed_mail(account: UUID, reference: str) -> None:
    """Queue an email that a plan or an overage bill (`Payment`) could not be charged to the members who manage payments."""
    for email in billing_recipients(account, PAYMENT_FAILED, verified=False):
        queue_mail(account, PAYMENT_FAILED, email, subject=reference, one_recipient=False)


def queue_payment_review_mail(account: UUID, reference: str) -> None:
    """Queue an email that a payment (`Payment`) needs a review by staff to the members who manage payments."""
    for email in billing_recipients(account, PAYMENT_REVIEW, verified=False):
        queue_mail(account, PAYMENT_REVIEW, email, subject=reference, one_recipient=False)
