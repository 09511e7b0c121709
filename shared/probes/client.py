"""Sends probes to the providers of two routes. No account is charged; the operator pays the providers."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

from shared.billing.provider_cost import provider_cost
from shared.billing.token_usage import PartialUsage, TokenUsage
from shared.catalog.snapshot import Route
from shared.core.errors import OutboundFailed, OutboundRefused, SettingsError
from shared.core.secrets import unseal
from shared.core.settings import Settings
from shared.dialects import DIALECTS
from shared.dialects.base import Answer, BlockedPrompt, BrokenStream, ChatCall, MalformedStream, Target, UnsupportedField
from shared.probes.comparison import Observation, Reply, compare
from shared.probes.questions import SHAPES, Probe, draw_probe, is_correct, is_valid_tool_call
from shared.safe_http import SafeHttpClient, Timeouts, policy_from_settings

LIMITS = Timeouts(total_seconds=30, idle_seconds=30)
MAX_ANSWER_BYTES = 1_000_000
INPUT_BOUND = 2_000  # more tokens than any probe has
INPUT_ESTIMATE = 100  # tokens
REMEMBERED_SECONDS = 24 * 3_600.0  # how long a refused field or shape is left out, until it is tried again
# Fields that a provider may refuse, in the order in which they are left out. All three calls of a probe have the same fields.
OPTIONAL_FIELDS: tuple[tuple[str, ...], ...] = ((), ("logprobs", "top_logprobs"), ("logprobs", "top_logprobs", "seed"))


class ProbeFailed(Exception):
    """A call of a probe failed, so that nothing can be compared. `cost` is what its calls cost, as far as known."""

    def __init__(self, reason: str, cost: int = 0) -> None:
        super().__init__(reason)
        self.cost = cost


class ShapeRefused(ProbeFailed):
    """One of the channels does not accept probes of this shape, such as forced tool calls."""


class ProbeResult(NamedTuple):
    """A compared probe, and its cost at the providers in credits, as far as known."""

    shape: str
    observation: Observation
    cost: int


class ProbeClient:
    """Compares channels. Caches for a day which fields and shapes their models refuse."""

    def __init__(self, settings: Settings, random: Random) -> None:
        self._settings = settings
        self._random = random
        self._policy = policy_from_settings(settings)
        self._levels: dict[tuple[UUID, UUID, str], tuple[int, float]] = {}  # and until when that is cached

    def shape_for(self, number: int, reference: Route, channel: Route) -> str:
        """Return the shape of the probe with this number. Shapes that were refused become questions."""
        shape = SHAPES[number % len(SHAPES)]
        return shape if self._level((reference.id, channel.id, shape)) < len(OPTIONAL_FIELDS) else "question"

    def probe(self, shape: str, reference: Route, channel: Route) -> ProbeResult:
        """Send one probe three times, in random order, and compare the replies. Raises `ProbeFailed`."""
        key, cost = (reference.id, channel.id, shape), 0
        for level in range(self._level(key), len(OPTIONAL_FIELDS)):
            probe = draw_probe(shape, self._random)
            body = {name: value for name, value in probe.body.items() if name not in OPTIONAL_FIELDS[level]}
            if level and body == _without(probe.body, OPTIONAL_FIELDS[level - 1]):
                continue
            calls = [reference, reference, channel]
            replies: dict[int, Reply] = {}
            for index in self._random.sample(range(3), 3):
                try:
                    reply, paid = self._call(calls[index], probe, body)
                except ProbeFailed as error:
                    raise ProbeFailed(str(error), cost + error.cost) from None
                cost += paid
                if reply is None:
                    break
                replies[index] = reply
            if len(replies) == len(calls):
                self._remember(key, level)
                return ProbeResult(shape, compare(probe, (replies[0], replies[1]), replies[2]), cost)
        if shape != "question":
            self._remember(key, len(OPTIONAL_FIELDS))
        raise ShapeRefused(f"probes of the shape '{shape}' are refused", cost)

    def _level(self, key: tuple[UUID, UUID, str]) -> int:
        """Return the index of `OPTIONAL_FIELDS` to begin with. If it is their number, the shape was refused."""
        level, until = self._levels.get(key, (0, 0.0))
        return level if time.monotonic() < until else 0

    def _remember(self, key: tuple[UUID, UUID, str], level: int) -> None:
        if self._level(key) != level:
            self._levels[key] = level, time.monotonic() + REMEMBERED_SECONDS

    def _call(self, route: Route, probe: Probe, body: Mapping[str, Any]) -> tuple[Reply | None, int]:
        """Return the reply and its cost, or None if the provider refuses a field."""
        call = ChatCall(
            model=route.upstream_model,
            body={"model": route.upstream_model, **body},
            stream=False,
            include_usage=False,
            choices=1,
            output_limit=body["max_tokens"],
            input_bound=INPUT_BOUND,
            input_estimate=INPUT_ESTIMATE,
        )
        # What the provider may charge for an answer that was lost, or that reports no usage.
        estimate = PartialUsage(INPUT_ESTIMATE, body["max_tokens"])
        dialect = DIALECTS[route.dialect]
        outbound = SafeHttpClient(self._policy, trusted=(route.base_url,))
        try:
            request = dialect.build_request(call, self._target(route, body["max_tokens"]))
            with outbound.post(
                request.url, request.body, max_bytes=MAX_ANSWER_BYTES, headers=dict(request.headers), limits=LIMITS
            ) as response:
                if response.status in (400, 422):
                    return None, 0
                if response.status != 200:
                    raise ProbeFailed(f"{route.channel_name}: status {response.status}")
                data = response.read()
            answer = dialect.parse_response(data, call, "chatcmpl-probe", int(time.time()))
        except UnsupportedField:
            return None, 0
        except OutboundRefused as error:  # nothing was sent
            raise ProbeFailed(f"{route.channel_name}: {type(error).__name__}") from None
        except OutboundFailed as error:
            raise ProbeFailed(f"{route.channel_name}: {type(error).__name__}", self._cost(route, estimate)) from None
        except (MalformedStream, BrokenStream, BlockedPrompt):
            raise ProbeFailed(f"{route.channel_name}: invalid answer", self._cost(route, estimate)) from None
        usage = answer.usage
        is_reported = usage.cost_nano_usd is not None or usage.input_tokens or usage.output_tokens
        return _reply(probe, answer), self._cost(route, usage if is_reported else estimate)

    def _target(self, route: Route, output_limit: int) -> Target:
        try:
            secret = unseal(route.sealed_secret, self._settings.secret_key)
        except SettingsError:
            raise ProbeFailed(f"{route.channel_name}: the secret cannot be decrypted") from None
        return Target(route, secret, self._settings.referer, lambda _: "", output_limit=output_limit)

    def _cost(self, route: Route, usage: PartialUsage) -> int:
        counted = TokenUsage(usage.input_tokens or 0, usage.output_tokens or 0)
        return provider_cost(usage.cost_nano_usd, route.cost, counted, self._settings.credits_per_usd) or 0


def _without(body: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in fields}


def _reply(probe: Probe, answer: Answer) -> Reply:
    choice = answer.body["choices"][0]
    message = choice.get("message") or {}
    text = message.get("content") or ""
    if not isinstance(text, str):
        text = answer.text
    passed = {"question": lambda: is_correct(probe, text), "tool": lambda: is_valid_tool_call(probe, message)}.get(probe.shape)
    return Reply(
        text=text,
        passed=passed() if passed is not None else None,
        input_tokens=answer.usage.input_tokens,
        output_tokens=answer.usage.output_tokens,
        logprobs=_first_token(choice.get("logprobs")),
    )


def _first_token(logprobs: object) -> dict[str, float] | None:
    """Return the probabilities of the most likely first tokens in OpenAI's `logprobs`, or None if there are none.

    Source: OpenAI, API reference, "The chat completion object", `choices[].logprobs.content[].top_logprobs`.
    """
    try:
        top = logprobs["content"][0]["top_logprobs"]  # type: ignore[index]  # a wrong type is caught below
        found = {str(entry["token"]): math.exp(min(0.0, float(entry["logprob"]))) for entry in top}
    except (LookupError, TypeError, ValueError):
        return None
    return found or None
