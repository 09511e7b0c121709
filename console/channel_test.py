"""The console's own calls: a tiny one to a vendor, to see whether a channel works, and one to our edge, as customers make it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from shared.catalog.snapshot import Route
from shared.core.errors import InvalidInput, OutboundFailed, OutboundRefused, OutboundTimeout, YoutError
from shared.core.secrets import unseal
from shared.core.settings import Settings
from shared.dialects import DIALECTS, model_lists
from shared.dialects.base import ChatCall, MalformedStream, Target, VendorRequest
from shared.safe_http import Limits, Outbound, Reply, policy_of

PROBE_LIMITS = Limits(total_seconds=30, idle_seconds=30)
TRY_LIMITS = Limits(total_seconds=120, idle_seconds=120)
LARGEST_ANSWER = 1_000_000
LARGEST_LIST = 20_000_000  # some vendors describe each of hundreds of models at length
PROBE_TOKENS = 16
_PROBE_BODY = {"messages": [{"role": "user", "content": "Say OK."}], "max_tokens": PROBE_TOKENS}


class Probe(NamedTuple):
    """What a channel answered. `words` are our own: a vendor's may name an account."""

    works: bool
    words: str
    duration_ms: int


def probe(route: Route, settings: Settings) -> Probe:
    """Ask a channel for one model's shortest answer. What it costs is the operator's: no account pays for it."""
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
        status, data = _post(dialect.request(call, target), route.base_url, settings, PROBE_LIMITS)
        works, words = _judge(status, lambda: dialect.read_answer(data, call, "chatcmpl-probe", int(time.time())).delivered)
    except (OutboundRefused, OutboundFailed, YoutError) as problem:
        works, words = False, _fault(problem)
    return Probe(works, words, int((time.monotonic() - began) * 1000))


def list_models(route: Route, settings: Settings) -> list[str]:
    """The models that a channel's vendor says it offers. Raises `InvalidInput` in our own words when it says nothing usable."""
    target = _target(route, settings)
    request = model_lists.request(target)
    outbound = Outbound(policy_of(settings), trusted=(route.base_url,))
    try:
        with outbound.get(request.url, max_bytes=LARGEST_LIST, headers=dict(request.headers), limits=PROBE_LIMITS) as reply:
            if reply.status != 200:
                raise InvalidInput(_answered(reply.status))
            return model_lists.read(route.dialect, reply.read())
    except (OutboundRefused, OutboundFailed) as problem:
        raise InvalidInput(_fault(problem)) from None
    except MalformedStream:
        raise InvalidInput("It answered no list of models. Does this vendor have one?") from None


def _target(route: Route, settings: Settings) -> Target:
    return Target(
        route=route,
        secret=unseal(route.sealed_secret, settings.secret_key),
        referer=settings.referer,
        pseudonym=lambda _: "console",
        output_limit=PROBE_TOKENS,
    )


def _post(request: VendorRequest, trusted: str, settings: Settings, limits: Limits) -> tuple[int, bytes]:
    outbound = Outbound(policy_of(settings), trusted=(trusted,))
    with outbound.post(
        request.url, request.body, max_bytes=LARGEST_ANSWER, headers=dict(request.headers), limits=limits
    ) as reply:
        return reply.status, reply.read()


def _judge(status: int, delivered: Callable[[], bool]) -> tuple[bool, str]:
    if status != 200:
        return False, _answered(status)
    try:
        said = delivered()
    except MalformedStream:
        return False, "It answered something else than the dialect says. Is the address right, and the dialect?"
    return True, "It works." if said else "It answered, with no text: the address and the secret are right."


def _answered(status: int) -> str:
    return f"It answered {status}: {_MEANINGS.get(status, 'something is wrong there; try again later')}."


_MEANINGS = {
    400: "it does not take this request; look at the vendor's name of the model and the quirks",
    401: "the secret is wrong",
    402: "the account there is out of money",
    403: "the secret may not do this",
    404: "there is nothing at this address, or no such model",
    429: "it is asked too often, or the account there has reached a limit",
}


def _fault(problem: Exception) -> str:
    if isinstance(problem, OutboundTimeout):
        return "It did not answer in time."
    if isinstance(problem, OutboundRefused):
        return "The address may not be used."
    return "It cannot be reached." if isinstance(problem, OutboundFailed) else str(problem)


class Tried(NamedTuple):
    """What a customer would have got: the answer's text or the error's message, and what it cost (None: nothing)."""

    status: int
    text: str
    credits: int | None
    balance: int | None
    duration_ms: int
    channel: str
    request_id: str


def try_model(model: str, prompt: str, secret: str, settings: Settings) -> Tried:
    """Send one chat call to our own edge with a key. Raises `InvalidInput` when the edge cannot be reached from here."""
    body = {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 500}
    url, began = f"{settings.edge_url}/v1/chat/completions", time.monotonic()
    headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
    outbound = Outbound(policy_of(settings), trusted=(url,))
    try:
        with outbound.post(url, orjson.dumps(body), max_bytes=LARGEST_ANSWER, headers=headers, limits=TRY_LIMITS) as reply:
            return _tried(reply, orjson.loads(reply.read()), int((time.monotonic() - began) * 1000))
    except (OutboundRefused, OutboundFailed, orjson.JSONDecodeError):
        raise InvalidInput(
            f"The edge does not answer at {settings.edge_url}. Is it running? YOUT_PUBLIC_URL says where the console finds it."
        ) from None


def _tried(reply: Reply, answer: Mapping[str, Any], duration_ms: int) -> Tried:
    if "error" in answer:
        text = str(answer["error"]["message"])
    else:
        text = str(answer["choices"][0]["message"].get("content") or "(no text)")
    spent = answer.get("yout") or {}
    return Tried(
        status=reply.status,
        text=text,
        credits=spent.get("credits_charged"),
        balance=spent.get("balance"),
        duration_ms=duration_ms,
        channel=reply.headers.get("x-yout-channel", ""),
        request_id=reply.headers.get("x-request-id", ""),
    )
