"""`GET /.well-known/yout-ledger-heads.json`: the ledger's signed seals, for anybody to keep."""

from __future__ import annotations

from functools import partial

import orjson
from quart import Blueprint, Response

from edge.http.api_spec import ANYBODY, OPEN_OBJECT, ResponseSpec, array, describe_route, integer, response_schema
from edge.http.paging import query_integer
from edge.request_context import read
from shared.ledger.seal import published, read_documents
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
            "Signed seals, the oldest first, and the public keys that verify them by id.",
        )
    },
    query={"since": integer(0, MAX_NUMBER)},
    notes=lazy_gettext("Returns up to {count} seals from number `since`. One is added each day.", count=PAGE),
)
async def show_heads() -> Response:
    """Return the signed seals from a number on."""
    documents = await read(partial(read_documents, query_integer("since", 0, MAX_NUMBER, 0), PAGE))
    response = Response(orjson.dumps(published(documents)), content_type="application/json")
    response.headers["cache-control"] = "public, max-age=300"
    return response
