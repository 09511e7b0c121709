"""Account → API keys: list, create, edit and revoke keys. A new secret is shown once."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from peewee import Case, fn
from quart import Blueprint, Response, request
from werkzeug.datastructures import MultiDict

from edge.api.key_request import UNLIMITED, KeyRequest, check_key_changes, check_key_request
from edge.api.keys import create, find_visible, revoke_own, update_own, visible
from edge.call.web_auth import session_limits
from edge.http.paging import split_page
from edge.http.public_url import edge_url
from edge.request_context import AccountCaller, count_request, read, services, write
from edge.web.form_idempotency import create_once, shown
from edge.web.pages import page, read_after, read_slow
from edge.web.web_session import address, redirect_to, require_session
from shared.core.clock import now_ms
from shared.core.errors import InvalidRequest, NotFound, RateLimited
from shared.core.timestamps import format_timestamp
from shared.models import ApiKey, UsageLedger
from shared.rollup import last_days, month_spending
from shared.text.translation import gettext

keys = Blueprint("account_keys", __name__)
_NUMBERS = ("rpm", "tpm", "concurrency", "monthly_credit_limit", "daily_credit_limit")
PAGE_SIZE = 50  # keys on a page
_DATE_LENGTH = len("2027-01-31")


@keys.get("/account/keys")
async def show_keys() -> Response:
    return await _page()


@keys.post("/account/keys")
async def create_key_page() -> Response:
    form = await request.form
    caller = _caller()
    try:
        requested = check_key_request(_read_form(form), UNLIMITED, services().catalog.models, now_ms())
        await count_request(caller.limits)
        form_id = await create_once(form, partial(_create, caller, requested))
    except RateLimited as error:
        return await _page(429, form, {"": str(error)})
    except InvalidRequest as error:
        return await _page(422, form, {error.param or "": str(error)})
    return redirect_to(f"/account/keys/created/{form_id}")


@keys.get("/account/keys/created/<form_id>")
async def show_created_key(form_id: str) -> Response:
    found = await shown(form_id)
    if found is None:
        raise NotFound(gettext("Key not found. See API keys for your keys."))
    key = await read(partial(find_visible, _caller(), found.result))
    return await page("account/key_made.html", key=key, secret=found.secret, edge=edge_url(), example=_example())


@keys.get("/account/keys/<key_id>/revoke")
async def show_revoke(key_id: str) -> Response:
    row = await read(partial(find_visible, _caller(), key_id))
    return await page("account/key_revoke.html", key=row)


@keys.post("/account/keys/<key_id>/revoke")
async def do_revoke(key_id: str) -> Response:
    await write(partial(revoke_own, _caller(), key_id))
    return redirect_to("/account/keys", "key-revoked")


@keys.get("/account/keys/<key_id>/edit")
async def show_edit(key_id: str) -> Response:
    return await _edit_page(await read(partial(find_visible, _caller(), key_id)))


@keys.post("/account/keys/<key_id>/edit")
async def do_edit(key_id: str) -> Response:
    form = await request.form
    row = await read(partial(find_visible, _caller(), key_id))
    try:
        changes = check_key_changes(_read_changes(form, row), UNLIMITED, services().catalog.models, now_ms())
        await write(partial(update_own, _caller(), key_id, changes))
    except InvalidRequest as error:
        return await _edit_page(row, 422, form, {error.param or "": str(error)})
    return redirect_to("/account/keys", "key-updated")


def _create(caller: AccountCaller, requested: KeyRequest) -> tuple[str, str]:
    created = create(caller, requested)
    return str(created.row.id), created.secret


def _caller() -> AccountCaller:
    session = require_session()
    return AccountCaller(session, session_limits(services(), session), address())


async def _page(status: int = 200, form: MultiDict[str, str] | None = None, wrong: dict[str, str] | None = None) -> Response:
    rows, older = await read_slow(partial(_read, _caller(), read_after()))
    models = sorted(services().catalog.listed)
    context = {"rows": rows, "older": older, "models": models, "now": now_ms()}
    return await page("account/keys.html", status, form=form or MultiDict(), wrong=wrong or {}, **context)


async def _edit_page(
    row: ApiKey, status: int = 200, form: MultiDict[str, str] | None = None, wrong: dict[str, str] | None = None
) -> Response:
    # Allowed models that are no longer in the catalog are still listed, so that saving does not remove them.
    models = sorted({*services().catalog.listed, *(row.allowed_models or ())})
    shown = _filled(row) if form is None else form
    return await page("account/key_edit.html", status, key=row, models=models, form=shown, wrong=wrong or {})


def _filled(row: ApiKey) -> MultiDict[str, str]:
    """Return the form with a key's current values."""
    form = MultiDict({"name": row.name, "allowed_ips": " ".join(row.allowed_ips or ())})
    form.update({limit: str(getattr(row, limit) or "") for limit in _NUMBERS})
    form["expires_at"] = (format_timestamp(row.expires_at) or "")[:_DATE_LENGTH]
    form.setlist("allowed_models", row.allowed_models or [])
    if row.can_manage:
        form["can_manage"] = "on"
    return form


