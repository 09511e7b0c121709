"""`/api/admin/accounts/<id>/members/`: the members of an account."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType
from quart import Blueprint

from edge.admin.accounts import ACCOUNT_PATH, Email, customer_account
from edge.admin.route import AdminCall, Document, admin_route
from edge.http.api_spec import (
    BOOLEAN,
    ID,
    INTEGER,
    PAGE,
    STRING,
    TIMESTAMP,
    described,
    enum,
    nullable,
    page_of,
    response_schema,
)
from edge.http.body_types import ClosedBody
from edge.http.paging import split_page
from shared.core.clock import now_ms
from shared.core.timestamps import format_timestamp
from shared.identity.account_links import LASTS_MS, PASSWORD, make_token
from shared.models import MEMBER_ROLES, Member
from shared.operations.members import (
    MemberRow,
    MemberTerms,
    add_member,
    change_member,
    find_member,
    list_members,
    remove_member,
    set_member_suspended,
    transfer_ownership,
)
from shared.operations.validation import MAX_AMOUNT
from shared.text.translation import lazy_gettext

members = Blueprint("admin_members", __name__)

PATH = "/accounts/<account_id>/members/"
MEMBER = f"{PATH}<member_id>/"
MEMBER_PATH = {**ACCOUNT_PATH, "member_id": described(STRING, "Id of the member, or their email address.")}
_FIELDS = {
    "id": ID,
    "email": described(STRING, "Email address that the member signs in with.", "ben@example.com"),
    "role": described(enum(*MEMBER_ROLES), "Role of the member in the account.", "developer"),
    "status": described(enum("active", "suspended"), "The keys and sessions of a suspended member are refused."),
    "monthly_credit_limit": described(nullable(INTEGER), "Maximum credits of their calls per calendar month; null for no limit."),
    "daily_credit_limit": described(nullable(INTEGER), "Maximum credits of their calls per day (UTC); null for no limit."),
    "spent_this_month": described(INTEGER, "Credits charged for their calls this month."),
    "spent_today": described(INTEGER, "Credits charged for their calls today (UTC)."),
    "created": TIMESTAMP,
}
_MEMBER = response_schema(_FIELDS)

Role = Literal["admin", "billing", "developer", "viewer"]
Limit = Annotated[int, Meta(ge=1, le=MAX_AMOUNT)]


class NewMember(ClosedBody, kw_only=True):
    """A member to add."""

    EXAMPLE = {"email": "ben@example.com", "role": "developer", "monthly_credit_limit": 500_000}

    email: Annotated[Email, Meta(description="Email address of the person.")]
    role: Annotated[Role, Meta(description="Role of the member in the account.")]
    monthly_credit_limit: Annotated[Limit | None, Meta(description="Maximum credits of their calls per calendar month.")] = None
    daily_credit_limit: Annotated[Limit | None, Meta(description="Maximum credits of their calls per day (UTC).")] = None


class MemberChanges(ClosedBody, kw_only=True):
    """The fields of a member to change, at least one."""

    EXAMPLE = {"monthly_credit_limit": 1_000_000}

    role: Annotated[Role | UnsetType, Meta(description="Role of the member in the account.")] = UNSET
    monthly_credit_limit: Annotated[
        Limit | UnsetType | None, Meta(description="Maximum credits of their calls per calendar month. Null: no limit.")
    ] = UNSET
    daily_credit_limit: Annotated[
        Limit | UnsetType | None, Meta(description="Maximum credits of their calls per day (UTC). Null: no limit.")
    ] = UNSET
    status: Annotated[
        Literal["active", "suspended"] | UnsetType,
        Meta(description="`suspended` refuses the member's keys and sessions from the next request on."),
    ] = UNSET


@admin_route(
    members,
    "GET",
    PATH,
    "members:read",
    "List the members of an account",
    path=ACCOUNT_PATH,
    query=PAGE,
    returns=page_of("members", _MEMBER),
)
def list_all(call: AdminCall, account_id: str) -> Document:
    """List the current members by id."""
    rows = sorted(list_members(customer_account(account_id).id), key=lambda row: row.member.id)
    limit, after = call.page
    page, last = split_page([row for row in rows if after is None or row.member.id > after][: limit + 1], limit)
    return {"members": [_document(row) for row in page], "next": str(last.member.id) if last is not None else None}


@admin_route(
    members,
    "POST",
    PATH,
    "members:write",
    "Add a member to an account",
    status=201,
    path=ACCOUNT_PATH,
    body=NewMember,
    returns=response_schema(
        {
            **_FIELDS,
            "password_url": described(
                nullable(STRING),
                "Link with which a new person sets their password within 24 hours; null if they have one.",
                "https://api.example.com/password/…",
            ),
        }
    ),
    notes=lazy_gettext("The person becomes a member at once, without an invitation. No email is sent."),
)
def add(call: AdminCall, account_id: str) -> Document:
    """Add a person to an account."""
    account, new = customer_account(account_id).id, call.body
    terms = MemberTerms(new.role, new.monthly_credit_limit, new.daily_credit_limit)
    added = add_member(account, new.email, terms, origin=call.origin)
    url = None
    if added.is_new:
        token = make_token(call.settings.secret_key, PASSWORD, added.member.person.id, None, now_ms() + LASTS_MS)
        url = f"{call.settings.edge_url}/password/{token}"
    return {**_read(account, added.member.id), "password_url": url}


@admin_route(members, "GET", MEMBER, "members:read", "Retrieve a member", path=MEMBER_PATH, returns=_MEMBER)
def show(_: AdminCall, account_id: str, member_id: str) -> Document:
    """Return a current member."""
    account = customer_account(account_id).id
    return _read(account, find_member(account, member_id).id)


@admin_route(
    members,
    "PATCH",
    MEMBER,
    "members:write",
    "Update a member",
    path=MEMBER_PATH,
    body=MemberChanges,
    returns=_MEMBER,
    notes=lazy_gettext("Only the fields in the body change, effective with the next call. The owner cannot be changed."),
)
def update(call: AdminCall, account_id: str, member_id: str) -> Document:
    """Change the role, limits and status."""
    account = customer_account(account_id).id
    row = find_member(account, member_id)
    changes = dict(call.changes)
    status = changes.pop("status", None)
    if changes:
        terms = replace(MemberTerms(row.role, row.monthly_credit_limit, row.daily_credit_limit), **changes)
        change_member(account, row.id, terms, origin=call.origin)
    if status is not None:
        set_member_suspended(account, row.id, status == "suspended", origin=call.origin)
    return _read(account, row.id)


@admin_route(
    members,
    "DELETE",
    MEMBER,
    "members:write",
    "Remove a member",
    path=MEMBER_PATH,
    returns=response_schema({"id": ID, "deleted": BOOLEAN}),
    notes=lazy_gettext("Revokes the member's keys and ends their sessions in the account. The owner cannot be removed."),
)
def remove(call: AdminCall, account_id: str, member_id: str) -> Document:
    """Remove a member."""
    row = remove_member(customer_account(account_id).id, member_id, origin=call.origin)
    return {"id": str(row.id), "deleted": True}


@admin_route(
    members,
    "POST",
    f"{MEMBER}transfer/",
    "members:write",
    "Make a member the owner",
    path=MEMBER_PATH,
    returns=_MEMBER,
    notes=lazy_gettext("The former owner becomes an admin, and the account gets the email address of the new one."),
)
def transfer(call: AdminCall, account_id: str, member_id: str) -> Document:
    """Transfer the ownership of the account."""
    account = customer_account(account_id).id
    return _read(account, transfer_ownership(account, member_id, origin=call.origin).id)


def _read(account: UUID, member: UUID) -> Document:
    return next(_document(row) for row in list_members(account) if row.member.id == member)


def _document(row: MemberRow) -> Document:
    member: Member = row.member
    return {
        "id": str(member.id),
        "email": member.person.email,
        "role": member.role,
        "status": "active" if member.suspended_at is None else "suspended",
        "monthly_credit_limit": member.monthly_credit_limit,
        "daily_credit_limit": member.daily_credit_limit,
        "spent_this_month": row.spent_month,
        "spent_today": row.spent_day,
        "created": format_timestamp(member.created_at),
    }
