"""Invitations to an account: an email with a link that works once, until it expires, is replaced or is revoked.

The link's token is signed (`shared.identity.account_links`) and stored nowhere. It contains the invitation's id and expiry, which
a new email changes, so that only the latest link works. Only the invited address can accept: a person who has it, or a new one.
"""

from __future__ import annotations

from dataclasses import asdict
from uuid import UUID

import peewee

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.identity.account_links import INVITATION, is_genuine, make_token, read_token
from shared.identity.emails import normalize_email
from shared.identity.roles import may
from shared.mail.address import recipient
from shared.mail.outbox import cancel_mails, queue_mail
from shared.mail.texts import MailText, invitation_mail
from shared.models import Account, AuditEntry, Invitation, Member, Person
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.members import MemberTerms, join
from shared.operations.people import find_sign_in, sync_owner
from shared.operations.purges import lock_account
from shared.text.translation import SOURCE_LANGUAGE, in_language, lazy_gettext

KIND = "invitation"
LASTS_MS = 7 * 24 * 3600 * 1000
MAX_OPEN = 100  # per account
MAX_MAILS_A_DAY = 50  # per account: they go to people who did not ask for them
_MAIL_ACTION = "member.invitation_mail"  # in the audit log
_DAY_MS = 24 * 3600 * 1000
_NOT_FOUND = lazy_gettext("There is no such invitation.")


def invite(
    account: UUID,
    email: str,
    terms: MemberTerms,
    *,
    language: str = SOURCE_LANGUAGE,
    inviter: UUID | None = None,
    sends_mail: bool,
    origin: Origin,
) -> Invitation:
    """Invite an email address, by an email in `language` if `sends_mail`. `inviter` is the member who invites; None: staff.

    Raises `InvalidInput` for invalid values, current members, an address that is already invited, too many invitations, and for
    an email by an inviter whose own address is not verified.
    """
    email, terms = normalize_email(email), terms.check()
    if sends_mail:
        recipient(email)
    with transaction():
        lock_account(account)
        sync_owner(account)
        if sends_mail:
            _require_verified(account, inviter)
        members = Member.select().join(Person).where((Member.account == account) & Member.removed_at.is_null())
        if members.where(Person.email == email).exists():
            raise InvalidInput(lazy_gettext("{email} is already a member.", email=email))
        if len(open_invitations(account)) >= MAX_OPEN:
            raise InvalidInput(lazy_gettext("Too many invitations are open. Revoke some first."))
        try:
            with transaction():  # a savepoint
                row = Invitation.create(
                    account=account,
                    email=email,
                    language=language,
                    expires_at=now_ms() + LASTS_MS,
                    invited_by=inviter,
                    **asdict(terms),
                )
        except peewee.IntegrityError:
            raise InvalidInput(lazy_gettext("{email} is already invited.", email=email)) from None
        after = {"invitation": str(row.id), "email": email, **asdict(terms)}
        record_audit_entry(origin, "member.invite", account, after=after)
        _mail(row, sends_mail, origin)
        return row


def resend_invitation(
    account: UUID, invitation: str | UUID, *, inviter: UUID | None = None, sends_mail: bool, origin: Origin
) -> Invitation:
    """Send another email, whose link replaces the earlier one and is valid for `LASTS_MS` again. It is now `inviter`'s.

    Raises `NotFound`, and `InvalidInput` for too many emails in a day and for an inviter whose own address is not verified.
    """
    with transaction():
        lock_account(account)
        if sends_mail:
            sync_owner(account)
            _require_verified(account, inviter)
        row = _find(account, invitation)
        row.expires_at, row.invited_by = max(now_ms() + LASTS_MS, row.expires_at + 1), inviter
        row.save(only=[Invitation.expires_at, Invitation.invited_by])
        _mail(row, sends_mail, origin)
        return row


def revoke_invitation(account: UUID, invitation: str | UUID, *, origin: Origin) -> Invitation:
    """Revoke an open invitation: its link no longer works. Raises `NotFound`."""
    with transaction():
        lock_account(account)
        row = _find(account, invitation)
        Invitation.update(revoked_at=now_ms()).where(Invitation.id == row.id).execute()
        cancel_mails(account, KIND, row.email)
        record_audit_entry(origin, "member.revoke_invitation", account, after={"invitation": str(row.id), "email": row.email})
        return row


def open_invitations(account: UUID) -> list[Invitation]:
    """Return an account's invitations that were neither accepted nor revoked, newest first. They may have expired."""
    return list(Invitation.select().where((Invitation.account == account) & _OPEN).order_by(Invitation.id.desc()))


def invitation_token(row: Invitation, secret_key: str) -> str:
    """Return the token of an invitation's current link."""
    return make_token(secret_key, INVITATION, row.id, row.email, row.expires_at)


def find_invitation(token: str, secret_key: str) -> Invitation | None:
    """Return the open invitation of a link, with its account, or None if the link is not valid."""
    try:
        link = read_token(token)
    except InvalidInput:
        return None
    row: Invitation | None = (
        Invitation.select(Invitation, Account).join(Account).where((Invitation.id == link.account) & _OPEN).first()
    )
    if row is None or row.expires_at != link.expires_at or row.expires_at <= now_ms() or row.account.status == "closed":
        return None
    return row if is_genuine(link, secret_key, INVITATION, row.email) and _inviter_may_invite(row) else None


