"""Calls: a filtered list, the same rows as CSV, and the receipt of each call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

from quart import Blueprint, Response, request

from edge.api.receipts import find_call, receipt_document, serving_channel
from edge.api.usage import end_of_day, member_emails, parse_date, start_of_day
from edge.http.errors import request_id
from edge.http.paging import split_page
from edge.request_context import read, services, uncached_json
from edge.services import Services
from edge.web.pages import page, read_after, read_slow
from edge.web.web_session import require_session
from shared.billing.calls import BATCH_SIZE, PAGE_SIZE, CallFilters, CallPosition, CallUsage, list_calls, position_of
from shared.billing.receipts import compute_receipt
from shared.core.errors import InvalidRequest
from shared.core.timestamps import format_timestamp
from shared.ledger.receipt_proof import read_proof
from shared.ledger.retention import read_usage_days
from shared.models import USAGE_STATUSES, ApiKey, LedgerEntry
from shared.text.csv_rows import csv_header, csv_rows
from shared.text.translation import gettext, lazy_gettext

calls = Blueprint("calls", __name__)
FILTERS = {
    "from": lazy_gettext("From"),
    "to": lazy_gettext("To"),
    "model": lazy_gettext("Model"),
    "key": lazy_gettext("Key"),
    "member": lazy_gettext("Member"),
    "tag": lazy_gettext("Tag"),
    "status": lazy_gettext("Status"),
}
WEB_SESSION = "web"  # the value of the filter `key` for calls of web sessions
KEYS_OFFERED = 200  # the newest keys, in the filter's list
CSV_HEAD = (
    *("time", "request_id", "key", "model", "status", "input_tokens", "cached_tokens", "output_tokens", "credits", "estimated"),
    *("duration_ms", "tag"),
)


class _Key(NamedTuple):
    """A key as the filter shows it."""

    id: str
    name: str
    prefix: str


@calls.get("/calls")
async def show_calls() -> Response:
    """List the account's calls. The filters are in the URL."""
    account, chosen = require_session().account, _chosen()
    rows, keys = await read_slow(partial(_read, account, _parse(chosen), read_after(), chosen.get("key")))
    emails = {str(id): email for id, email in (await read(partial(member_emails, account))).items()}
    usage_days = await read(partial(read_usage_days, account, services().settings.usage_days))
    listed, last = split_page(rows, PAGE_SIZE)
    context: dict[str, Any] = {
        "rows": [(request_id(row.id), row) for row in listed],
        "older": _query({**chosen, "after": str(last.id)}) if last else "",
        "first": "after" not in request.args,
        "query": _query(chosen),
        "chosen": chosen,
        "chips": [
            (FILTERS[name], _shown(name, value, keys, emails), _query({**chosen, name: ""})) for name, value in chosen.items()
        ],
        "keys": keys,
        "members": emails if len(emails) > 1 else {},
        "models": sorted(services().catalog.listed),
        "statuses": USAGE_STATUSES,
        "usage_days": usage_days,
    }
    return await page("account/calls.html", **context)


@calls.get("/calls.csv")
async def download() -> Response:
    """Return all calls that match the filters as CSV."""
    account, filters = require_session().account, _parse(_chosen())
    # Calls `services()` here, because the request context ends before the file is sent.
    response = Response(_csv(services(), account, filters), content_type="text/csv; charset=utf-8")
    response.headers["content-disposition"] = 'attachment; filename="yout-calls.csv"'
    response.timeout = None
    return response


@calls.get("/calls/<id>")
async def show_call(id: str) -> Response:
    """Show the receipt of a call."""
    account = require_session().account
    found = await read(partial(find_call, account, id, services().settings.usage_days))
    call, price, job, shape, compared = found
    key, entries = await read(partial(_read_around, account, call.id, call.api_key))
    emails = await read(partial(member_emails, account))
    proof = await read(partial(read_proof, account, call.id))
    context: dict[str, Any] = {
        "id": request_id(call.id),
        "call": call,
        "price": price,
        "job": job,
        "key": key,
        "member": emails.get(call.member or account) if len(emails) > 1 else None,
        "entries": entries,
        "receipt": compute_receipt(call, price, job),
        "channel": serving_channel(call, services().catalog),
        "proof": proof,
        "shape": shape,
        "compared": compared,
    }
    return await page("account/receipt.html", **context)


