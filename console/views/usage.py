"""Usage: the last calls, filtered by the URL, and the receipt of each: tokens × price = charge."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import request
from flask.typing import ResponseReturnValue

from console.paging import page_of
from console.receipt import receipt_of
from console.views.filters import as_uuid, asked, chips
from console.views.view import View, shows
from shared.errors import NotFound
from shared.models import USAGE_STATUSES, Account, AIModel, ApiKey, Channel, Price, UsageLedger
from shared.operations.accounts import find_account

FILTERS = ("account", "model", "status", "key")


class UsageView(View):
    @shows("/")
    def index(self) -> ResponseReturnValue:
        filters = asked(FILTERS)
        query = _filtered(UsageLedger.select(UsageLedger, Account.id, Account.email).join(Account), filters)
        page = page_of(query, [UsageLedger.created_at, UsageLedger.id], request.args.get("before"))
        return self.page(
            "usage/list.html",
            page=page,
            filters=filters,
            chips=chips("usage.index", filters),
            keys=_keys_of(page.rows),
            models=[row.id for row in AIModel.select(AIModel.id).order_by(AIModel.id)],
            statuses=USAGE_STATUSES,
        )

    @shows("/<uuid:call_id>")
    def receipt(self, call_id: UUID) -> ResponseReturnValue:
        call = UsageLedger.select(UsageLedger, Account.id, Account.email).join(Account).where(UsageLedger.id == call_id).first()
        if call is None:
            raise NotFound(f"No call {call_id}. A call that is still running is among the holds.")
        price = Price.get_or_none(Price.id == call.price)
        return self.page(
            "usage/receipt.html",
            call=call,
            receipt=receipt_of(call, price),
            key=_keys_of([call]).get(call.api_key),
            channel=Channel.select(Channel.id, Channel.name).where(Channel.id == call.channel).first() if call.channel else None,
        )


def _filtered(query: Any, filters: dict[str, str]) -> Any:
    if "account" in filters:
        query = query.where(UsageLedger.account == find_account(filters["account"]).id)
    if "key" in filters:
        query = query.where(UsageLedger.api_key == as_uuid("key", filters["key"]))
    if "model" in filters:
        query = query.where(UsageLedger.model == filters["model"])
    if "status" in filters:
        query = query.where(UsageLedger.status == filters["status"])
    return query


def _keys_of(calls: list[Any]) -> dict[UUID, ApiKey]:
    """The keys that these calls came with, by id. Deleted ones are missing."""
    ids = {call.api_key for call in calls if call.api_key}
    shown = (ApiKey.id, ApiKey.name, ApiKey.prefix)
    return {row.id: row for row in ApiKey.select(*shown).where(ApiKey.id.in_(ids))} if ids else {}
