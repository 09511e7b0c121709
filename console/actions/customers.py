"""Staff actions on plans, subscriptions, notes, keys and redeem codes, one function each."""

from __future__ import annotations

from uuid import UUID

from console.actions.origin import origin
from console.forms.customers import CodesForm, EmailForm, KeyForm, NewPlanForm, PlanForm, SubscribeForm
from console.security.auth import settings
from shared.core.clock import now_ms
from shared.core.errors import InvalidInput
from shared.core.formats import format_credits
from shared.identity.emails import normalize_for_lookup
from shared.models import Account, ApiKey, Subscription
from shared.operations import (
    account_notes,
    accounts,
    key_changes,
    key_rotation,
    plans,
    purges,
    redeem_codes,
    subscriptions,
    verification,
    web_accounts,
)
from shared.operations.accounts import find_account
from shared.operations.people import find_person
from shared.operations.second_factor import PEOPLE
from shared.text.translation import gettext, ngettext

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS


def create_plan(form: NewPlanForm) -> str:
    row = plans.create_plan(form.name.data, form.plan_terms(), origin=origin())
    return gettext("Plan {plan} created. Assign it on an account's page.", plan=row.name)


def change_plan(plan: UUID, form: PlanForm) -> str:
    row = plans.update_plan(plan, form.plan_terms(), origin=origin())
    return gettext(
        "Plan {plan} updated. Limits apply from the next call, credits from each subscriber's next period.", plan=row.name
    )


def set_plan_status(plan: UUID, status: str) -> str:
    row = plans.set_plan_status(plan, status, origin=origin())
    return (
        gettext("{plan} is open to new subscribers.", plan=row.name)
        if status == "active"
        else gettext("{plan} is closed to new subscribers. Current subscribers keep it.", plan=row.name)
    )


def subscribe(account: UUID, form: SubscribeForm, current: Subscription | None) -> str:
    if current is None:
        row = subscriptions.subscribe(account, form.plan.data, origin=origin())
        return gettext("Subscribed to {plan}. The first credits were granted.", plan=row.plan.name)
    row = subscriptions.change_subscription(account, form.plan.data, form.when.data, origin=origin())
    if row.next_plan:
        return gettext("The plan changes to {plan} at the next renewal.", plan=form.plan.data)
    return gettext("The plan is now {plan}.", plan=row.plan.name)


def cancel_subscription(account: UUID, when: str) -> str:
    subscriptions.cancel_subscription(account, when, origin=origin())
    return (
        gettext("Subscription ended. Plan credits expired; purchased credits remain.")
        if when == "now"
        else gettext("The plan ends at the next renewal.")
    )


def keep_subscription(account: UUID) -> str:
    subscriptions.withdraw_cancellation(account, origin=origin())
    return gettext("The plan will renew.")


def suspend_subscription(account: UUID) -> str:
    subscriptions.suspend_subscription(account, origin=origin())
    return gettext("Plan suspended. It grants no credits and allows no overage until it is resumed.")


def resume_subscription(account: UUID) -> str:
    subscriptions.resume_subscription(account, origin=origin())
    return gettext("Plan resumed.")


def set_overage(account: UUID, cap: int) -> str:
    subscriptions.set_overage(account, cap, origin=origin())
    return (
        gettext("Overage is on, up to {cap} credits per period.", cap=format_credits(cap)) if cap else gettext("Overage is off.")
    )


def add_note(account: UUID, text: str) -> str:
    account_notes.add_note(account, text, origin=origin())
    return gettext("Note saved.")


def remove_note(account: UUID, note: UUID) -> str:
    account_notes.remove_note(account, note, origin=origin())
    return gettext("Note removed.")


def remove_second_factor(account: UUID) -> str:
    owner = find_person(find_account(account).email)
    PEOPLE.disable(owner.person, origin=origin())
    return gettext("{email} now signs in without a code.", email=owner.email)


def sign_out_account(account: UUID) -> str:
    ended = web_accounts.end_all_sessions(account, origin=origin())
    return ngettext(
        "{count} session ended. The account's API keys still work.",
        "{count} sessions ended. The account's API keys still work.",
        ended,
    )


def change_email(account: Account, form: EmailForm) -> str:
    """Change the account's email. Raises `InvalidInput` if the form's `confirmation` is not the current email."""
    if normalize_for_lookup(form.confirmation.data) != account.email:
        raise InvalidInput(gettext("The email does not match. Type {email} to confirm.", email=account.email))
    row = accounts.change_email(account.id, form.email.data, notifies=settings().sends_mail, origin=origin())
    return gettext("Email changed to {email}. The owner now signs in with it; sessions and keys are unchanged.", email=row.email)


def resend_verification(account: UUID) -> str:
    """Queue a verification email. Raises `InvalidInput` if the address is verified, or if no mail server is set."""
    if not settings().sends_mail:
        raise InvalidInput(gettext("No mail server is set. Set YOUT_SMTP_URL first."))
    return gettext(
        "A verification email to {email} is queued.", email=verification.resend_verification(account, origin=origin()).email
    )


def purge_account(account: Account, confirmation: str) -> str:
    """Begin a purge. Raises `InvalidInput` if `confirmation` is not the account's email."""
    if normalize_for_lookup(confirmation) != account.email:
        raise InvalidInput(gettext("The email does not match. Type {email} to confirm.", email=account.email))
    purges.begin_purge(account.id, origin=origin())
    return gettext("Purge started. Its status is shown below. The customer can download the certificate.")


def update_key(key: ApiKey, form: KeyForm) -> str:
    row = key_changes.update_key(key.id, form.key_changes(key), origin=origin())
    return gettext("Key {name} updated. Changes apply from the next call.", name=row.name)


def rotate_key(key: ApiKey, grace_hours: int) -> tuple[str, str]:
    """Rotate a key. Returns "NEW_ID OLD_ID" and the new secret, which is shown once."""
    created = key_rotation.rotate_key(key.id, grace_hours * _HOUR_MS, origin=origin())
    return f"{created.row.id} {key.id}", created.secret


def revoke_keys(keys: list[UUID], confirmation: str) -> str:
    """Revoke keys. Raises `InvalidInput` if `confirmation` is not the number of keys."""
    typed = "".join(character for character in confirmation if character.isdecimal())
    if typed != str(len(keys)):
        raise InvalidInput(gettext("{count} keys match now. Review them, then type {count} to revoke them all.", count=len(keys)))
    revoked = key_rotation.revoke_keys(keys, origin=origin())
    return ngettext(
        "{number} key revoked. Requests with it are rejected.",
        "{number} keys revoked. Requests with them are rejected.",
        revoked,
        number=format_credits(revoked),
    )


def create_codes(form: CodesForm) -> tuple[str, str]:
    """Create a batch of redeem codes. Returns its id and the space-separated codes, which are shown once."""
    days = form.days.data
    expires_at = None if days is None else now_ms() + days * _DAY_MS
    batch = redeem_codes.create_codes(
        form.credits.required_value(),
        form.count.required_value(),
        note=form.note.data or "",
        expires_at=expires_at,
        origin=origin(),
    )
    return str(batch.row.id), " ".join(batch.codes)


def void_codes(batch: UUID) -> None:
    redeem_codes.void_codes(batch, origin=origin())
