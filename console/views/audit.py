"""Audit log: who changed what, when, from where, and what it was before."""

from __future__ import annotations

from flask import request
from flask.typing import ResponseReturnValue

from console.paging import page_of
from console.views.filters import asked, chips
from console.views.view import View, shows
from shared.models import AuditEntry

FILTERS = ("actor", "action", "target")


class AuditView(View):
    @shows("/")
    def index(self) -> ResponseReturnValue:
        filters = asked(FILTERS)
        query = AuditEntry.select()
        for name, value in filters.items():
            query = query.where(getattr(AuditEntry, name) == value)
        page = page_of(query, [AuditEntry.created_at, AuditEntry.id], request.args.get("before"))
        return self.page("audit.html", page=page, filters=filters, chips=chips("audit.index", filters))