def accept(invitation: UUID, person: UUID, *, origin: Origin) -> Member:
    """Make the invited person a member. The caller has checked the link, and that `person` has the invited address.

    Raises `NotFound` if the invitation was accepted or revoked in the meantime, `InvalidInput` for members.
    """
    with transaction():
        row = _claim(invitation)
        found = find_sign_in(row.email)
        if found is None or found.person != person:
            raise NotFound(_NOT_FOUND)
        return join(row.account.id, person, _terms(row), origin=origin)


def accept_as_new(
    invitation: UUID, password_hash: str | None, *, verified: bool, language: str = SOURCE_LANGUAGE, origin: Origin
) -> Member:
    """Create the invited person, with a password or for an identity (None), and make them a member. Raises like `accept`.

    `verified`: the link came by email, which proves the address, or an OpenID provider has verified it.
    """
    with transaction():
        row = _claim(invitation)
        if find_sign_in(row.email) is not None:
            raise NotFound(_NOT_FOUND)
        verified_at = now_ms() if verified else None
        try:
            person = Person.create(email=row.email, password_hash=password_hash, email_verified_at=verified_at, language=language)
        except peewee.IntegrityError:
            raise NotFound(_NOT_FOUND) from None
        return join(row.account.id, person.id, _terms(row), origin=origin)


def compose(account: UUID, email: str, *, secret_key: str, edge_url: str) -> MailText | None:
    """Return the text of an invitation to `email`, or None if it is no longer open."""
    found = (Invitation.account == account) & (Invitation.email == email) & _OPEN
    row: Invitation | None = Invitation.select(Invitation, Account).join(Account).where(found).first()
    if row is None or row.expires_at <= now_ms() or row.account.status == "closed" or not _inviter_may_invite(row):
        return None
    name = row.account.name or row.account.email
    with in_language(row.language):
        return invitation_mail(name, f"{edge_url}/invitation/{invitation_token(row, secret_key)}", LASTS_MS // _DAY_MS)


_OPEN = Invitation.accepted_at.is_null() & Invitation.revoked_at.is_null()


def _claim(invitation: UUID) -> Invitation:
    """Mark an invitation as accepted, once. Raises `NotFound`.

    The account's lock keeps the inviter a member until the transaction ends.
    """
    found = Invitation.get_or_none(Invitation.id == invitation)
    if found is None:
        raise NotFound(_NOT_FOUND)
    lock_account(found.__data__["account"])
    claimed = Invitation.update(accepted_at=now_ms()).where(
        (Invitation.id == invitation) & _OPEN & (Invitation.expires_at > now_ms())
    )
    if not claimed.execute():
        raise NotFound(_NOT_FOUND)
    row: Invitation = Invitation.get_by_id(invitation)
    if not _inviter_may_invite(row):
        raise NotFound(_NOT_FOUND)
    return row


def _inviter_may_invite(row: Invitation) -> bool:
    """Return whether the member who sent an invitation still may: it ends when they leave, are suspended or lose the role."""
    if row.invited_by is None:
        return True
    member = Member.get_or_none((Member.id == row.invited_by) & Member.removed_at.is_null() & Member.suspended_at.is_null())
    return member is not None and may(member.role, "members")


def _require_verified(account: UUID, inviter: UUID | None) -> None:
    """Raise `InvalidInput` for an inviter whose email address is not verified: it may be anyone's, so it must send no emails."""
    if inviter is None:
        return
    verified = Person.email_verified_at.is_null(False)
    if not Member.select().join(Person).where((Member.id == inviter) & (Member.account == account) & verified).exists():
        raise InvalidInput(lazy_gettext("Verify your own email address first. Then you can invite people."))


def _terms(row: Invitation) -> MemberTerms:
    return MemberTerms(row.role, row.monthly_credit_limit, row.daily_credit_limit)


def _find(account: UUID, invitation: str | UUID) -> Invitation:
    try:
        id = invitation if isinstance(invitation, UUID) else UUID(invitation)
    except ValueError:
        raise NotFound(_NOT_FOUND) from None
    row: Invitation | None = Invitation.get_or_none((Invitation.id == id) & (Invitation.account == account) & _OPEN)
    if row is None:
        raise NotFound(_NOT_FOUND)
    return row


def _mail(row: Invitation, sends_mail: bool, origin: Origin) -> None:
    """Queue the email. Raises `InvalidInput` at the daily limit."""
    if not sends_mail:
        return
    account = row.account.id
    sent = (AuditEntry.target == str(account)) & (AuditEntry.action == _MAIL_ACTION)
    if AuditEntry.select().where(sent & (AuditEntry.created_at >= now_ms() - _DAY_MS)).count() >= MAX_MAILS_A_DAY:
        raise InvalidInput(lazy_gettext("Too many invitations were sent today. Try again tomorrow."))
    queue_mail(account, KIND, row.email, one_recipient=False)
    record_audit_entry(origin, _MAIL_ACTION, account, after={"invitation": str(row.id)})
