"""`GET /api/receipts/<request id>/`: what a call cost and why, step by step. Contains no content."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from quart import Blueprint, Response

from edge.http.api_spec import OPEN_OBJECT, STRING, WEB, ResponseSpec, describe_route, integer, response_schema
from edge.http.errors import request_id
from edge.http.paging import query_integer
from edge.request_context import AccountCaller, caller, read, services, uncached_json
from edge.v1.model_documents import pricing
from shared.billing.price_rows import read_price
from shared.billing.rates import STANDARD_PERMILLE, PriceList
from shared.billing.receipts import Receipt, ReceiptLine, compute_receipt
from shared.billing.request_shape import RequestShape
from shared.billing.token_usage import NO_EXTRA, stored_extra
from shared.catalog.snapshot import Catalog
from shared.core.clock import now_ms
from shared.core.errors import InvalidApiKey, InvalidRequest, NotFound
from shared.core.timestamps import format_timestamp
from shared.identity.payer import VisitorPayer
from shared.ledger.allowances import visitor_allowance
from shared.ledger.receipt_proof import read_proof
from shared.ledger.request_shapes import read_shape
from shared.ledger.retention import read_usage_days
from shared.ledger.visitor_pool import POOL_ACCOUNT_ID
from shared.models import Hold, MediaJob, UsageLedger
from shared.probes.last_comparison import LastComparison, read_last_comparison
from shared.text.translation import lazy_gettext

NO_SUCH_CALL = "No such call. Use the 'x-request-id' header of its response as the id."
MAX_WAIT_SECONDS = 10
_PREFIX = request_id(UUID(int=0))[:-32]

receipts = Blueprint("receipts", __name__)


@receipts.get("/api/receipts/<id>/")
@describe_route(
    "Retrieve a receipt",
    callers=WEB,
    responses={
        200: ResponseSpec(
            response_schema({"request_id": STRING, "model": STRING, "status": STRING, "tokens": OPEN_OBJECT}),
            "The cost of the call, step by step.",
        )
    },
    errors=(NotFound, InvalidRequest),
    query={"wait": integer(0, MAX_WAIT_SECONDS)},
    notes="`id` is the `x-request-id` header of the call's response. `wait` is the number of seconds to wait for a call that"
    " is still running, such as one that you have just stopped. Visitors can read the receipts of their calls of the day."
    " If the platform or the plan limits how long calls are kept, older receipts are not found.",
)
async def show_receipt(id: str) -> Response:
    """Return the receipt of a call of the caller. If `wait` is given, wait for the end of a call that is still running."""
    found = await caller()
    if isinstance(found, VisitorPayer) and not services().visitors.pool_credits:
        raise InvalidApiKey
    deadline = time.monotonic() + query_integer("wait", 0, MAX_WAIT_SECONDS, 0)
    pause = 0.05
    while await read(partial(_is_running, found, id)) and time.monotonic() + pause < deadline:
        await asyncio.sleep(pause)
        pause = min(2 * pause, 1.0)
    account = POOL_ACCOUNT_ID if isinstance(found, VisitorPayer) else found.account
    found_call = await read(partial(find_call, account, id, services().settings.usage_days))
    proof = await read(partial(read_proof, account, found_call.call.id))
    return uncached_json(receipt_document(found_call, services().catalog, proof))


def _is_running(found: AccountCaller | VisitorPayer, id: str) -> bool:
    """Return whether the caller's call is still running. Raises `NotFound` if it is the call of another visitor."""
    named = _call_id(id)
    if isinstance(found, VisitorPayer):
        mine = Hold.allowance == visitor_allowance(found.digest, now_ms())
        hold = Hold.get_or_none((Hold.id == named) & (Hold.account == POOL_ACCOUNT_ID) & mine)
        if hold is None:
            raise NotFound(NO_SUCH_CALL)
    else:
        hold = Hold.get_or_none((Hold.id == named) & (Hold.account == found.account))
    return hold is not None and hold.state == "held"


class FoundCall(NamedTuple):
    """A call, and the other data of its receipt.

    price     in force when it started
    job       its media job, if it has one
    shape     of its provider's request
    compared  when the channel that served was last compared with a reference channel of the model
    """

    call: UsageLedger
    price: PriceList | None
    job: MediaJob | None
    shape: RequestShape | None
    compared: LastComparison


def find_call(account: UUID, id: str, usage_days: int | None) -> FoundCall:
    """Return a call of the account.

    `usage_days` is how long calls are kept if the account's plan sets nothing. Raises `NotFound`.
    """
    named = _call_id(id)
    call = UsageLedger.get_or_none((UsageLedger.id == named) & (UsageLedger.account == account))
    if call is None:
        days = read_usage_days(account, usage_days)
        if days is None:
            raise NotFound(NO_SUCH_CALL)
        raise NotFound(
            lazy_gettext(
                "No such call. Use the 'x-request-id' header of its response as the id. Calls are deleted after {days} days;"
                " their charges stay.",
                days=days,
            )
        )
    job = MediaJob.get_or_none(MediaJob.id == call.id)
    compared = read_last_comparison(call.channel, call.model)
    return FoundCall(call, read_price(call.price), job, read_shape(call.request_shape), compared)


