"""Audit log: who changed what, when and from where, with the values before and after. Filtered and exported, never edited."""

from __future__ import annotations

import json
from typing import Any

from flask import request
from flask.typing import ResponseReturnValue

from console import exports
from console.id_labels import actor_links
from console.paging import fetch_page
from console.query_timeout import run_with_timeout
from console.views.filters import active_filters, apply_conditions, chips
from console.views.time_filters import parse_timestamp
from console.views.view import View, page_route
from shared.core.clock import now_ms
from shared.core.timestamps import format_timestamp
from shared.identity.emails import normalize_for_lookup
from shared.models import Account, AuditEntry
from shared.operations.web_accounts import account_actor

COLUMNS = ("actor", "action", "target", "address")
FILTERS = (*COLUMNS, "since", "until")
ORDER = [AuditEntry.created_at, AuditEntry.id]


class AuditView(View):
    @page_route("/")
    def index(self) -> ResponseReturnValue:
        filters = active_filters(FILTERS)
        query = apply_conditions(AuditEntry.select(), _conditions(filters))
        page = run_with_timeout(lambda: fetch_page(query, ORDER, request.args.get("before")))
        entries = page.rows if page else []
        actors = actor_links([*(row.actor for row in entries), *(account_actor(row.target) for row in entries)])
        context = {"filters": filters, "chips": chips("audit.index", filters), "actors": actors, "account_actor": account_actor}
        return self.page("audit.html", page=page, **context)

    @page_route("/audit.csv")
    def export(self) -> ResponseReturnValue:
        filters = active_filters(FILTERS)
        shown = [*(getattr(AuditEntry, name) for name in COLUMNS), AuditEntry.before, AuditEntry.after]
        query = AuditEntry.select(*ORDER, *shown).where(*_conditions(filters), AuditEntry.created_at <= now_ms())
        return exports.export("audit", filters, query, ORDER, ("created_at", "id", *COLUMNS, "before", "after"), _line)


def _conditions(filters: dict[str, str]) -> list[Any]:
    conditions: list[Any] = [getattr(AuditEntry, name) == filters[name] for name in COLUMNS[1:] if name in filters]
    if "actor" in filters:
        conditions.append(AuditEntry.actor.in_(_actors(filters["actor"])))
    if "since" in filters:
        conditions.append(AuditEntry.created_at >= parse_timestamp(filters["since"]))
    if "until" in filters:
        conditions.append(AuditEntry.created_at < parse_timestamp(filters["until"]))
    return conditions


def _actors(text: str) -> list[str]:
    """Return the actors that `text` names: itself, and the account with this email address."""
    account = Account.get_or_none(Account.email == normalize_for_lookup(text)) if "@" in text else None
    return [text, account_actor(account.id)] if account is not None else [text]


def _line(row: tuple[Any, ...]) -> tuple[Any, ...]:
    created, *rest, before, after = row
    return (format_timestamp(created), *rest, *("" if value is None else json.dumps(value) for value in (before, after)))
