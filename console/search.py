"""Finds rows by an identifier that staff copied from somewhere. Every query is an exact lookup in an index.

All roles may view all pages (`console.security.roles`), so the results do not depend on the role.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import UUID

from flask import url_for

from shared.identity.api_key_format import ADMIN_PREFIX, digest, is_well_formed, shown_prefix
from shared.identity.emails import normalize_for_lookup
from shared.ledger.visitor_pool import POOL_ACCOUNT_ID
from shared.models import (
    Account,
    AdminKey,
    AIModel,
    ApiKey,
    Budget,
    Channel,
    Hold,
    Invitation,
    MediaJob,
    Member,
    ModelAlias,
    Payment,
    Person,
    Plan,
    PurgeJob,
    RedeemCode,
    Subscription,
    UsageLedger,
)
from shared.payments import redeem_codes
from shared.payments.labels import PROVIDERS
from shared.text.translation import gettext

MAX_FOUND = 50


class Found(NamedTuple):
    """A row that was found: its kind, its label, and its page."""

    kind: str
    title: str
    url: str


def find(text: str) -> list[Found]:
    """Return the rows that `text` identifies, each once."""
    id = _as_id(text)
    if id is not None:
        rows = _by_id(id)
    elif "@" in text:
        rows = _by_email(normalize_for_lookup(text))
    else:
        rows = _by_name(text)
    return list(dict.fromkeys((*rows, *_payments(text))))[:MAX_FOUND]


def _as_id(text: str) -> UUID | None:
    """Parse an id as it is shown anywhere, with or without a prefix such as `req_`, `chatcmpl-` or `evt_`."""
    try:
        return UUID(text.rsplit("_", 1)[-1].removeprefix("chatcmpl-"))
    except ValueError:
        return None


def _by_id(id: UUID) -> Iterator[Found]:
    account = Account.get_or_none(Account.id == id)
    if account is not None:
        yield _account(account)
    key = ApiKey.get_or_none(ApiKey.id == id)
    if key is not None:
        yield _key(key)
    admin_key = AdminKey.get_or_none(AdminKey.id == id)
    if admin_key is not None:
        yield _admin_key(admin_key)
    for member in Member.select().where(((Member.id == id) | (Member.person == id)) & (Member.account != id)).limit(MAX_FOUND):
        yield _member(member)
    call = UsageLedger.select(UsageLedger.id, UsageLedger.model).where(UsageLedger.id == id).first()
    if call is not None:
        yield Found(gettext("Call"), call.model, url_for("usage.receipt", call_id=id))
    if Hold.select(Hold.id).where(Hold.id == id).exists():
        yield Found(gettext("Hold"), str(id), url_for("holds.detail", call_id=id))
    job = MediaJob.get_or_none(MediaJob.id == id)
    if job is not None:
        yield Found(gettext("Media job"), job.model, url_for("jobs.detail", job_id=id))
    plan = Plan.get_or_none(Plan.id == id)
    if plan is not None:
        yield Found(gettext("Plan"), plan.name, url_for("plans.detail", plan_id=id))
    channel = Channel.get_or_none(Channel.id == id)
    if channel is not None:
        yield Found(gettext("Channel"), channel.name, url_for("channels.detail", channel_id=id))
    of_accounts = ((Subscription, gettext("Subscription")), (Invitation, gettext("Invitation")), (Budget, gettext("Budget")))
    for table, kind in (*of_accounts, (PurgeJob, gettext("Purge"))):
        row: Any = table.get_or_none(table.id == id)
        if row is not None:
            yield _account(row.account, kind)


def _by_email(email: str) -> Iterator[Found]:
    account = Account.get_or_none(Account.email == email)
    if account is not None:
        yield _account(account)
    person = Person.get_or_none(Person.email == email)
    if person is not None:
        own = account.id if account is not None else None
        for member in Member.select().where(Member.person == person).order_by(Member.id).limit(MAX_FOUND):
            if member.__data__["account"] != own:
                yield _member(member)


def _by_name(text: str) -> Iterator[Found]:
    is_key = ApiKey.digest == digest(text) if is_well_formed(text) else ApiKey.prefix == shown_prefix(text)
    for key in ApiKey.select().where(is_key).limit(MAX_FOUND):
        yield _key(key)
    is_secret = is_well_formed(text, ADMIN_PREFIX)
    is_admin_key = AdminKey.digest == digest(text) if is_secret else AdminKey.prefix == shown_prefix(text, ADMIN_PREFIX)
    for admin_key in AdminKey.select().where(is_admin_key).limit(MAX_FOUND):
        yield _admin_key(admin_key)
    alias = ModelAlias.get_or_none(ModelAlias.name == text)
    name = alias.__data__["model"] if alias is not None else text
    if AIModel.select().where(AIModel.id == name).exists():
        yield Found(gettext("Model"), name, url_for("models.detail", model_id=name))
    channel = Channel.get_or_none(Channel.name == text)
    if channel is not None:
        yield Found(gettext("Channel"), channel.name, url_for("channels.detail", channel_id=channel.id))


def _payments(text: str) -> Iterator[Found]:
    """Find payments by the provider's reference, and a redeemed code, which is a payment."""
    code = RedeemCode.get_or_none(RedeemCode.digest == redeem_codes.digest(text))
    if code is not None and code.account is not None:
        yield _account(code.account, gettext("Payment"))
    by_reference = Payment.provider.in_(tuple(PROVIDERS)) & (Payment.reference == text)
    for known in (by_reference, Payment.intent_id == text, Payment.checkout_id == text):
        for row in Payment.select().where(known):
            if row.provider == redeem_codes.RedeemCodeProvider.name:
                yield _account(row.account, gettext("Payment"))
                continue
            title = f"{row.reference} · {row.account.email}"
            yield Found(gettext("Payment"), title, url_for("payments.detail", reference=row.reference))


def _account(row: Account, kind: str = "") -> Found:
    name = gettext("Visitors' pool") if row.id == POOL_ACCOUNT_ID else row.email
    return Found(kind or gettext("Account"), name, url_for("accounts.detail", account_id=row.id))


def _key(row: ApiKey) -> Found:
    return Found(gettext("API key"), f"{row.name} · {row.account.email}", url_for("keys.detail", key_id=row.id))


def _admin_key(row: AdminKey) -> Found:
    return Found(gettext("Admin key"), row.name, url_for("admin_keys.index", search=row.prefix))


def _member(row: Member) -> Found:
    account = row.__data__["account"]
    if row.removed_at is not None:
        return _account(row.account, gettext("Former member"))
    url = url_for("members.detail", account_id=account, member_id=row.id)
    return Found(gettext("Member"), f"{row.person.email} · {row.account.email}", url)
