"""Closes an account for its owner: keys, sessions and plan end, and a purge of its data starts."""

from __future__ import annotations

from uuid import UUID

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput
from shared.identity.account_links import CLOSED, AccountLink, make_token, proves
from shared.mail.outbox import cancel_mails
from shared.models import (
    Account,
    ApiKey,
    AuditEntry,
    EmailChange,
    Person,
    PersonIdentity,
    PersonPasskey,
    PersonRecoveryCode,
    PurgeJob,
)
from shared.operations.accounts import require_customer_account
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.budgets import delete_budgets
from shared.operations.people import memberships, sync_owner
from shared.operations.purges import begin_purge, latest_purge
from shared.operations.subscriptions import active_subscription, cancel_subscription
from shared.operations.web_accounts import end_account_sessions
from shared.payments.orders import cancel_orders
from shared.payments.plan_periods import give_up_subscriptions
from shared.text.translation import lazy_gettext

ACTION = "account.close"  # in the audit log
LINK_LASTS_MS = 30 * 24 * 3600 * 1000


def close_account(id: UUID, *, origin: Origin) -> PurgeJob:
    """Close an account permanently, and return the purge of its data. Calls in progress finish and are charged.

    The email address, the balance and the audit log stay, so that open questions can be settled. Raises `NotFound`, and
    `InvalidInput` if the account is already closed.
    """
    with transaction():
        job = begin_purge(id, origin=origin)  # locks the account
        account = Account.get_by_id(id)
        require_customer_account(account)
        if account.status == "closed":
            raise InvalidInput(lazy_gettext("The account is already closed."))
        give_up_subscriptions(id)
        cancel_orders(id)
        if active_subscription(id) is not None:
            cancel_subscription(id, "now", origin=origin)
        active = (ApiKey.account == id) & ApiKey.revoked_at.is_null()
        ended = {
            "keys_revoked": ApiKey.update(revoked_at=now_ms()).where(active).execute(),
            "sessions_ended": end_account_sessions(id),
        }
        cancel_mails(id)
        delete_budgets(id)
        owner = sync_owner(id).person.id
        Account.update(status="closed", password_hash=None, pending_credits=0).where(Account.id == id).execute()
        EmailChange.delete().where(EmailChange.person == owner).execute()
        if not memberships(owner):
            Person.update(password_hash=None, sealed_totp="", totp_step=0).where(Person.id == owner).execute()
            PersonIdentity.delete().where(PersonIdentity.person == owner).execute()
            PersonPasskey.delete().where(PersonPasskey.person == owner).execute()
            PersonRecoveryCode.delete().where(PersonRecoveryCode.person == owner).execute()
        after = {"status": "closed", **ended, "purge": str(job.id)}
        record_audit_entry(origin, ACTION, id, before={"status": account.status}, after=after)
        return job


def closing_entry(account: UUID) -> AuditEntry | None:
    """Return the audit entry of an account's closing, or None."""
    closed = (AuditEntry.target == str(account)) & (AuditEntry.action == ACTION)
    entry: AuditEntry | None = AuditEntry.select().where(closed).order_by(AuditEntry.created_at.desc()).first()
    return entry


def certificate_token(job: PurgeJob, secret_key: str) -> str:
    """Return the token of the page with the certificate of a closed account, which nobody can sign in to."""
    return make_token(secret_key, CLOSED, job.account.id, str(job.id), now_ms() + LINK_LASTS_MS)


def linked_purge(link: AccountLink, secret_key: str) -> PurgeJob | None:
    """Return the purge of the closed account that a link is for; None if the link is not genuine or has expired."""
    job = latest_purge(link.account)
    return job if job is not None and proves(link, secret_key, CLOSED, str(job.id), now_ms()) else None
