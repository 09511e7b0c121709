"""The console's own calls: a small test request to a provider, and a call to our edge as a customer makes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from shared.catalog.failover import Retry, status_failure
from shared.catalog.snapshot import Route
from shared.core.errors import InvalidInput, OutboundFailed, OutboundRefused, OutboundTimeout, YoutError
from shared.core.secrets import unseal
from shared.core.settings import Settings
from shared.dialects import DIALECTS, model_lists
from shared.dialects.base import ChatCall, MalformedStream, ProviderRequest, Target
from shared.safe_http import Response, SafeHttpClient, Timeouts, policy_from_settings
from shared.text.translation import gettext, lazy_gettext

PROBE_LIMITS = Timeouts(total_seconds=30, idle_seconds=30)
TRY_LIMITS = Timeouts(total_seconds=120, idle_seconds=120)
MAX_ANSWER_BYTES = 1_000_000
MAX_LIST_BYTES = 20_000_000  # some providers list hundreds of models with long descriptions
PROBE_TOKENS = 16
_PROBE_BODY = {"messages": [{"role": "user", "content": "Say OK."}], "max_tokens": PROBE_TOKENS}


class ProbeResult(NamedTuple):
    """The result of a test request. `words` is our own text: a provider's message may contain account details."""

    ok: bool
    message: str
    duration_ms: int


def probe(route: Route, settings: Settings) -> ProbeResult:
    """Send a short test request to one model of a channel. The operator pays the provider; no account is charged."""
    call = ChatCall(
        model=route.upstream_model,
        body={"model": route.upstream_model, **_PROBE_BODY},
        stream=False,
        include_usage=False,
        choices=1,
        output_limit=PROBE_TOKENS,
        input_bound=100,
        input_estimate=10,
    )
    target = _target(route, settings)
    dialect, began = DIALECTS[route.dialect], time.monotonic()
    try:
        status, data = _post(dialect.build_request(call, target), route.base_url, settings, PROBE_LIMITS)
        works, words = _judge(status, lambda: dialect.parse_response(data, call, "chatcmpl-probe", int(time.time())).delivered)
    except (OutboundRefused, OutboundFailed, YoutError) as error:
        works, words = False, _describe_failure(error)
    return ProbeResult(works, words, int((time.monotonic() - began) * 1000))


def list_models(route: Route, settings: Settings) -> list[str]:
    """Return the models that the channel's provider lists. Raises `InvalidInput` with our own message on failure."""
    target = _target(route, settings)
    request = model_lists.request(target)
    outbound = SafeHttpClient(policy_from_settings(settings), trusted=(route.base_url,))
    try:
        with outbound.get(request.url, max_bytes=MAX_LIST_BYTES, headers=dict(request.headers), limits=PROBE_LIMITS) as reply:
            if reply.status != 200:
                raise InvalidInput(_describe_status(reply.status))
            return model_lists.read(route.dialect, reply.read())
    except (OutboundRefused, OutboundFailed) as error:
        raise InvalidInput(_describe_failure(error)) from None
    except MalformedStream:
        raise InvalidInput(gettext("The response is not a model list. The provider may not offer one.")) from None


def _target(route: Route, settings: Settings) -> Target:
    return Target(
        route=route,
        secret=unseal(route.sealed_secret, settings.secret_key),
        referer=settings.referer,
        pseudonym=lambda _: "console",
        output_limit=PROBE_TOKENS,
    )


def _post(request: ProviderRequest, trusted: str, settings: Settings, limits: Timeouts) -> tuple[int, bytes]:
    outbound = SafeHttpClient(policy_from_settings(settings), trusted=(trusted,))
    with outbound.post(
        request.url, request.body, max_bytes=MAX_ANSWER_BYTES, headers=dict(request.headers), limits=limits
    ) as reply:
        return reply.status, reply.read()


def _judge(status: int, delivered: Callable[[], bool]) -> tuple[bool, str]:
    if status != 200:
        return False, _describe_status(status)
    try:
        has_text = delivered()
    except MalformedStream:
        return False, gettext("The response does not match the dialect. Check the base URL and the dialect.")
    return True, gettext("Works.") if has_text else gettext("Answered without text. The base URL and secret are correct.")


def _describe_status(status: int) -> str:
    retryable = status_failure(status).retry is Retry.SAME_ROUTE
    meaning = (
        gettext("the provider failed; try again later")
        if retryable
        else gettext("the provider rejected the request; check the settings")
    )
    return gettext("Status {status}: {meaning}.", status=status, meaning=_STATUS_MEANINGS.get(status, meaning))


_STATUS_MEANINGS = {
    400: lazy_gettext("the provider rejected the request; check the provider's model name and settings"),
    401: lazy_gettext("the secret is invalid"),
    402: lazy_gettext("the provider account has insufficient funds"),
    403: lazy_gettext("the secret lacks permission"),
    404: lazy_gettext("the URL or model does not exist"),
    429: lazy_gettext("the provider account has reached a rate limit or quota"),
}


def _describe_failure(error: Exception) -> str:
    if isinstance(error, OutboundTimeout):
        return gettext("The request timed out.")
    if isinstance(error, OutboundRefused):
        return gettext("The base URL is not allowed.")
    return gettext("Connection failed.") if isinstance(error, OutboundFailed) else str(error)


class TestCallResult(NamedTuple):
    """A customer's view of a call: the answer or error message, and its cost (None if nothing was charged)."""

    status: int
    text: str
    credits: int | None
    balance: int | None
    duration_ms: int
    channel: str
    request_id: str


def test_call(model: str, prompt: str, secret: str, settings: Settings) -> TestCallResult:
    """Send a chat call to our own edge with a key. Raises `InvalidInput` if the edge cannot be reached."""
    body = {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 500}
    url, began = f"{settings.edge_url}/v1/chat/completions", time.monotonic()
    headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
    outbound = SafeHttpClient(policy_from_settings(settings), trusted=(url,))
    try:
        with outbound.post(url, orjson.dumps(body), max_bytes=MAX_ANSWER_BYTES, headers=headers, limits=TRY_LIMITS) as reply:
            return _tried(reply, orjson.loads(reply.read()), int((time.monotonic() - began) * 1000))
    except (OutboundRefused, OutboundFailed, orjson.JSONDecodeError):
        raise InvalidInput(
            gettext(
                "No answer from the edge at {edge_url}. Check that it is running and that YOUT_PUBLIC_URL is correct.",
                edge_url=settings.edge_url,
            )
        ) from None


def _tried(reply: Response, answer: Mapping[str, Any], duration_ms: int) -> TestCallResult:
    if "error" in answer:
        text = str(answer["error"]["message"])
    else:
        text = str(answer["choices"][0]["message"].get("content") or "(no text)")
    charge = answer.get("yout") or {}
    return TestCallResult(
        status=reply.status,
        text=text,
        credits=charge.get("credits_charged"),
        balance=charge.get("balance"),
        duration_ms=duration_ms,
        channel=reply.headers.get("x-yout-channel", ""),
        request_id=reply.headers.get("x-request-id", ""),
    )
