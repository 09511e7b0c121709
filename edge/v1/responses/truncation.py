"""`truncation: "auto"`: leaves out the oldest messages of a conversation that exceeds the model's context window.

The instructions, the last message of the user and the latest step of the model are kept. On a channel of the Responses API, the
provider gets the field and truncates the input itself. Compactions are always truncated: clients request them when a conversation
no longer fits, and cannot continue without one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from edge.call.admission import Caller
from edge.call.endpoint_adapter import CallExtension, Events
from edge.call.requests import MESSAGE_OVERHEAD_TOKENS, max_non_text_tokens, prompt_text
from edge.services import Services
from shared.dialects.base import ChatCall
from shared.dialects.content_parts import SYSTEM_ROLES

_MARGIN = 1.1  # for models whose vocabulary differs from the one used for counting


class Truncation:
    """Truncates a call, after `inner`, if any, has prepared it. `compacts`: its last message asks for a summary."""

    def __init__(self, call: ChatCall, inner: CallExtension | None, *, compacts: bool) -> None:
        self._call = call
        self._inner = inner
        self._compacts = compacts

    async def prepare_call(self, services: Services, caller: Caller) -> ChatCall:
        """Return the call with as many of its messages as fit. Raises the errors of `inner`."""
        call = self._call if self._inner is None else await self._inner.prepare_call(services, caller)
        model = services.catalog.models.get(services.catalog.model_id(call.model))
        if model is None or model.context_window is None:
            return call
        limit = model.context_window - min(call.output_limit or 0, model.context_window // 2)
        if call.input_bound <= limit:
            return call
        tokens = _MARGIN * await services.count_tokens(prompt_text(call.body))
        tokens += max_non_text_tokens(call.body) // 3 + MESSAGE_OVERHEAD_TOKENS * len(call.body["messages"])
        return truncate(call, tokens, limit, compacts=self._compacts) if tokens > limit else call

    def record(self, services: Services, model: str, events: Events) -> Events:
        """Yield the events of `inner`."""
        return events if self._inner is None else self._inner.record(services, model, events)


def truncate(call: ChatCall, tokens: float, limit: int, *, compacts: bool) -> ChatCall:
    """Return a call of about `tokens` input tokens without its oldest messages, so that about `limit` remain."""
    messages = call.body["messages"]
    sizes = [len(orjson.dumps(message)) for message in messages]
    others = len(orjson.dumps({name: value for name, value in call.body.items() if name != "messages"}))
    excess = (sum(sizes) + others) * (1 - limit / tokens)
    dropped = oldest_messages(messages[:-1] if compacts else messages, sizes, excess)
    bodies = call.bodies_by_dialect
    if bodies is not None:
        bodies = {dialect: _without(body, dropped) for dialect, body in bodies.items()}
    estimate = min(call.input_estimate, limit)
    return call._replace(body=_without(call.body, dropped), bodies_by_dialect=bodies, input_estimate=estimate)


def oldest_messages(messages: Sequence[Mapping[str, Any]], sizes: Sequence[int], excess: float) -> set[int]:
    """Return the positions of the oldest messages whose `sizes` add up to `excess`, among those that may be left out.

    The remaining messages begin with one of the user, and every tool result follows its call.
    """
    roles = [message["role"] for message in messages]
    last_user = max((at for at, role in enumerate(roles) if role == "user"), default=-1)
    latest = max((at for at, role in enumerate(roles) if role != "tool"), default=0)
    dropped: set[int] = set()
    for at, role in enumerate(roles[:latest]):
        if role in SYSTEM_ROLES or at == last_user:
            continue
        may_begin = role == "user" if at < last_user else role != "tool"
        if excess <= 0 and may_begin:
            break
        dropped.add(at)
        excess -= sizes[at]
    return dropped


def _without(body: Mapping[str, Any], dropped: set[int]) -> dict[str, Any]:
    return {**body, "messages": [message for at, message in enumerate(body["messages"]) if at not in dropped]}
