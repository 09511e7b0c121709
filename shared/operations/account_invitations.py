"""Invitations by staff and operators to an account of one's own: an email with a link that sets the first password.

The account exists from the invitation on. The link proves the address, because only the email has it.
"""

from __future__ import annotations

from uuid import UUID

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.identity.account_links import ACCOUNT_INVITATION, make_token
from shared.mail.address import recipient
from shared.mail.outbox import queue_mail
from shared.mail.texts import MailText, account_invitation_mail
from shared.models import Account
from shared.operations.accounts import create_account
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.people import sync_owner
from shared.text.translation import in_language

KIND = "account_invitation"
LASTS_MS = 7 * 86_400_000
_DAY_MS = 86_400_000


def invite_to_account(email: str, credits: int = 0, *, name: str = "", sign_up_credits: int = 0, origin: Origin) -> Account:
    """Create an account, and email its owner a link that is valid for `LASTS_MS`, or until they have a password.

    The account has `credits` at once, and gets `sign_up_credits` when the owner accepts. Raises `InvalidInput` for an address
    that is invalid, taken, or cannot get email.
    """
    with transaction():
        account = create_account(email, credits, name=name, origin=origin)
        recipient(account.email)
        Account.update(pending_credits=sign_up_credits).where(Account.id == account.id).execute()
        queue_mail(account.id, KIND, account.email)
        after = {"email": account.email, "pending_credits": sign_up_credits}
        record_audit_entry(origin, "account.invite", account.id, after=after)
        return account


def compose(account: UUID, email: str, *, secret_key: str, edge_url: str) -> MailText | None:
    """Return the text of the email, or None if the owner has a password or another address by now."""
    row: Account | None = Account.get_or_none((Account.id == account) & (Account.status != "closed"))
    if row is None or row.email != email or row.password_hash is not None:
        return None
    person = sync_owner(account).person.id
    token = make_token(secret_key, ACCOUNT_INVITATION, person, None, now_ms() + LASTS_MS)
    with in_language(row.language):
        return account_invitation_mail(email, f"{edge_url}/password/{token}", row.pending_credits, LASTS_MS // _DAY_MS)
