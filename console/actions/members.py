"""Staff actions on the members of an account, one function each."""

from __future__ import annotations

from uuid import UUID

from console.actions.origin import origin
from console.forms.customers import MemberForm, NewMemberForm
from console.security.auth import settings
from shared.operations import invitations, members
from shared.text.translation import current_language, gettext


def invite(account: UUID, form: NewMemberForm) -> str:
    mails = settings().sends_mail
    row = invitations.invite(
        account, form.email.data, form.terms(), language=current_language(), sends_mail=mails, origin=origin()
    )
    if mails:
        return gettext("Invitation to {email} sent.", email=row.email)
    return gettext("{email} is invited. The account's owner finds the link under Members.", email=row.email)


def revoke_invitation(account: UUID, invitation: UUID) -> str:
    row = invitations.revoke_invitation(account, invitation, origin=origin())
    return gettext("Invitation to {email} revoked.", email=row.email)


def change_member(account: UUID, member: UUID, form: MemberForm) -> str:
    row = members.change_member(account, member, form.terms(), origin=origin())
    return gettext("{email} updated. Changes apply from the next call.", email=row.person.email)


def suspend_member(account: UUID, member: UUID) -> str:
    row = members.set_member_suspended(account, member, True, origin=origin())
    return gettext("{email} is suspended. Requests with their keys are rejected.", email=row.person.email)


def resume_member(account: UUID, member: UUID) -> str:
    row = members.set_member_suspended(account, member, False, origin=origin())
    return gettext("{email} is active again.", email=row.person.email)


def remove_member(account: UUID, member: UUID) -> str:
    row = members.remove_member(account, member, origin=origin())
    return gettext("{email} removed. Their API keys are revoked.", email=row.person.email)


def transfer_ownership(account: UUID, member: UUID) -> str:
    row = members.transfer_ownership(account, member, origin=origin())
    return gettext("{email} now owns the account.", email=row.person.email)
