"""Ledger: every movement of credits, of all accounts or of one."""

from __future__ import annotations

from typing import Any

from flask import request
from flask.typing import ResponseReturnValue

from console.paging import page_of
from console.views.filters import asked, chips
from console.views.view import View, shows
from shared.models import Account, LedgerEntry
from shared.operations.accounts import find_account


class LedgerView(View):
    @shows("/")
    def index(self) -> ResponseReturnValue:
        filters = asked(("account",))
        query = LedgerEntry.select(LedgerEntry, Account.id, Account.email).join(Account)
        if "account" in filters:
            query = query.where(LedgerEntry.account == find_account(filters["account"]).id)
            order: list[Any] = [LedgerEntry.seq]  # the primary key of one account's entries
        else:
            order = [LedgerEntry.created_at, LedgerEntry.account, LedgerEntry.seq]
        page = page_of(query, order, request.args.get("before"))
        return self.page("ledger.html", page=page, filters=filters, chips=chips("ledger.index", filters))
