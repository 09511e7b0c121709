"""Staff actions on an account and its keys, one function each."""

from __future__ import annotations

from uuid import UUID

from console.actions.origin import origin
from console.forms.customers import NewAccountForm
from console.security.auth import settings
from shared.core.errors import InvalidInput
from shared.core.formats import format_credits
from shared.models import ApiKey
from shared.operations import account_invitations, accounts, keys, web_accounts
from shared.text.plain_text import one_line
from shared.text.translation import gettext


def create_account(form: NewAccountForm) -> str:
    email, name = form.email.data, form.name.data or ""
    if form.invite is not None and form.invite.data:
        credits = settings().sign_up_credits
        row = account_invitations.invite_to_account(email, name=name, sign_up_credits=credits, origin=origin())
        return gettext("Account {email} created. Its owner gets an email with a link to set a password.", email=row.email)
    row = accounts.create_account(email, name=name, origin=origin())
    return gettext("Account {email} created. Give its owner a password link to sign in with.", email=row.email)


def create_password_link(account: UUID) -> tuple[str, str]:
    """Return the account's id and a link with which its owner can set a password, which is shown once."""
    link = web_accounts.create_password_link(str(account), settings().secret_key, origin=origin())
    return str(account), f"{settings().edge_url}/password/{link.token}"


def adjust_credits(account: UUID, amount: int, reason: str) -> str:
    """Grant credits, or deduct them if `amount` is negative."""
    granted = accounts.adjust_credits(account, amount, reason, origin=origin())
    values = {
        "amount": format_credits(abs(amount)),
        "email": granted.account.email,
        "balance": format_credits(granted.account.balance),
    }
    if amount > 0:
        return gettext("{amount} credits granted to {email}. New balance: {balance}.", **values)
    return gettext("{amount} credits deducted from {email}. New balance: {balance}.", **values)


def suspend_account(account: UUID) -> str:
    row = accounts.set_account_status(account, "suspended", origin=origin())
    return gettext("{email} is suspended. Requests with its keys are rejected; calls in progress finish.", email=row.email)


def activate_account(account: UUID) -> str:
    row = accounts.set_account_status(account, "active", origin=origin())
    return gettext("{email} is active. Its keys work again.", email=row.email)


def revoke_key(key: ApiKey, confirmation: str) -> str:
    """Revoke a key. Raises `InvalidInput` if `confirmation` is not the key's name."""
    if one_line(confirmation) != one_line(key.name):
        raise InvalidInput(gettext("The name does not match. Type {key} to revoke this key.", key=key.name))
    keys.revoke_key(key.id, origin=origin())
    return gettext("Key {prefix} revoked. Requests with it are rejected.", prefix=key.prefix)
