"""Ledger: entries filtered by the URL, their totals, CSV export, and the verification of balances."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import current_app, request
from flask.typing import ResponseReturnValue
from peewee import SQL, fn

from console import exports
from console.id_labels import actor_links
from console.paging import fetch_page
from console.query_timeout import run_with_timeout
from console.views.filters import active_filters, apply_conditions, chips
from console.views.time_filters import parse_timestamp
from console.views.usage_filters import request_id
from console.views.view import View, action_route, page_route
from shared.core.clock import now_ms
from shared.core.errors import InvalidInput, NotFound
from shared.core.timestamps import format_timestamp
from shared.ledger.verify import VerificationReport, verify_ledger
from shared.models import LEDGER_KINDS, Account, Hold, LedgerEntry, UsageLedger
from shared.operations.accounts import find_account
from shared.text.translation import gettext

FILTERS = ("account", "kind", "actor", "request", "since", "until")
ORDER: list[Any] = [LedgerEntry.created_at, LedgerEntry.account, LedgerEntry.seq]
MAX_ROWS_SUMMED = 10_000
VERIFY_SECONDS = 5.0
_EXPORTED = (
    LedgerEntry.kind,
    LedgerEntry.amount,
    LedgerEntry.balance_after,
    LedgerEntry.call,
    LedgerEntry.actor,
    LedgerEntry.reason,
)


class LedgerView(View):
    @page_route("/")
    def index(self) -> ResponseReturnValue:
        return self._page()

    @page_route("/ledger.csv")
    def export(self) -> ResponseReturnValue:
        filters = active_filters(FILTERS)
        conditions = [*_conditions(filters), LedgerEntry.created_at <= now_ms()]
        query = LedgerEntry.select(*ORDER, Account.email, *_EXPORTED).join(Account).where(*conditions)
        header = ("created_at", "account_id", "number", "account", *(column.name for column in _EXPORTED))
        return exports.export("ledger", filters, query, ORDER, header, lambda row: (format_timestamp(row[0]), *row[1:]))

    @action_route("/verify", "ledger.verify")
    def verify(self) -> ResponseReturnValue:
        return self._page(verify_requested=True)

    def _page(self, verify_requested: bool = False) -> str:
        filters = active_filters(FILTERS)
        conditions = _conditions(filters)
        query = apply_conditions(LedgerEntry.select(LedgerEntry, Account.id, Account.email).join(Account), conditions)
        # One account's entries are ordered by its primary key, (account, seq).
        order = [LedgerEntry.seq] if filters.keys() == {"account"} else ORDER
        page = run_with_timeout(lambda: fetch_page(query, order, request.args.get("before")))
        return self.page(
            "ledger/list.html",
            page=page,
            actors=actor_links(row.actor for row in page.rows) if page else {},
            sums=run_with_timeout(lambda: _sums(conditions)) if filters else [],
            filters=filters,
            chips=chips("ledger.index", filters),
            kinds=LEDGER_KINDS,
            asked_to_verify=verify_requested,
            report=run_with_timeout(_verify, VERIFY_SECONDS) if verify_requested else None,
        )


def _verify() -> VerificationReport:
    return verify_ledger(now_ms(), current_app.extensions["yout_settings"].secret_key)


def _conditions(filters: dict[str, str]) -> list[Any]:
    conditions: list[Any] = []
    if "account" in filters:
        conditions.append(LedgerEntry.account == find_account(filters["account"]).id)
    if "kind" in filters:
        if filters["kind"] not in LEDGER_KINDS:
            raise InvalidInput(
                gettext(
                    "Unknown kind {value!r}. Use one of {kinds}.",
                    value=filters["kind"],
                    kinds=", ".join(LEDGER_KINDS),
                )
            )
        conditions.append(LedgerEntry.kind == filters["kind"])
    if "actor" in filters:
        conditions.append(LedgerEntry.actor == filters["actor"])
    if "request" in filters:
        conditions += _of_call(request_id(filters["request"]))
    if "since" in filters:
        conditions.append(LedgerEntry.created_at >= parse_timestamp(filters["since"]))
    if "until" in filters:
        conditions.append(LedgerEntry.created_at < parse_timestamp(filters["until"]))
    return conditions


def _of_call(call: UUID) -> list[Any]:
    """Return conditions for the entries of a call. Its account, from its usage row or hold, lets the primary key be used."""
    for model in (UsageLedger, Hold):
        row = model.select(model.account).where(model.id == call).tuples().first()
        if row is not None:
            return [LedgerEntry.account == row[0], LedgerEntry.call == call]
    raise NotFound(
        gettext("Call {call} not found. It may have been deleted after its retention period or by a purge.", call=call)
    )


def _sums(conditions: list[Any]) -> list[tuple[str, int, int]]:
    """Return (kind, entries, credits) over the newest `MAX_ROWS_SUMMED` entries."""
    newest = apply_conditions(LedgerEntry.select(LedgerEntry.kind, LedgerEntry.amount), conditions)
    newest = newest.order_by(LedgerEntry.created_at.desc()).limit(MAX_ROWS_SUMMED)
    rows: Any = newest.select_from(newest.c.kind, fn.COUNT(SQL("*")), fn.SUM(newest.c.amount)).group_by(newest.c.kind).tuples()
    return sorted((kind, int(count), int(amount)) for kind, count, amount in rows)
