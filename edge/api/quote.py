"""`POST /api/quote/`: the cost of a chat call before it is made. Calls no upstream; holds and charges nothing."""

from __future__ import annotations

from functools import partial
from typing import Any, cast
from uuid import UUID

from peewee import fn
from quart import Blueprint, Response, request

from edge.call.alternatives import Alternative, affordable_models, cheapest_alternatives
from edge.call.candidates import find_candidates, max_quote
from edge.call.requests import ChatRequest, max_non_text_tokens, parse_chat_request, prompt_text
from edge.http.api_spec import (
    BOOLEAN,
    CALL_ERRORS,
    INTEGER,
    OPEN_OBJECT,
    STRING,
    ResponseSpec,
    array,
    describe_route,
    response_schema,
)
from edge.http.errors import alternatives_document
from edge.http.headers import Scope, parse_max_credits, read_headers
from edge.request_context import account_caller, count_request, find_model, read, read_body, services, uncached_json
from edge.v1.model_documents import pricing
from shared.billing.pricing import Quote, affordable_output, call_charge
from shared.billing.token_usage import TokenUsage
from shared.core.clock import now_ms
from shared.core.errors import AccessDenied, InsufficientCredits
from shared.models import Account, UsageLedger

DEFAULT_OUTPUT_TOKENS = 256  # if the account has no recent completed call of the model
RECENT_MS = 7 * 24 * 3600 * 1000
RECENT_CALLS = 50
MAX_MODELS = 20

quote_routes = Blueprint("quoting", __name__)


@quote_routes.post("/api/quote/")
@describe_route(
    "Quote a chat completion",
    body=ChatRequest,
    responses={
        200: ResponseSpec(
            response_schema(
                {
                    "model": STRING,
                    "input_tokens": INTEGER,
                    "worst": INTEGER,
                    "typical": INTEGER,
                    "required": INTEGER,
                    "fits": BOOLEAN,
                    "cheaper_models": array(response_schema({"id": STRING, "worst": INTEGER})),
                    "models": array(OPEN_OBJECT),
                }
            ),
            "The quote in credits. Nothing is held or charged.",
        )
    },
    errors=(*CALL_ERRORS,),
)
async def quote_call() -> Response:
    """Quote a call. Body and errors are those of a chat completion; `x-yout-max-credits` applies."""
    caller = await account_caller()
    await count_request(caller.limits)
    call = parse_chat_request(await read_body())
    cap = parse_max_credits(read_headers(cast(Scope, request.scope)).max_credits)
    now = now_ms()
    usable = [model for model in services().catalog.models.values() if caller.row.may_use(model, now)]
    try:
        offers = find_candidates(services().catalog, call, cap)
    except InsufficientCredits as refusal:
        refusal.balance = await services().balance_of(caller.account)
        refusal.alternatives = cheapest_alternatives(usable, call, refusal.available)
        raise
    find_model(call.model)  # for the headers of an alias
    for offer in offers:
        if not caller.row.may_use(services().catalog.models[offer.model], now):
            raise AccessDenied(f"You do not have access to the model '{offer.call.model}'.", "model_not_allowed")
    quoted = max_quote(offers, cap)
    counted = await services().count_tokens(prompt_text(call.body))
    input_tokens = max(1, counted + max_non_text_tokens(call.body) // 3)
    account, output_tokens = await read(partial(_read, caller.account, services().catalog.model_id(call.model), now))
    typical_output = min(output_tokens * call.choices, quoted.paid_tokens)
    free = account.balance - account.held
    fits = quoted.minimum <= free
    return uncached_json(
        {
            "model": call.model,
            "pricing": {**pricing(quoted.price), "minimum_credits": quoted.price.minimum_credits},
            "input_tokens": input_tokens,
            "output_limit": quoted.output_tokens,
            "typical_output_tokens": typical_output,
            "worst": quoted.bound,
            "typical": min(call_charge(quoted.price, TokenUsage(input_tokens, typical_output)), quoted.bound),
            "required": quoted.minimum,
            "balance": account.balance,
            "held": account.held,
            "max_tokens_affordable": affordable_output(quoted, free),
            "fits": fits,
            "cheaper_models": [] if fits else alternatives_document(cheapest_alternatives(usable, call, free)),
            "models": [
                _alternative(fit, TokenUsage(input_tokens, typical_output))
                for fit in affordable_models(usable, call, free)[:MAX_MODELS]
            ],
        }
    )


def _alternative(fit: Alternative, expected: TokenUsage) -> dict[str, Any]:
    quoted: Quote = fit.quote
    typical = expected._replace(output_tokens=min(expected.output_tokens, quoted.paid_tokens))
    return {
        "id": fit.model.id,
        "worst": quoted.bound,
        "typical": min(call_charge(quoted.price, typical), quoted.bound),
        "required": quoted.minimum,
    }


def _read(account: UUID, model: str, now: int) -> tuple[Account, int]:
    """Return the account, and the average output tokens of its recent calls of this model."""
    mine = (UsageLedger.account == account) & (UsageLedger.model == model) & (UsageLedger.status == "completed")
    latest: Any = (
        UsageLedger.select(UsageLedger.output_tokens)
        .where(mine & (UsageLedger.created_at >= now - RECENT_MS))
        .order_by(UsageLedger.created_at.desc())
        .limit(RECENT_CALLS)
    )
    average = UsageLedger.select(fn.AVG(latest.c.output_tokens)).from_(latest).scalar()
    return Account.get_by_id(account), DEFAULT_OUTPUT_TOKENS if average is None else max(1, round(average))
