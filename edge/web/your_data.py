"""Account → Your data: export it, or delete it permanently."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from uuid import UUID

import orjson
from quart import Blueprint, Response, request

from edge.request_context import read, services, write
from edge.services import Services
from edge.web.pages import page
from edge.web.web_session import origin_of, redirect_to, require_session
from shared.identity.emails import normalize_for_lookup
from shared.models import Account
from shared.operations.account_export import PAGE_SIZE, TABLES, read_rows
from shared.operations.purges import ACTOR, begin_purge, find_purge, latest_purge
from shared.text.translation import gettext

data = Blueprint("data", __name__)


@data.get("/account/data")
async def show_data() -> Response:
    return await _page()


@data.get("/account/export.json")
async def export() -> Response:
    session = require_session()
    # `services()` is called here, because the request context ends before the file is sent.
    response = Response(_export(services(), session.account), content_type="application/json")
    response.headers["content-disposition"] = 'attachment; filename="yout-account.json"'
    response.timeout = None
    return response


@data.post("/account/purge")
async def purge() -> Response:
    session = require_session()
    typed = (await request.form).get("confirmation", "")
    if normalize_for_lookup(typed) != session.email:
        return await _page(422, gettext("Enter the email address of your account exactly as shown above."))
    job = await write(partial(begin_purge, session.account, origin=origin_of(session.account)))
    if job.status == "queued":
        services().spawn(asyncio.to_thread(services().job_queue.send, ACTOR, str(job.id)))
    return redirect_to("/account/data")


@data.get("/account/purge/<purge_id>/certificate.json")
async def certificate(purge_id: str) -> Response:
    job = await read(partial(find_purge, require_session().account, purge_id))
    response = Response(job.certificate or "null", content_type="application/json")
    response.headers["content-disposition"] = f'attachment; filename="yout-purge-{job.id}.json"'
    return response


async def _page(status: int = 200, wrong: str = "") -> Response:
    session = require_session()
    job = await read(partial(latest_purge, session.account))
    balance = await read(lambda: Account.get_by_id(session.account).balance)
    return await page("account/data.html", status, job=job, wrong=wrong, email=session.email, balance=balance)


def _text(value: object) -> str:
    """Return an id, or a hash in hexadecimal."""
    return bytes(value).hex() if isinstance(value, bytes | memoryview) else str(value)


async def _export(services: Services, account: UUID) -> AsyncIterator[bytes]:
    """Yield one JSON object with a list of rows per table, page by page."""
    yield b"{"
    for number, table in enumerate(TABLES):
        yield b"%s\n%s: [" % (b"," if number else b"", orjson.dumps(table.name))
        after: tuple[Any, ...] | None = None
        while True:
            rows, last = await services.slow_reader.read(partial(read_rows, table, account, after))
            yield (b",\n" if after is not None and rows else b"") + b",\n".join(orjson.dumps(row, default=_text) for row in rows)
            if len(rows) < PAGE_SIZE:
                break
            after = last
        yield b"]"
    yield b"\n}\n"
