"""`POST /api/quote/`: the cost of a chat call before it is made. Calls no upstream; holds and charges nothing."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, cast
from uuid import UUID

from peewee import fn
from quart import Blueprint, Response, request

from edge.call.alternatives import Alternative, affordable_models, cheapest_alternatives
from edge.call.candidates import find_candidates, max_quote
from edge.call.requests import ChatRequest, max_non_text_tokens, parse_chat_request, prompt_text
from edge.call.web_auth import visitor_limits
from edge.http.api_spec import (
    BOOLEAN,
    CALL_ERRORS,
    INTEGER,
    OPEN_OBJECT,
    STRING,
    WEB,
    ResponseSpec,
    array,
    describe_route,
    response_schema,
)
from edge.http.errors import alternatives_document
from edge.http.headers import Scope, parse_max_credits, read_headers
from edge.request_context import AccountCaller, caller, count_request, find_model, read, read_body, services, uncached_json
from edge.v1.model_documents import pricing
from shared.billing.pricing import Quote, affordable_output, call_charge
from shared.billing.token_usage import TokenUsage
from shared.catalog.snapshot import CatalogModel
from shared.core.clock import now_ms
from shared.core.errors import AccessDenied, InsufficientCredits, InvalidApiKey
from shared.identity.payer import VisitorPayer
from shared.ledger.visitor_pool import MIN_CALL_CREDITS, visitor_allowance_state
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
    callers=WEB,
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
    found = await caller()
    visitor = found if isinstance(found, VisitorPayer) else None
    if visitor is not None and not services().visitors.pool_credits:
        raise InvalidApiKey
    await count_request(found.limits if isinstance(found, AccountCaller) else visitor_limits(services().settings, found))
    call = parse_chat_request(await read_body())
    cap = parse_max_credits(read_headers(cast(Scope, request.scope)).max_credits)
    now = now_ms()

    def may_use(model: CatalogModel) -> bool:
        return found.row.may_use(model, now) if isinstance(found, AccountCaller) else model.is_free

    usable = [model for model in services().catalog.listed.values() if may_use(model)]
    try:
        offers = find_candidates(services().catalog, call, cap)
    except InsufficientCredits as refusal:
        if isinstance(found, AccountCaller):
            refusal.balance = await services().balance_of(found.account)
            refusal.alternatives = cheapest_alternatives(usable, call, refusal.available)
        raise
    find_model(call.model)  # for the headers of an alias
    for offer in offers:
        if not may_use(services().catalog.models[offer.model]):
            raise AccessDenied(f"You do not have access to the model '{offer.call.model}'.", "model_not_allowed")
    if visitor is not None and len(offers) > 1:
        raise AccessDenied("Fallback models require an account. Sign in, or send an API key.", "model_not_allowed")
    minimum = MIN_CALL_CREDITS if visitor is not None else 0
    quoted = _at_least(max_quote(offers, cap), minimum)
    counted = await services().count_tokens(prompt_text(call.body))
    input_tokens = max(1, counted + max_non_text_tokens(call.body) // 3)
    if isinstance(found, AccountCaller):
        funds = await read(partial(_read, found.account, services().catalog.model_id(call.model), now))
    else:
        today = await read(partial(visitor_allowance_state, found.digest, services().visitors, now))
        funds = _Funds(today.remaining, 0, DEFAULT_OUTPUT_TOKENS)  # calls of other visitors are not averaged
    typical_output = min(funds.output_tokens * call.choices, quoted.paid_tokens)
    expected = TokenUsage(input_tokens, typical_output)
    free = funds.balance - funds.held
    fits = quoted.minimum <= free
    return uncached_json(
        {
            "model": call.model,
            "pricing": {**pricing(quoted.price), "minimum_credits": quoted.price.minimum_credits},
            "input_tokens": input_tokens,
            "output_limit": quoted.output_tokens,
            "typical_output_tokens": typical_output,
            "worst": quoted.bound,
            "typical": _typical(quoted, expected, minimum),
            "required": quoted.minimum,
            "balance": funds.balance,
            "held": funds.held,
            "max_tokens_affordable": affordable_output(quoted, free),
            "fits": fits,
            "cheaper_models": [] if fits else alternatives_document(cheapest_alternatives(usable, call, free)),
            "models": [_alternative(fit, expected, minimum) for fit in affordable_models(usable, call, free)[:MAX_MODELS]],
        }
    )


def _at_least(quoted: Quote, minimum: int) -> Quote:
    return quoted._replace(bound=max(quoted.bound, minimum), minimum=max(quoted.minimum, minimum))


def _typical(quoted: Quote, expected: TokenUsage, minimum: int) -> int:
    return min(max(call_charge(quoted.price, expected), minimum), quoted.bound)


def _alternative(fit: Alternative, expected: TokenUsage, minimum: int) -> dict[str, Any]:
    quoted = _at_least(fit.quote, minimum)
    typical = expected._replace(output_tokens=min(expected.output_tokens, quoted.paid_tokens))
    return {
        "id": fit.model.id,
        "worst": quoted.bound,
        "typical": _typical(quoted, typical, minimum),
        "required": quoted.minimum,
    }


class _Funds(NamedTuple):
    """The caller's credits, and the expected output tokens of a call."""

    balance: int
    held: int
    output_tokens: int


def _read(account_id: UUID, model: str, now: int) -> _Funds:
    """Return the account's credits, and the average output tokens of its recent calls of this model."""
    mine = (UsageLedger.account == account_id) & (UsageLedger.model == model) & (UsageLedger.status == "completed")
    latest: Any = (
        UsageLedger.select(UsageLedger.output_tokens)
        .where(mine & (UsageLedger.created_at >= now - RECENT_MS))
        .order_by(UsageLedger.created_at.desc())
        .limit(RECENT_CALLS)
    )
    average = UsageLedger.select(fn.AVG(latest.c.output_tokens)).from_(latest).scalar()
    account = Account.get_by_id(account_id)
    return _Funds(account.balance, account.held, DEFAULT_OUTPUT_TOKENS if average is None else max(1, round(average)))
