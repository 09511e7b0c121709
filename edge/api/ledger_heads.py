"""`GET /.well-known/yout-ledger-heads.json`: the ledger's signed seals, for anyone to keep."""

from __future__ import annotations

from functools import partial
from typing import Any

import orjson
from quart import Blueprint, Response

from edge.http.api_spec import ANYBODY, OPEN_OBJECT, ResponseSpec, array, describe_route, integer, response_schema
from edge.http.paging import query_integer
from edge.request_context import read, services
from shared.ledger.seal import public_keys, published, read_documents
from shared.text.translation import lazy_gettext

ledger_heads = Blueprint("ledger_heads", __name__)
PAGE = 1_000
MAX_NUMBER = 2**53 - 1


@ledger_heads.get("/.well-known/yout-ledger-heads.json")
@describe_route(
    "List the ledger's seals",
    callers=ANYBODY,
    responses={
        200: ResponseSpec(
            response_schema({"heads": array(OPEN_OBJECT), "keys": OPEN_OBJECT}),
            "Signed seals, the oldest first, and the public keys, by id, that verify them and the signatures of purges.",
        )
    },
    query={"since": integer(0, MAX_NUMBER)},
    notes=lazy_gettext("Returns up to {count} seals from number `since`. One is added each day.", count=PAGE),
)
async def show_heads() -> Response:
    """Return the signed seals from a number on."""
    content = await read(partial(_read, query_integer("since", 0, MAX_NUMBER, 0), services().settings.secret_key))
    response = Response(orjson.dumps(content), content_type="application/json")
    response.headers["cache-control"] = "public, max-age=300"
    return response


def _read(since: int, secret_key: str) -> dict[str, Any]:
    return published(read_documents(since, PAGE), public_keys(secret_key))