def _call_id(id: str) -> UUID:
    try:
        return UUID(hex=id.removeprefix(_PREFIX))
    except ValueError:
        raise NotFound(NO_SUCH_CALL) from None


def receipt_document(found: FoundCall, catalog: Catalog, proof: dict[str, Any] | None) -> dict[str, Any]:
    """Return the receipt of a call, with the `proof` of its charge if it has one."""
    call, price, job, shape, compared = found
    receipt = compute_receipt(call, price, job)
    extra = stored_extra(call.extra_usage) or NO_EXTRA
    return {
        "request_id": request_id(call.id),
        "created": format_timestamp(call.created_at),
        "model": call.model,
        "asked_model": call.asked_model or call.model,
        "status": call.status,
        "error": call.error_code,
        "streamed": call.streamed,
        "tag": call.tag,
        "member": str(call.member or call.account.id),
        "tokens": {
            "input": call.input_tokens,
            "cached_input": call.cached_tokens,
            "cache_write": call.cache_write_tokens,
            "output": call.output_tokens,
            "reasoning": call.reasoning_tokens,
            "estimated": call.estimated,
            **{name: count for name, count in extra._asdict().items() if count and name != "service_tier"},
        },
        "service_tier": extra.service_tier or "default",
        "price": _price(price),
        "steps": _steps(receipt, "tokens" if job is None else "count") if receipt.computed_charge is not None else [],
        "cost": receipt.computed_charge,
        "credits_charged": call.credits,
        "of_it_overage": call.overage_credits,
        "not_charged": call.overrun_credits,
        "why": receipt.explanation or None,
        "attempts": call.attempts,
        "failed_attempts": call.failed_attempts.split(",") if call.failed_attempts else [],
        "channel": serving_channel(call, catalog),
        "comparison": {
            "result": compared.result,
            "compared_at": None if compared.compared_at is None else format_timestamp(compared.compared_at),
        },
        "cut": {"upstream": call.cut, "estimated": call.estimated} if call.status == "cancelled" or call.cut else None,
        "first_token_ms": call.first_token_ms,
        "duration_ms": call.duration_ms,
        "request_sha256": None if call.request_sha256 is None else bytes(call.request_sha256).hex(),
        "request_shape": None if shape is None else {"id": shape.id.hex(), **shape.document()},
        "entry_hash": None if proof is None else proof["entry"]["hash"],
        "proof": proof,
    }


def _steps(receipt: Receipt, counted: str) -> list[dict[str, Any]]:
    """Return the steps from the tokens (or another unit, `counted`) to the cost. Each step follows from the previous ones."""
    lines = [_line(line, "count" if line.per == 1 else counted) for line in receipt.lines]
    if receipt.permille != STANDARD_PERMILLE:
        step = f"tokens × service tier {receipt.service_tier}, in thousandths; rounded up"
        units = sum(line.thousandths for line in receipt.lines if line.per == 1)
        lines.append({"step": step, "rate": receipt.permille, "result": receipt.thousandths - units})
    return [
        *lines,
        {"step": "total in thousandths of a credit", "result": receipt.thousandths},
        {"step": "divided by 1,000 and rounded up", "result": -(-receipt.thousandths // 1000)},
        {"step": "plus the price per call", "rate": receipt.per_call, "result": receipt.sum},
        {
            "step": "at least the minimum charge; zero if all prices are zero",
            "rate": receipt.minimum,
            "result": receipt.computed_charge,
        },
    ]


def _line(line: ReceiptLine, counted: str) -> dict[str, Any]:
    noun = " tokens" if counted == "tokens" else ""
    step = f"{line.label.lower()}{noun} × credits" + (f" per {line.per:,}" if line.per > 1 else "")
    return {"step": step, counted: line.tokens, "rate": line.rate, "result": line.thousandths}


def _price(price: PriceList | None) -> dict[str, Any] | None:
    if price is None:
        return None
    since = {"id": str(price.id), "effective_at": format_timestamp(price.effective_at)}
    rates = {"rates": [rate._asdict() for rate in price.rates]} if price.rates else {}
    return {**since, **pricing(price), **rates, "minimum_credits": price.minimum_credits}


def serving_channel(call: UsageLedger, catalog: Catalog) -> str | None:
    """Return the public name of the last channel used, or None if it no longer serves the model."""
    model = catalog.models.get(call.model)
    routes = model.routes if model is not None else ()
    return next((route.public_name for route in routes if route.channel == call.channel), None)
