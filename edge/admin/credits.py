"""`/api/admin/accounts/<id>/entries/`: the ledger of an account, and adding or removing credits."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta
from quart import Blueprint

from edge.admin.accounts import ACCOUNT_PATH, customer_account
from edge.admin.route import AdminCall, Document, admin_route
from edge.http.api_spec import ID, INTEGER, STRING, TIMESTAMP, array, described, enum, integer, nullable, response_schema
from edge.http.body_types import ClosedBody
from edge.http.errors import request_id
from edge.http.paging import DEFAULT_LIMIT, MAX_LIMIT, split_page
from shared.core.errors import NotFound
from shared.core.timestamps import format_timestamp
from shared.models import LEDGER_KINDS, LedgerEntry
from shared.operations.accounts import adjust_credits
from shared.operations.validation import MAX_AMOUNT
from shared.text.translation import lazy_gettext

credit_routes = Blueprint("admin_credits", __name__)

PATH = "/accounts/<account_id>/entries/"
MAX_SEQ = 10**15
_SEQ = integer(1, MAX_SEQ)
ENTRY = response_schema(
    {
        "seq": described(INTEGER, "Number of the entry in its account, from 1 without gaps. It never changes."),
        "account": ID,
        "kind": described(enum(*LEDGER_KINDS), "What moved the credits.", "grant"),
        "amount": described(INTEGER, "Credits added; negative if they were taken.", 100_000),
        "plan_amount": described(INTEGER, "Plan credits in the amount.", 0),
        "balance_after": described(INTEGER, "The balance after the entry.", 100_000),
        "request_id": described(nullable(STRING), "Id of the call that was charged; null for other entries."),
        "actor": described(STRING, "Who or what made the entry.", "admin-key:terraform"),
        "reason": described(STRING, "Reason that staff, an operator or a program gave.", "Trial credits"),
        "created": TIMESTAMP,
    }
)


class CreditAdjustment(ClosedBody, kw_only=True):
    """Credits to add or remove."""

    EXAMPLE = {"amount": 100_000, "reason": "Trial credits"}

    amount: Annotated[
        int,
        Meta(ge=-MAX_AMOUNT, le=MAX_AMOUNT, description="Credits to add; negative to remove them. Held ones cannot be removed."),
    ]
    reason: Annotated[str, Meta(min_length=1, max_length=500, description="Reason, for the ledger and the audit log.")]


@admin_route(
    credit_routes,
    "GET",
    PATH,
    "credits:read",
    "List the ledger entries of an account",
    path=ACCOUNT_PATH,
    query={
        "limit": integer(1, MAX_LIMIT),
        "after": described(_SEQ, "Return entries after this `seq`: the `next` of the previous page."),
        "kind": described(enum(*LEDGER_KINDS), "Only entries of this kind."),
    },
    returns=response_schema({"entries": array(ENTRY), "next": nullable(INTEGER)}),
    description="The entries, oldest first.",
)
def list_all(call: AdminCall, account_id: str) -> Document:
    """List the account's entries."""
    limit = call.query.get("limit", DEFAULT_LIMIT)
    condition = (LedgerEntry.account == customer_account(account_id).id) & (LedgerEntry.seq > call.query.get("after", 0))
    if "kind" in call.query:
        condition &= LedgerEntry.kind == call.query["kind"]
    rows, last = split_page(list(LedgerEntry.select().where(condition).order_by(LedgerEntry.seq).limit(limit + 1)), limit)
    return {"entries": [_document(row) for row in rows], "next": last.seq if last is not None else None}


@admin_route(
    credit_routes,
    "POST",
    PATH,
    "credits:write",
    "Add or remove credits",
    status=201,
    path=ACCOUNT_PATH,
    body=CreditAdjustment,
    returns=ENTRY,
    notes=lazy_gettext(
        "Added credits are a `grant`, removed ones an `adjustment`. Send an `Idempotency-Key`, so that a repeated request does"
        " not add them twice."
    ),
)
def adjust(call: AdminCall, account_id: str) -> Document:
    """Add or remove credits."""
    adjusted = adjust_credits(customer_account(account_id).id, call.body.amount, call.body.reason, origin=call.origin)
    return _document(adjusted.entry)


@admin_route(
    credit_routes,
    "GET",
    f"{PATH}<seq>/",
    "credits:read",
    "Retrieve a ledger entry",
    path={**ACCOUNT_PATH, "seq": described(_SEQ, "Number of the entry in its account.")},
    returns=ENTRY,
)
def show(_: AdminCall, account_id: str, seq: str) -> Document:
    """Return an entry."""
    account = customer_account(account_id).id
    number = int(seq) if seq.isascii() and seq.isdigit() and len(seq) <= len(str(MAX_SEQ)) else 0
    row: LedgerEntry | None = LedgerEntry.get_or_none((LedgerEntry.account == account) & (LedgerEntry.seq == number))
    if row is None:
        raise NotFound("No such entry of this account.")
    return _document(row)


def _document(row: Any) -> Document:
    return {
        "seq": row.seq,
        "account": str(row.__data__["account"]),
        "kind": row.kind,
        "amount": row.amount,
        "plan_amount": row.plan_amount,
        "balance_after": row.balance_after,
        "request_id": request_id(row.call) if row.call is not None else None,
        "actor": row.actor,
        "reason": row.reason,
        "created": format_timestamp(row.created_at),
    }
