"""Usage: calls filtered by the URL, their totals, CSV export, and each call's receipt: tokens × price = charge."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import request
from flask.typing import ResponseReturnValue
from peewee import JOIN

from console import exports, id_labels
from console.paging import fetch_page
from console.query_timeout import run_with_timeout
from console.time_ranges import RANGES
from console.views.filters import active_filters, apply_conditions, chips
from console.views.usage_filters import FILTERS, SECONDARY_FILTERS, read_filters, usage_totals
from console.views.view import View, page_route
from shared.billing.price_rows import read_price
from shared.billing.receipts import compute_receipt
from shared.core.clock import now_ms
from shared.core.errors import NotFound
from shared.core.timestamps import format_timestamp
from shared.models import USAGE_STATUSES, Account, ApiKey, AuditEntry, Channel, LedgerEntry, MediaJob, UsageLedger
from shared.text.translation import gettext

ORDER = [UsageLedger.created_at, UsageLedger.id]
EXPORTED = {
    "status": UsageLedger.status,
    "error_code": UsageLedger.error_code,
    "streamed": UsageLedger.streamed,
    "estimated": UsageLedger.estimated,
    "input_tokens": UsageLedger.input_tokens,
    "cached_tokens": UsageLedger.cached_tokens,
    "output_tokens": UsageLedger.output_tokens,
    "reasoning_tokens": UsageLedger.reasoning_tokens,
    "credits": UsageLedger.credits,
    "overrun_credits": UsageLedger.overrun_credits,
    "provider_cost": UsageLedger.provider_cost,
    "attempts": UsageLedger.attempts,
    "first_token_ms": UsageLedger.first_token_ms,
    "duration_ms": UsageLedger.duration_ms,
    "price": UsageLedger.price,
    "account_id": UsageLedger.account,
    "account": Account.email,
    "key": ApiKey.prefix,
    "model": UsageLedger.model,
    "channel": Channel.name,
    "tag": UsageLedger.tag,
}


class UsageView(View):
    @page_route("/")
    def index(self) -> ResponseReturnValue:
        filters, now = active_filters(FILTERS), now_ms()
        chosen = read_filters(filters, now)
        query = apply_conditions(UsageLedger.select(UsageLedger, Account.id, Account.email).join(Account), chosen.conditions)
        page = run_with_timeout(lambda: fetch_page(query, ORDER, request.args.get("before")))
        rows = page.rows if page else []
        channels = id_labels.channel_choices()
        return self.page(
            "usage/list.html",
            page=page,
            strip=run_with_timeout(lambda: usage_totals(chosen, now)),
            filters=filters,
            chips=chips("usage.index", filters, {"channel": dict(channels)}),
            keys=id_labels.key_labels(row.api_key for row in rows),
            channel_names=id_labels.channel_names(row.channel for row in rows),
            channels=channels,
            models=id_labels.model_ids(),
            statuses=USAGE_STATUSES,
            ranges=RANGES,
            more=bool(filters.keys() & SECONDARY_FILTERS),
        )

    @page_route("/usage.csv")
    def export(self) -> ResponseReturnValue:
        filters, now = active_filters(FILTERS), now_ms()
        query = (
            UsageLedger.select(*ORDER, *EXPORTED.values())
            .join(Account)
            .join(ApiKey, JOIN.LEFT_OUTER, on=(UsageLedger.api_key == ApiKey.id))
            .join(Channel, JOIN.LEFT_OUTER, on=(UsageLedger.channel == Channel.id))
            .where(*read_filters(filters, now).conditions, UsageLedger.created_at <= now)
        )
        header = ("began_at", "request_id", *EXPORTED)
        return exports.export("usage", filters, query, ORDER, header, lambda row: (format_timestamp(row[0]), *row[1:]))

    @page_route("/<uuid:call_id>")
    def receipt(self, call_id: UUID) -> ResponseReturnValue:
        call = UsageLedger.select(UsageLedger, Account.id, Account.email).join(Account).where(UsageLedger.id == call_id).first()
        if call is None:
            raise NotFound(
                gettext(
                    "Call {call_id} not found. Calls in progress are listed under Holds; old ones are deleted after their"
                    " retention period.",
                    call_id=call_id,
                )
            )
        price, job = read_price(call.price), MediaJob.get_or_none(MediaJob.id == call.id)
        entries = _entries(call)
        trail = list(AuditEntry.select().where(AuditEntry.target == str(call.id)).order_by(AuditEntry.created_at))
        return self.page(
            "usage/receipt.html",
            call=call,
            receipt=compute_receipt(call, price, job),
            job=job,
            price=price,
            key=id_labels.key_labels([call.api_key]).get(call.api_key),
            channel=Channel.select(Channel.id, Channel.name).where(Channel.id == call.channel).first() if call.channel else None,
            entries=entries,
            trail=trail,
            actors=id_labels.actor_links(entry.actor for entry in (*entries, *trail)),
        )


def _entries(call: Any) -> list[Any]:
    """Return the ledger entries of this call: its charge, and a refund if there is one.

    Sorted here, because to avoid a sort, SQLite would read all entries of the account in the order of their numbers.
    """
    of_call = (LedgerEntry.account == call.account_id) & (LedgerEntry.call == call.id)
    return sorted(LedgerEntry.select().where(of_call), key=lambda entry: entry.seq)
