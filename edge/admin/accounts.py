"""`/api/admin/accounts/`: create, find, change, suspend and close accounts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType
from quart import Blueprint

from edge.admin.route import AdminCall, Document, admin_route
from edge.api.account_limits import rate_limits_document
from edge.http.api_spec import (
    ID,
    INTEGER,
    OPEN_OBJECT,
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
from shared.core.errors import NotFound
from shared.core.settings import Settings
from shared.core.timestamps import format_timestamp
from shared.core.token_bucket import RateLimits
from shared.identity.emails import normalize_for_lookup
from shared.ledger.visitor_pool import POOL_ACCOUNT_ID
from shared.models import ACCOUNT_STATUSES, Account, Plan, Subscription
from shared.operations.account_closing import close_account
from shared.operations.accounts import change_email, change_name, create_account, find_account, set_account_status
from shared.operations.purges import ACTOR as PURGE
from shared.text.translation import lazy_gettext

accounts = Blueprint("admin_accounts", __name__)

MAX_EMAIL = 254
MAX_NAME = 200
Email = Annotated[str, Meta(min_length=3, max_length=MAX_EMAIL)]
Name = Annotated[str, Meta(max_length=MAX_NAME)]

ACCOUNT_PATH = {"account_id": described(STRING, "Id of the account, or its email address.")}
_PLAN = response_schema({"id": ID, "name": STRING, "renews_at": nullable(TIMESTAMP)})
ACCOUNT = response_schema(
    {
        "id": ID,
        "email": described(STRING, "Email address of the account's owner.", "ada@example.com"),
        "name": described(STRING, "Name of the account; may be empty.", "Ada's lab"),
        "status": described(enum(*ACCOUNT_STATUSES), "`suspended` refuses every call; `closed` is permanent.", "active"),
        "balance": described(INTEGER, "Credits of the account, held ones included."),
        "held": INTEGER,
        "plan_credits": described(INTEGER, "Part of the balance that the plan granted."),
        "plan": described(nullable(_PLAN), "The plan that the account is subscribed to; null without one."),
        "rate_limits": described(OPEN_OBJECT, "The account's rate limits: those of its plan, or the default ones."),
        "email_verified_at": described(nullable(TIMESTAMP), "When the email address was verified; null if it was not."),
        "created": TIMESTAMP,
    }
)


class NewAccount(ClosedBody, kw_only=True):
    """An account to create."""

    EXAMPLE = {"email": "ada@example.com", "name": "Ada's lab"}

    email: Annotated[Email, Meta(description="Email address of the owner. No other account may have it.")]
    name: Annotated[Name, Meta(description="Name of the account.")] = ""


class AccountChanges(ClosedBody, kw_only=True):
    """The fields of an account to change, at least one."""

    EXAMPLE = {"status": "suspended"}

    email: Annotated[
        Email | UnsetType, Meta(description="Email address that the owner signs in with. The new one is unverified.")
    ] = UNSET
    name: Annotated[Name | UnsetType, Meta(description="Name of the account.")] = UNSET
    status: Annotated[
        Literal["active", "suspended"] | UnsetType,
        Meta(description="`suspended` refuses the account's keys and sessions from the next request on."),
    ] = UNSET


@admin_route(
    accounts,
    "GET",
    "/accounts/",
    "accounts:read",
    "List accounts",
    returns=page_of("accounts", ACCOUNT),
    description="The accounts, oldest first.",
    query={
        **PAGE,
        "email": described(STRING, "Only the account with this email address."),
        "status": described(enum(*ACCOUNT_STATUSES), "Only accounts in this state."),
        "search": described(STRING, "Only accounts whose email address or name contains this text."),
    },
)
def list_all(call: AdminCall) -> Document:
    """List and search accounts."""
    page = call.page
    query = Account.select().where(Account.id != POOL_ACCOUNT_ID).order_by(Account.id).limit(page.limit + 1)
    if page.after is not None:
        query = query.where(Account.id > page.after)
    if "email" in call.query:
        query = query.where(Account.email == normalize_for_lookup(call.query["email"]))
    if "status" in call.query:
        query = query.where(Account.status == call.query["status"])
    if "search" in call.query:
        text = call.query["search"]
        query = query.where(Account.email.contains(text) | Account.name.contains(text))
    rows, last = split_page(list(query), page.limit)
    return {"accounts": account_documents(rows, call.settings), "next": str(last.id) if last is not None else None}


@admin_route(
    accounts,
    "POST",
    "/accounts/",
    "accounts:write",
    "Create an account",
    status=201,
    body=NewAccount,
    returns=ACCOUNT,
    notes=lazy_gettext("The account has no credits; grant them with the credits resource. Its owner has no password."),
)
def create(call: AdminCall) -> Document:
    """Create an account."""
    return account_document(create_account(call.body.email, name=call.body.name, origin=call.origin), call.settings)


@admin_route(
    accounts,
    "GET",
    "/accounts/<account_id>/",
    "accounts:read",
    "Retrieve an account",
    path=ACCOUNT_PATH,
    returns=ACCOUNT,
)
def show(call: AdminCall, account_id: str) -> Document:
    """Return an account."""
    return account_document(customer_account(account_id), call.settings)


@admin_route(
    accounts,
    "PATCH",
    "/accounts/<account_id>/",
    "accounts:write",
    "Update an account",
    path=ACCOUNT_PATH,
    body=AccountChanges,
    returns=ACCOUNT,
    notes=lazy_gettext("Only the fields in the body change. A verified former address gets an email about the change."),
)
def update(call: AdminCall, account_id: str) -> Document:
    """Update the fields in the body."""
    id, changes = customer_account(account_id).id, call.changes
    if "name" in changes:
        change_name(id, changes["name"], origin=call.origin)
    if "email" in changes:
        change_email(id, changes["email"], notifies=True, origin=call.origin)
    if "status" in changes:
        set_account_status(id, changes["status"], origin=call.origin)
    return account_document(Account.get_by_id(id), call.settings)


@admin_route(
    accounts,
    "DELETE",
    "/accounts/<account_id>/",
    "accounts:write",
    "Close an account",
    path=ACCOUNT_PATH,
    returns=ACCOUNT,
    notes=lazy_gettext(
        "Permanent: keys, sessions and plan end, and a purge of the account's data starts. The account can still be retrieved by"
        " its id. Closing it again changes nothing."
    ),
)
def close(call: AdminCall, account_id: str) -> Document:
    """Close an account permanently."""
    account = customer_account(account_id)
    if account.status != "closed":
        call.enqueue(PURGE, str(close_account(account.id, origin=call.origin).id))
    return account_document(Account.get_by_id(account.id), call.settings)


def customer_account(id_or_email: str) -> Account:
    """Return a customer's account. Raises `NotFound`, also for the visitors' pool."""
    found = find_account(id_or_email)
    if found.id == POOL_ACCOUNT_ID:
        raise NotFound(f"No account {id_or_email!r}.")
    return found


def account_document(row: Account, settings: Settings) -> Document:
    """Return an account in the format of the API."""
    return account_documents([row], settings)[0]


def account_documents(rows: Sequence[Account], settings: Settings) -> list[Document]:
    """Return accounts in the format of the API."""
    subscriptions = _subscriptions([row.id for row in rows])
    return [_document(row, subscriptions.get(row.id), settings) for row in rows]


def _subscriptions(accounts: Sequence[UUID]) -> Mapping[UUID, Subscription]:
    """Return the active subscriptions of accounts, with their plans."""
    active = Subscription.account.in_(list(accounts)) & (Subscription.status == "active")
    return {row.account.id: row for row in Subscription.select(Subscription, Plan).join(Plan).where(active)}


def _document(row: Account, subscription: Subscription | None, settings: Settings) -> dict[str, Any]:
    plan = subscription.plan if subscription is not None else None
    return {
        "id": str(row.id),
        "email": row.email,
        "name": row.name,
        "status": row.status,
        "balance": row.balance,
        "held": row.held,
        "plan_credits": row.plan_credits,
        "plan": None
        if subscription is None or plan is None
        else {"id": str(plan.id), "name": plan.name, "renews_at": format_timestamp(subscription.renews_at)},
        "rate_limits": rate_limits_document(
            RateLimits(
                (plan and plan.rpm) or settings.default_rpm,
                (plan and plan.tpm) or settings.default_tpm,
                (plan and plan.concurrency) or settings.default_concurrency,
            )
        ),
        "email_verified_at": format_timestamp(row.email_verified_at),
        "created": format_timestamp(row.created_at),
    }