@calls.get("/calls/<id>/receipt.json")
async def download_receipt(id: str) -> Response:
    """Return the receipt with its proof, as the API does, to be checked without this service."""
    account = require_session().account
    found = await read(partial(find_call, account, id, services().settings.usage_days))
    proof = await read(partial(read_proof, account, found.call.id))
    response = uncached_json(receipt_document(found, services().catalog, proof))
    response.headers["content-disposition"] = f'attachment; filename="yout-receipt-{found.call.id}.json"'
    return response


def _chosen() -> dict[str, str]:
    """Return the filters that the URL sets."""
    values = {name: request.args.get(name, "").strip() for name in FILTERS}
    return {name: value for name, value in values.items() if value}


def _parse(chosen: dict[str, str]) -> CallFilters:
    """Return the filters. Raises `InvalidRequest`."""
    first, last = parse_date("from", chosen.get("from")), parse_date("to", chosen.get("to"))
    status, key = chosen.get("status"), chosen.get("key")
    if status is not None and status not in USAGE_STATUSES:
        raise InvalidRequest(gettext("'status' must be one of {statuses}.", statuses=", ".join(USAGE_STATUSES)), "status")
    return CallFilters(
        since=None if first is None else start_of_day(first),
        until=None if last is None else end_of_day(last),
        model=chosen.get("model"),
        key=None if key in (None, WEB_SESSION) else _key_id(key),
        by_session=key == WEB_SESSION,
        tag=chosen.get("tag"),
        status=status,
        member=None if chosen.get("member") is None else _member_id(chosen["member"]),
    )


def _key_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidRequest(gettext("'key' must be the id of a key, or '{web}'.", web=WEB_SESSION), "key") from None


def _member_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidRequest(gettext("'member' must be the id of a member."), "member") from None


def _query(values: dict[str, str]) -> str:
    """Return the query string for a link, or "" without values."""
    query = urlencode({name: value for name, value in values.items() if value})
    return f"?{query}" if query else ""


def _shown(name: str, value: str, keys: list[_Key], members: dict[str, str]) -> str:
    if name == "member":
        return members.get(value, value)
    if name != "key":
        return value
    return gettext("Web sessions") if value == WEB_SESSION else next((key.name for key in keys if key.id == value), value)


def _read(account: UUID, filters: CallFilters, after: UUID | None, key: str | None) -> tuple[list[CallUsage], list[_Key]]:
    """Return a page of calls and one more, and the keys for the filter: the newest ones and the chosen one."""
    own = ApiKey.select(ApiKey.id, ApiKey.name, ApiKey.prefix).where(ApiKey.account == account)
    newest = [_Key(str(row.id), row.name, row.prefix) for row in own.order_by(ApiKey.id.desc()).limit(KEYS_OFFERED)]
    if filters.key is not None and key not in {found.id for found in newest}:
        newest += [_Key(str(row.id), row.name, row.prefix) for row in own.where(ApiKey.id == filters.key)]
    return list_calls(account, filters, position_of(account, after), PAGE_SIZE + 1), newest


def _read_around(account: UUID, call: UUID, key: UUID | None) -> tuple[ApiKey | None, list[LedgerEntry]]:
    """Return the key and the ledger entries of a call.

    Sorted here, because to avoid a sort, SQLite would read all entries of the account in the order of their numbers.
    """
    entries = LedgerEntry.select().where((LedgerEntry.account == account) & (LedgerEntry.call == call))
    return ApiKey.get_or_none(ApiKey.id == key), sorted(entries, key=lambda entry: entry.seq)


async def _csv(services: Services, account: UUID, filters: CallFilters) -> AsyncIterator[bytes]:
    yield csv_header(CSV_HEAD)
    after: CallPosition | None = None
    while True:
        found = await services.slow_reader.read(partial(list_calls, account, filters, after, BATCH_SIZE))
        yield csv_rows(_cells(call) for call in found)
        if len(found) < BATCH_SIZE:
            return
        after = CallPosition(found[-1].at, found[-1].id)


def _cells(call: CallUsage) -> tuple[object, ...]:
    """Return the cells for the columns of `CSV_HEAD`."""
    call_columns = (format_timestamp(call.at), request_id(call.id), call.key_name, call.model, call.status)
    usage_columns = (call.input_tokens, call.cached_tokens, call.output_tokens, call.credits)
    return (*call_columns, *usage_columns, "yes" if call.estimated else "", call.duration_ms, call.tag)