def _read_changes(form: MultiDict[str, str], row: ApiKey) -> dict[str, Any]:
    """Return the form's fields in the API's format: null for empty ones, and no unchanged dates and models."""
    body = dict.fromkeys((*_NUMBERS, "expires_at", "allowed_models", "allowed_ips")) | _read_form(form)
    if form.get("expires_at", "") == _filled(row).get("expires_at"):
        del body["expires_at"]  # unchanged date: keep the time of day
    if body["allowed_models"] == row.allowed_models:
        del body["allowed_models"]
    return body if row.parent is not None else {**body, "can_manage": bool(form.get("can_manage"))}


class KeyRow(NamedTuple):
    """A key, the time of its last call or, if that is deleted, its day, and the key's cost this month in credits."""

    key: ApiKey
    last_call: int | None
    spent: int


def _read(caller: AccountCaller, after: UUID | None) -> tuple[list[KeyRow], UUID | None]:
    """Return a page of keys after the id `after`, and the id for the next page. Active keys come first, then newest first."""
    account = caller.account
    spent = month_spending(account, now_ms())
    revoked = ApiKey.revoked_at.is_null(False)
    last_call = UsageLedger.select(fn.MAX(UsageLedger.created_at)).where(UsageLedger.api_key == ApiKey.id)
    query: Any = ApiKey.select(ApiKey, last_call.alias("last_call")).where(visible(caller))
    previous = ApiKey.get_or_none((ApiKey.id == after) & (ApiKey.account == account)) if after is not None else None
    if previous is not None:
        older = ApiKey.id < previous.id
        query = query.where(revoked & older if previous.revoked_at is not None else revoked | older)
    rows = list(query.order_by(Case(None, [(revoked, 1)], 0), ApiKey.id.desc()).limit(PAGE_SIZE + 1))
    shown, last = split_page(rows, PAGE_SIZE)
    days = last_days(account) if any(row.last_call is None for row in shown) else {}
    listed = [KeyRow(row, row.last_call or days.get(row.id), spent.get(row.id, 0)) for row in shown]
    return listed, last.id if last else None


def _read_form(form: MultiDict[str, str]) -> dict[str, Any]:
    """Return the form's fields in the API's format, without empty ones."""
    body: dict[str, Any] = {"name": form.get("name", "")}
    for name in _NUMBERS:
        text = "".join(form.get(name, "").split())
        if text:
            body[name] = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else text
    if form.get("expires_at"):
        body["expires_at"] = f"{form['expires_at']}T23:59:59Z"  # the end of the day
    if form.getlist("allowed_models"):
        body["allowed_models"] = form.getlist("allowed_models")
    addresses = form.get("allowed_ips", "").replace(",", " ").split()
    if addresses:
        body["allowed_ips"] = addresses
    return body


def _example() -> str:
    return next((model.id for model in services().catalog.listed.values() if model.kind == "chat"), "a-model")
