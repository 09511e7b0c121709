"""Account → Overview: balance, held credits, plan, and recent transactions."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple
from uuid import UUID

from quart import Blueprint, Response, request

from edge.http.public_url import edge_url
from edge.request_context import read
from edge.web.form_idempotency import create_once
from edge.web.pages import page
from edge.web.password_auth import count_redemption
from edge.web.web_session import origin_of, redirect_to, require_session
from shared.core.errors import InvalidRequest, TooManyAttempts
from shared.models import Account, ApiKey, LedgerEntry, Plan, Subscription
from shared.operations.audit import Origin
from shared.operations.redeem_codes import redeem

overview = Blueprint("overview", __name__)
LATEST = 12


class Overview(NamedTuple):
    """The data of the page."""

    account: Account
    subscription: Subscription | None
    entries: list[LedgerEntry]
    keys: int


@overview.get("/account")
async def show_overview() -> Response:
    return await _page()


@overview.post("/account/redeem")
async def redeem_code() -> Response:
    session = require_session()
    form = await request.form
    code = form.get("code", "")
    try:
        await count_redemption(session.account)
        await create_once(form, partial(_redeem, session.account, code, origin_of(session.account)))
    except TooManyAttempts as error:
        return await _page(429, code, str(error))
    except InvalidRequest as error:
        return await _page(422, code, str(error))
    return redirect_to("/account", "redeemed")


def _redeem(account: UUID, code: str, origin: Origin) -> tuple[str, str]:
    redeem(account, code, origin=origin)
    return "", ""


async def _page(status: int = 200, code: str = "", wrong: str = "") -> Response:
    found = await read(partial(_read, require_session().account))
    return await page("account/overview.html", status, **found._asdict(), edge=edge_url(), code=code, wrong=wrong)


def _read(id: UUID) -> Overview:
    active = (Subscription.account == id) & (Subscription.status == "active")
    subscription = Subscription.select(Subscription, Plan).join(Plan).where(active).first()
    entries = LedgerEntry.select().where(LedgerEntry.account == id).order_by(LedgerEntry.seq.desc()).limit(LATEST)
    keys = ApiKey.select().where((ApiKey.account == id) & ApiKey.revoked_at.is_null()).count()
    return Overview(Account.get_by_id(id), subscription, list(entries), keys)
