"""Admission: acquire the rate limit and the hold before a call, and settle and release both exactly once after it.

    async with Admission(services, running, call_id, caller, call, candidates, max_credits) as upstream:
        …
        usage, settled = await admission.settle()     # before the response reports the cost

Leaving the block without a settlement settles what was delivered so far: as a failed call after an error, as a cut call
after a cancellation (client gone, shutdown). It runs in its own task, which the cancellation does not reach.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from msgspec import Struct

from edge.call.alternatives import complete_refusal
from edge.call.candidates import Candidate, find_candidates, image_tokens, max_quote
from edge.call.expected_hold import expected_hold
from edge.call.outcome import FailedAttempt, Outcome, has_cost
from edge.call.priced_fields import without_optional_tools
from edge.call.requests import NonTextTokens, estimate_non_text, prompt_text
from edge.call.stream_hold import PaidPrompt
from edge.call.token_sampling import count_sample, is_countable
from edge.call.upstream import UpstreamCall
from edge.http.errors import error_spec, request_id
from edge.services import Services
from edge.store.inflight import InflightCall
from edge.store.limiter import Permit
from shared import tokenizer
from shared.billing.elastic_hold import retry_after_ms
from shared.billing.pricing import Quote, add_requested_costs, call_charge, transcribed_usage
from shared.billing.provider_cost import provider_cost as compute_cost
from shared.billing.token_usage import PartialUsage, TokenUsage, resolve_usage
from shared.catalog.snapshot import Route
from shared.core.clock import now_ms
from shared.core.errors import CreditsHeld, DatabaseUnavailable, InsufficientCredits, InvalidApiKey, YoutError
from shared.core.token_bucket import KeyLimits, RateLimitState
from shared.dialects.base import ChatCall
from shared.dialects.translators import KINDS_BILLED_PER_CALL
from shared.identity.payer import Payer, VisitorPayer
from shared.ledger import Claim, Extension, FailedCost, HoldTaken, PoolIsTight, Reservation, Settled, Settlement, UsageDetails
from shared.rollup import add_token_sample

if TYPE_CHECKING:
    from edge.store.tracing import CallTrace

T = TypeVar("T")

SETTLE_SECONDS = 15  # how long a failed call waits for its settlement before the error is sent; the settlement then continues
MAX_FAILURES_CHARS = 200  # of the stored failure codes
MAX_TIGHT_ACCOUNTS = 10_000  # remembered; above it all are forgotten
TOKENS_PER_IMAGE = 1_290  # per image in an answer without usage; Gemini documents this for an image of 1024 x 1024
ASSUMED_OUTPUT_TOKENS = 256  # counted toward the token rate for a call without an output limit, until its usage is known


class Caller(Struct, frozen=True, gc=False):
    """Who pays, with the rate limits in force. `address` is the client's IP address, behind trusted proxies.

    `surface` is the path that is called, for metrics and the log; `trace` is None unless traces are switched on.
    """

    payer: Payer
    limits: KeyLimits
    address: str
    idempotency_claim: Claim | None = None
    surface: str = ""
    trace: CallTrace | None = None


class Admission:
    """One call's rate limit permit and hold; see the module docstring."""

    __slots__ = (
        *("_call", "_caller", "_candidates", "_fallbacks", "_model", "_prompt", "_quote", "_upstream"),
        *("_running", "call_id", "created_at", "permit", "services", "settlement", "settling"),
    )

    def __init__(
        self,
        services: Services,
        running: InflightCall,
        call_id: UUID,
        caller: Caller,
        call: ChatCall,
        candidates: Sequence[Candidate],
        max_credits: int | None,
    ) -> None:
        self.services = services
        self.call_id = call_id
        self.created_at = now_ms()
        self.settling = False  # a settlement is queued; there must not be a second one
        self.settlement: asyncio.Task[object] | None = None  # of a failed or cut call
        self.permit: Permit | None = None
        self._running = running
        self._caller = caller
        self._call = call
        self._candidates = candidates
        catalog = services.catalog
        self._model, self._fallbacks = catalog.model_id(call.model), tuple(map(catalog.model_id, call.fallbacks))
        self._quote = max_quote(candidates, max_credits)
        self._prompt: PaidPrompt | None = None  # if the hold can grow
        self._upstream: UpstreamCall | None = None  # set once the credits are held

    @property
    def rate_limit_state(self) -> RateLimitState:
        """The caller's rate limit status after this call."""
        assert self.permit is not None  # noqa: S101  (entered)
        return self.permit.rate_limit_state

    async def __aenter__(self) -> UpstreamCall:
        try:
            return await self._admit()
        except Exception as error:  # counted whatever it is, and raised
            self.services.metrics.record_refusal(self._caller.surface, self._model, error_spec(error).code)
            raise

    async def _admit(self) -> UpstreamCall:
        services, caller, call = self.services, self._caller, self._call
        services.abandoned.check(caller.limits)
        output = call.output_limit * call.choices if call.output_limit is not None else ASSUMED_OUTPUT_TOKENS
        reservation = Reservation(
            call=self.call_id,
            model=self._model,
            quote=self._quote,
            expires_at=self.created_at + services.settings.hold_seconds * 1000,
            payer=caller.payer,
            edge_process=services.process_id,
            address=caller.address,
            claim=caller.idempotency_claim,
            account=None if isinstance(caller.payer, VisitorPayer) else caller.limits.account,
            fallbacks=self._fallbacks,
            elastic=self._is_elastic(),
        )
        try:
            taken = await self._acquire(reservation, call.input_estimate + output)
        except BaseException as error:
            if self.permit is None:
                raise
            services.limiter.release(self.permit, 0)
            if isinstance(error, InvalidApiKey):
                services.keys.drop_from_cache(caller.payer.digest)
            if isinstance(error, CreditsHeld):
                services.metrics.record_held_refusal()
                error.retry_after_ms = retry_after_ms(services.inflight.median_age_seconds(), random.random)
            if isinstance(error, InsufficientCredits):
                await complete_refusal(services, call, error, caller.payer)
            if isinstance(error, YoutError):
                error.rate_limit_state = self.permit.rate_limit_state
            raise
        if taken.api_key is not None:
            services.keys.update_cache(caller.payer.digest, taken.api_key, taken)
        self._running.payer = caller.payer
        self._upstream = UpstreamCall(
            services, self._candidates, self.call_id, taken, caller.limits.account, call.model, self._prompt, caller.trace
        )
        return self._upstream

    async def _acquire(self, reservation: Reservation, tokens: int) -> HoldTaken:
        """Acquire the permit and take the hold; either error is raised, the permit's first.

        Both are requested at the same time if the permit is likely to be granted. Otherwise the permit comes first, so that calls
        over their limit do not reach the database.
        """
        limiter, ledger = self.services.limiter, self.services.ledger
        requested = limiter.request(self.call_id, self._caller.limits, tokens)
        if not requested.is_likely:
            self.permit = await self._traced("limiter", limiter.granted(requested))
            return await self._traced("reserve", self._reserve(reservation))
        try:
            taken = await self._traced("reserve", self._reserve(reservation))
        except asyncio.CancelledError:
            limiter.withdraw(requested)
            raise
        except Exception:  # whatever rejected the hold, the limit may still be granted; the caller of this method gives it back
            self.permit = await self._traced("limiter", limiter.granted(requested))
            raise
        try:
            self.permit = await self._traced("limiter", limiter.granted(requested))
        except BaseException:
            ledger.release(reservation, taken)
            raise
        return taken

    def _traced(self, name: str, step: Awaitable[T]) -> Awaitable[T]:
        """Return `step`, in a span of this name if the call is traced."""
        trace = self._caller.trace
        return step if trace is None else trace.timed(name, step)

    def _is_elastic(self) -> bool:
        """Whether the call may hold less than its maximum cost: the catalog allows it, and the size of its prompt is bounded, at
        least without its optional tools.
        """
        if self._call.kind != "chat" or (self._quote.costs.unbounded_input and without_optional_tools(self._call) is None):
            return False
        models = self.services.catalog.models
        return not any((model := models.get(each.model)) is not None and model.full_hold for each in self._candidates)

    async def _reserve(self, reservation: Reservation) -> HoldTaken:
        """Take the hold. Only where the pool is tight, the prompt is counted for it."""
        services, payer = self.services, self._caller.limits.account
        if services.tight_accounts and reservation.elastic and payer in services.tight_accounts:
            reservation = await self._for_tight_pool(reservation)
        try:
            taken = await services.ledger.reserve(reservation)
        except PoolIsTight:
            taken = await services.ledger.reserve(await self._for_tight_pool(reservation))
        if taken.amount < self._quote.bound:
            if len(services.tight_accounts) >= MAX_TIGHT_ACCOUNTS:
                services.tight_accounts.clear()
            services.tight_accounts.add(payer)
        elif self._quote.bound:
            self._prompt = None
            if services.tight_accounts:
                services.tight_accounts.discard(payer)
        return taken

    async def _for_tight_pool(self, reservation: Reservation) -> Reservation:
        """Return the reservation of the expected cost. Optional searches are left out, because their results could fill the
        context window.
        """
        if self._quote.costs.unbounded_input and (reduced := without_optional_tools(self._call)) is not None:
            self._candidates = find_candidates(self.services.catalog, reduced, self._quote.cap)
            self._quote = max_quote(self._candidates, self._quote.cap)
            reservation = reservation._replace(quote=self._quote)
            if self._quote.costs.unbounded_input:  # because of a file
                return reservation._replace(elastic=False)
        return reservation._replace(expected=await self._expected_cost())

    async def _expected_cost(self) -> int:
        """Return the credits to hold in a tight pool, whichever candidate serves the call."""
        credits, self._prompt = await expected_hold(self.services, self._call, self._candidates, self._quote.bound)
        return credits

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self.settling or self._upstream is None:
            return
        outcome = self._upstream.outcome()
        if error is None or isinstance(error, asyncio.CancelledError | GeneratorExit):
            cut_by = self._running.abort_reason
            spec = None if cut_by is None else error_spec(cut_by)
            code, http_status = ("client_closed", None) if spec is None else (spec.code, spec.status)
            charges_prompt = cut_by is None and outcome.only_prompt
            if charges_prompt:
                self.services.spawn(self.services.abandoned.count(self._caller.limits))
            self.settlement = self.services.spawn(
                self._settle(outcome, "cancelled", code, http_status, charges_prompt=charges_prompt)
            )
            self._keep_trace_open()
            return
        spec = error_spec(error)
        self.settlement = self.services.spawn(self._settle(outcome, "failed", spec.code, spec.status))
        self._keep_trace_open()
        await asyncio.wait([self.settlement], timeout=SETTLE_SECONDS)  # release the hold before the error is sent

    def _keep_trace_open(self) -> None:
        if self._caller.trace is not None and self.settlement is not None:
            self._caller.trace.wait_for(self.settlement)

    async def settle(self) -> tuple[TokenUsage, Settled]:
        """Settle a completed call and wait until the charge, which never exceeds the cost, is durable.

        Returns the charged usage, and the charge. Raises `SettlementPending` if the database does not accept it in time; the
        settlement continues in the background.
        """
        assert self._upstream is not None  # noqa: S101  (entered)
        self._running.answered = True
        return await self._settle(self._upstream.outcome(), "completed", None)

    async def _settle(
        self,
        outcome: Outcome,
        status: str,
        error_code: str | None,
        http_status: int | None = None,
        *,
        charges_prompt: bool = False,
    ) -> tuple[TokenUsage, Settled]:
        """Settle `outcome`. `http_status` is that of the error, if there is one and the response has not begun.

        `charges_prompt`: the client disconnected while a provider processed the prompt.
        """
        usage = await self._usage(outcome, charges_prompt)
        is_charged = outcome.delivered or charges_prompt
        cost = call_charge(outcome.quote.price, usage) if is_charged else 0
        missing = min(cost, self._quote.bound) - outcome.held
        if missing > 0 and self._is_elastic():
            await self.services.ledger.extend(Extension(self.call_id, outcome.reserved.account, missing))
        failed_costs: Sequence[FailedCost] = ()
        if is_charged and not (outcome.failed_attempts or outcome.output_exceeded):  # most calls
            provider_cost = self._provider_cost(outcome, usage)
        else:
            provider_cost, failed_costs = await self._cost_of_attempts(outcome, usage, is_charged=is_charged)
        first, now = outcome.first_token_at, time.monotonic()
        item = Settlement(
            call=self.call_id,
            account=outcome.reserved.account,
            cost=cost,
            status=status,
            api_key=outcome.reserved.api_key,
            model=outcome.model,
            price=outcome.quote.price.id,
            channel=None if outcome.route is None else outcome.route.channel,
            cap=self._quote.cap,
            error_code=error_code,
            streamed=self._call.stream,
            usage=usage,
            attempts=outcome.attempts,
            first_token_ms=int((first - outcome.started_at) * 1000) if first is not None else None,
            duration_ms=int((now - outcome.started_at) * 1000),
            created_at=self.created_at,
            has_claim=self._caller.idempotency_claim is not None,
            details=self._usage_details(outcome, status),
            provider_cost=provider_cost,
            failed_costs=failed_costs,
            request_sha256=outcome.request_sha256,
            request_shape=outcome.request_shape,
            is_ordinary=outcome.reserved.is_ordinary,
            held=outcome.held,
        )
        self.settling = True  # there is no await before `settle` queues it, so it cannot be cancelled
        settlement = self.services.ledger.settle(item)
        if self.permit is not None:
            self.services.limiter.release(self.permit, usage.total_tokens)
            self.permit = None
        settled = await self._traced("settle", settlement)
        self._report(item, settled, outcome, 200 if error_code is None or (first and self._call.stream) else http_status)
        self._learn(item, settled)
        if item.status == "completed" and outcome.route is not None:
            self._sample(outcome.route, outcome, usage)
        return usage, settled

    def _usage_details(self, outcome: Outcome, status: str) -> UsageDetails | None:
        """Return the details that few calls have: alias or fallback model, failed attempts, truncation, tag."""
        requested = self._call.model if outcome.model != self._call.model else None
        cut = outcome.truncation(status)
        if not (requested or cut or outcome.failures or self._call.tag):
            return None
        return UsageDetails(requested, ",".join(outcome.failures)[:MAX_FAILURES_CHARS] or None, cut, self._call.tag)

    def _provider_cost(self, outcome: Outcome, usage: TokenUsage) -> int | None:
        """Return the provider's charge for the last attempt, in credits; None if it is unknown."""
        reported, prices = outcome.reported_usage(), None if outcome.route is None else outcome.route.cost
        if self._call.kind == "transcription" and prices is not None:
            usage = transcribed_usage(reported, prices.prices, outcome.quote.costs)
        return compute_cost(reported.cost_nano_usd, prices, usage, self.services.settings.credits_per_usd)

    async def _cost_of_attempts(
        self, outcome: Outcome, usage: TokenUsage, *, is_charged: bool
    ) -> tuple[int | None, Sequence[FailedCost]]:
        """Return our cost of all attempts, and the parts of it that channels other than the last one caused.

        None means that it is unknown, as for calls without a charge whose providers reported nothing.
        """
        total = None
        reported = outcome.reported_usage()
        if is_charged:
            if outcome.output_exceeded:  # the provider bills the excess, too
                seen = await self._count_output(*outcome.delivered_text(), outcome.delivered_images())
                usage = usage._replace(output_tokens=max(usage.output_tokens, seen))
            total = self._provider_cost(outcome, usage)
            if total is None:
                return None, ()
        elif has_cost(reported) or (self._call.kind == "transcription" and outcome.answer is not None):
            used = self._resolve(reported, outcome.quote, self._call.input_estimate, 0, delivered=False)
            total = self._provider_cost(outcome, used)
        failed: dict[UUID, int] = {}
        for attempt in outcome.failed_attempts:
            cost = await self._cost_of_failed(attempt, outcome)
            if cost is not None:
                failed[attempt.route.channel] = failed.get(attempt.route.channel, 0) + cost
        if failed:
            total = (total or 0) + sum(failed.values())
        last = None if outcome.route is None else outcome.route.channel
        return total, [FailedCost(channel, credits) for channel, credits in failed.items() if channel != last and credits]

    async def _cost_of_failed(self, attempt: FailedAttempt, outcome: Outcome) -> int | None:
        """Return our cost of a failed attempt: as reported, or counted if the provider sent tokens without usage."""
        used = self._resolve(
            attempt.usage,
            outcome.quote,
            self._call.input_estimate if attempt.usage.input_tokens is not None else await self._count_input(outcome),
            await self._count_output(attempt.text, attempt.text_bytes, attempt.image_count),
            delivered=bool(attempt.text or attempt.image_count),
        )
        return compute_cost(attempt.usage.cost_nano_usd, attempt.route.cost, used, self.services.settings.credits_per_usd)

    async def _usage(self, outcome: Outcome, charges_prompt: bool) -> TokenUsage:
        if self._call.kind == "transcription" and outcome.delivered:
            return transcribed_usage(outcome.reported_usage(), outcome.quote.price, outcome.quote.costs)
        if self._call.kind in KINDS_BILLED_PER_CALL or not (outcome.delivered or charges_prompt):
            return TokenUsage(0, 0)
        if not outcome.delivered:
            prompt = PartialUsage(extra=self._non_text_extra())
            counted = await self._count_input(outcome)
            return resolve_usage(prompt, input_estimate=counted, output_estimate=0, delivered=False, plausible_output=0)
        reported = outcome.reported_usage()
        if outcome.credits_used_up:  # a count from the start of the stream is not the total
            reported = reported._replace(output_tokens=None)
        if outcome.output_exceeded:  # all paid output was delivered; the excess is not charged
            reported = reported._replace(output_tokens=outcome.paid_output)
        quote = outcome.quote
        reported = add_requested_costs(reported, quote.price, quote.costs)
        if reported.input_tokens is None and (parts := self._non_text_extra()):
            reported = reported._replace(extra={**parts, **(reported.extra or {})})
        usage = self._resolve(reported, quote, self._call.input_estimate, 0)
        if not usage.estimated:
            return usage._replace(estimated=True) if outcome.output_exceeded else usage
        if outcome.output_exceeded:
            text_tokens = tokenizer.estimate_tokens(prompt_text(self._call.body))
            return self._resolve(reported, quote, self._with_non_text(text_tokens, outcome), 0)
        counted = await self._count_output(*outcome.delivered_text(), outcome.delivered_images())
        return self._resolve(reported, quote, await self._count_input(outcome), counted)

    @staticmethod
    def _resolve(
        reported: PartialUsage, quote: Quote, input_estimate: int, output_estimate: int, *, delivered: bool = True
    ) -> TokenUsage:
        return resolve_usage(
            reported,
            input_estimate=input_estimate,
            output_estimate=output_estimate,
            delivered=delivered,
            plausible_output=quote.paid_tokens,
            plausible_input=quote.input_bound,
        )

    async def _count_input(self, outcome: Outcome) -> int:
        """Return the tokens of the prompt, at most those that the quote pays for: text is counted, the rest is estimated."""
        text_tokens = await self.services.count_tokens(prompt_text(self._call.body))
        return self._with_non_text(text_tokens, outcome) or self._call.input_estimate

    def _with_non_text(self, text_tokens: int, outcome: Outcome) -> int:
        return min(text_tokens + self._non_text().total, outcome.quote.input_bound)

    def _non_text(self) -> NonTextTokens:
        """Return the estimated tokens of the prompt's images, audio and files."""
        routes = [route for candidate in self._candidates for route in candidate.routes]
        return estimate_non_text(self._call.body, image_tokens(routes))

    def _non_text_extra(self) -> dict[str, int] | None:
        """Return those that may have rates of their own, as fields of `ExtraUsage`; None without any."""
        found = self._non_text()
        counts = {"image_input_tokens": found.images, "audio_input_tokens": found.audio}
        return {name: tokens for name, tokens in counts.items() if tokens} or None

    async def _count_output(self, kept: str, size: int, images: int) -> int:
        """Return the tokens of an answer: counted in the `kept` text, extrapolated to `size` bytes, plus images."""
        counted = await self.services.count_tokens(kept)
        kept_bytes = len(kept.encode(errors="replace"))
        text_tokens = counted * size // kept_bytes if size > kept_bytes else counted
        return text_tokens + images * TOKENS_PER_IMAGE

    def _sample(self, route: Route, outcome: Outcome, usage: TokenUsage) -> None:
        """Compare the provider's token counts with ours in the background, for a few calls of each channel."""
        services = self.services
        if services.token_sampling.is_due(route.channel) and is_countable(self._call, route, usage):
            services.token_sampling.mark(route.channel)
            services.spawn(self._record_sample(route, outcome, usage))

    async def _record_sample(self, route: Route, outcome: Outcome, usage: TokenUsage) -> None:
        sums = await count_sample(self._call, outcome, usage, self.services.count_tokens)
        with suppress(DatabaseUnavailable):  # the next sample replaces it
            await self.services.database_writer.run(
                partial(add_token_sample, self.created_at, route.channel, outcome.model, sums)
            )

    def _learn(self, item: Settlement, settled: Settled) -> None:
        """Record the size of the output for later calls in tight pools."""
        usage = item.usage
        if usage.output_tokens and item.status == "completed":
            self.services.output_sizes.record(item.model, usage.output_tokens, usage.reasoning_tokens)
            if settled.uncharged_cost:
                self.services.output_sizes.learn(item.model, usage.output_tokens)

    def _report(self, item: Settlement, settled: Settled, outcome: Outcome, http_status: int | None) -> None:
        usage = item.usage
        channel = "" if outcome.route is None else outcome.route.channel_name
        self.services.metrics.record(
            (self._caller.surface, item.model, channel, item.status or "", item.error_code or ""),
            settled.credits,
            settled.uncharged_cost,
            item.provider_cost,
            usage.input_tokens,
            usage.output_tokens,
            item.first_token_ms,
            item.duration_ms,
        )
        trace = self._caller.trace
        if trace is not None:
            trace.set(
                request_id=request_id(item.call),
                account=str(item.account),
                model=item.model,
                channel=channel,
                status=item.status,
                error=item.error_code,
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                credits=settled.credits,
                attempts=item.attempts,
                first_token_ms=item.first_token_ms,
            )
        self.services.call_log.write(
            now_ms(),
            {
                "request_id": request_id(item.call),
                "account": item.account,
                "key": item.api_key,
                "surface": self._caller.surface,
                "model": item.model,
                "channel": channel,
                "status": item.status,
                "error": item.error_code,
                "http_status": http_status,
                "provider_status": outcome.provider_status,
                "input_tokens": usage.input_tokens,
                "output_tokens": usage.output_tokens,
                "credits": settled.credits,
                "attempts": item.attempts,
                "first_token_ms": item.first_token_ms,
                "duration_ms": item.duration_ms,
            },
        )
