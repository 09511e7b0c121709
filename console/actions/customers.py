"""What staff change about customers, one function an action. See `console.actions`."""

from __future__ import annotations

from uuid import UUID

from console.actions.origin import by
from console.forms.customers import CodesForm, EmailForm, KeyForm, NewPlanForm, PlanForm, SubscribeForm
from shared.core.clock import now_ms
from shared.core.errors import InvalidInput
from shared.core.formats import credits
from shared.identity.emails import lookup_email
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
    web_accounts,
)

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS


def create_plan(form: NewPlanForm) -> str:
    row = plans.create_plan(form.name.data, form.terms(), **by())
    return f"Plan {row.name} is made. Give it to an account on the account's page."


def change_plan(plan: UUID, form: PlanForm) -> str:
    row = plans.change_plan(plan, form.terms(), **by())
    return f"Plan {row.name} is changed: limits hold from the next call on, credits from each subscriber's next period on."


def set_plan_status(plan: UUID, status: str) -> str:
    row = plans.set_plan_status(plan, status, **by())
    return f"{row.name} is offered again." if status == "active" else f"Nobody new gets {row.name}; its subscribers keep it."


def subscribe(account: UUID, form: SubscribeForm, current: Subscription | None) -> str:
    if current is None:
        row = subscriptions.subscribe(account, form.plan.data, **by())
        return f"The account has the plan {row.plan.name} now, with its first credits."
    row = subscriptions.change_subscription(account, form.plan.data, form.when.data, **by())
    if row.next_plan:
        return f"The account changes to {form.plan.data} with its next period."
    return f"The account has the plan {row.plan.name}."


def cancel_subscription(account: UUID, when: str) -> str:
    subscriptions.cancel_subscription(account, when, **by())
    return "The plan ended; its credits expired, bought ones stay." if when == "now" else "The plan ends with its period."


def keep_subscription(account: UUID) -> str:
    subscriptions.keep_subscription(account, **by())
    return "The plan goes on."


def suspend_subscription(account: UUID) -> str:
    subscriptions.suspend_subscription(account, **by())
    return "The plan grants nothing and allows no overage until it is resumed."


def resume_subscription(account: UUID) -> str:
    subscriptions.resume_subscription(account, **by())
    return "The plan grants again."


def set_overage(account: UUID, cap: int) -> str:
    subscriptions.set_overage(account, cap, **by())
    return f"Calls go on beyond the pool up to {credits(cap)} credits a period." if cap else "Overage is off."


def add_note(account: UUID, text: str) -> str:
    account_notes.add_note(account, text, **by())
    return "Note kept."


def remove_note(account: UUID, note: UUID) -> str:
    account_notes.remove_note(account, note, **by())
    return "Note removed."


def sign_out_account(account: UUID) -> str:
    ended = web_accounts.sign_out_everywhere(account, **by())
    return f"{ended} session{'' if ended == 1 else 's'} ended. The account's keys work on."


def change_email(account: Account, form: EmailForm) -> str:
    """Change the account's e-mail, confirmed by the current one. Raises `InvalidInput` if that does not match."""
    if lookup_email(form.confirmation.data) != account.email:
        raise InvalidInput(f"That is not the account's e-mail. Type {account.email} exactly.")
    row = accounts.change_email(account.id, form.email.data, **by())
    return f"The account's e-mail is {row.email}. Its owner now signs in with it; sessions and keys are unchanged."


def purge_account(account: Account, confirmation: str) -> str:
    """Begin a purge, if the e-mail was typed. Raises `InvalidInput` if another was."""
    if lookup_email(confirmation) != account.email:
        raise InvalidInput(f"That is not the account's e-mail. Type {account.email} exactly.")
    purges.begin_purge(account.id, **by())
    return "The purge has begun. It is done when it says so below; its certificate is the account's to download."


def update_key(key: ApiKey, form: KeyForm) -> str:
    row = key_changes.update_key(key.id, form.changes(key), **by())
    return f"Key {row.name} updated. Changes apply from the next call."


def rotate_key(key: ApiKey, grace_hours: int) -> tuple[str, str]:
    """Rotate a key. Returns the ids of the new and the old key, and the new secret, which is shown once."""
    created = key_rotation.rotate_key(key.id, grace_hours * _HOUR_MS, **by())
    return f"{created.row.id} {key.id}", created.secret


def revoke_keys(keys: list[UUID], confirmation: str) -> str:
    """Revoke all of these, if their number was typed. Raises `InvalidInput` if another was."""
    typed = "".join(character for character in confirmation if character.isdecimal())
    if typed != str(len(keys)):
        raise InvalidInput(f"{len(keys)} keys match now. Look at them, and type {len(keys)} to revoke them all.")
    revoked = key_rotation.revoke_keys(keys, **by())
    return f"{credits(revoked)} key{'' if revoked == 1 else 's'} revoked. Calls with them fail from now on."


def create_codes(form: CodesForm) -> tuple[str, str]:
    """Create a batch. Returns its id, and its codes separated by spaces, which are shown once."""
    days = form.days.data
    ends = None if days is None else now_ms() + days * _DAY_MS
    batch = redeem_codes.create_codes(
        form.credits.number(), form.count.number(), note=form.note.data or "", expires_at=ends, **by()
    )
    return str(batch.row.id), " ".join(batch.codes)


def void_codes(batch: UUID) -> str:
    voided = redeem_codes.void_codes(batch, **by())
    return f"{credits(voided)} open code{'' if voided == 1 else 's'} voided."
