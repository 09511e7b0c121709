"""The account's first page: what is left, what is held, the plan, and the latest movements."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple
from uuid import UUID

from quart import Blueprint, Response

from edge.current import read
from edge.web.pages import edge_url, page
from edge.web.visit import signed_in
from shared.models import Account, ApiKey, LedgerEntry, Plan, Subscription

overview = Blueprint("overview", __name__)
LATEST = 12


class Overview(NamedTuple):
    """What the page shows."""

    account: Account
    subscription: Subscription | None
    entries: list[LedgerEntry]
    keys: int


@overview.get("/account")
async def show_overview() -> Response:
    found = await read(partial(_read, signed_in().account))
    return await page("account/overview.html", **found._asdict(), edge=edge_url())


def _read(id: UUID) -> Overview:
    active = (Subscription.account == id) & (Subscription.status == "active")
    subscription = Subscription.select(Subscription, Plan).join(Plan).where(active).first()
    entries = LedgerEntry.select().where(LedgerEntry.account == id).order_by(LedgerEntry.seq.desc()).limit(LATEST)
    keys = ApiKey.select().where((ApiKey.account == id) & ApiKey.revoked_at.is_null()).count()
    return Overview(Account.get_by_id(id), subscription, list(entries), keys)
