"""Stored responses: adds the items of previous and referenced responses to a call, and stores the response once it is paid."""

from __future__ import annotations

import logging
from contextlib import aclosing
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from edge.call.admission import Caller
from edge.call.endpoint_adapter import Events
from edge.call.exchange import Finished
from edge.services import Services
from edge.v1.responses.item_references import referenced_ids, resolve_references
from edge.v1.responses.items import input_items
from edge.v1.responses.request import ResponseRequest, with_items
from shared.dialects.base import ChatCall
from shared.operations.stored_responses import ResponseState, begin_response, store_response

log = logging.getLogger("yout.edge")


class StoredRenderer(Protocol):
    """Renders the response of a call whose earlier items are stored."""

    def use(self, request: ResponseRequest) -> None: ...
    def render_complete(self, event: Finished) -> dict[str, Any]: ...


class ResponseRecorder:
    """The stored context of one call. `size` is the size of the body in bytes; `renderer` renders the response."""

    def __init__(self, call_id: UUID, request: ResponseRequest, size: int, renderer: StoredRenderer) -> None:
        self._call_id = call_id
        self._request = request
        self._body = request.body
        self._size = size
        self._items = input_items(request.body["input"])
        self._renderer = renderer
        self._context: ResponseState | None = None

    async def prepare_call(self, services: Services, caller: Caller) -> ChatCall:
        """Return the call with the items of previous responses and those that it refers to.

        Raises the errors of `begin_response`, `resolve` and authentication.
        """
        # `admit` may have used the cache, but reading stored items requires a key that is valid now
        await services.keys.look_up(caller.payer.digest)
        begin = partial(
            begin_response,
            caller.limits.account,
            self._body.get("previous_response_id") or None,
            stores=bool(self._body.get("store")),
            references=referenced_ids(self._items),
            max_bytes=services.settings.max_body_bytes,
        )
        context = await services.database_reader.read(begin)
        self._context = context
        self._items = resolve_references(self._items, context.found, plan_stores=context.plan_stores)
        whole = with_items(self._request, [*context.earlier, *self._items], self._size + context.earlier_bytes)
        self._renderer.use(whole)
        return whole.call

    async def record(self, services: Services, model: str, events: Events) -> Events:
        """Yield `events`, and store the response before its last event. Truncated responses are not stored."""
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Finished):
                    await self._keep(services, model, self._renderer.render_complete(event))
                yield event

    async def _keep(self, services: Services, model: str, response: dict[str, Any]) -> None:
        context = self._context
        if context is None or not context.store:
            return
        kept = False
        try:
            kept = await services.database_writer.run(
                partial(store_response, context, self._call_id, self._items, response, model=model)
            )
        except Exception as error:  # the answer is sent even if storing fails
            log.error("failed to store a response: %s", type(error).__name__)
        response["store"] = kept
