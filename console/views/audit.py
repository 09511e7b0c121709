"""Audit log: who changed what, when and from where, with the values before and after. Filtered and exported, never edited."""

from __future__ import annotations

import json
from typing import Any

from flask import request
from flask.typing import ResponseReturnValue

from console import exports
from console.paging import page_of
from console.query_timeout import within
from console.views.filters import asked, chips, narrowed
from console.views.time_filters import read_moment
from console.views.view import View, shows
from shared.core.clock import now_ms
from shared.core.timestamps import iso_moment
from shared.models import AuditEntry

COLUMNS = ("actor", "action", "target", "address")
FILTERS = (*COLUMNS, "since", "until")
ORDER = [AuditEntry.created_at, AuditEntry.id]


class AuditView(View):
    @shows("/")
    def index(self) -> ResponseReturnValue:
        filters = asked(FILTERS)
        query = narrowed(AuditEntry.select(), _conditions(filters))
        page = within(lambda: page_of(query, ORDER, request.args.get("before")))
        return self.page("audit.html", page=page, filters=filters, chips=chips("audit.index", filters))

    @shows("/audit.csv")
    def export(self) -> ResponseReturnValue:
        filters = asked(FILTERS)
        shown = [*(getattr(AuditEntry, name) for name in COLUMNS), AuditEntry.before, AuditEntry.after]
        query = AuditEntry.select(*ORDER, *shown).where(*_conditions(filters), AuditEntry.created_at <= now_ms())
        return exports.export("audit", filters, query, ORDER, ("created_at", "id", *COLUMNS, "before", "after"), _line)


def _conditions(filters: dict[str, str]) -> list[Any]:
    conditions: list[Any] = [getattr(AuditEntry, name) == filters[name] for name in COLUMNS if name in filters]
    if "since" in filters:
        conditions.append(AuditEntry.created_at >= read_moment(filters["since"]))
    if "until" in filters:
        conditions.append(AuditEntry.created_at < read_moment(filters["until"]))
    return conditions


def _line(row: tuple[Any, ...]) -> tuple[Any, ...]:
    created, *rest, before, after = row
    return (iso_moment(created), *rest, *("" if value is None else json.dumps(value) for value in (before, after)))
