"""The memory of a response that is stored, continues a stored one, or refers to items of such: what was said before goes into its
call, and it is kept after it is paid. Calls that do none of it never come here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import aclosing
from functools import partial
from typing import Any
from uuid import UUID

from edge.call.admission import Caller
from edge.call.endpoint_adapter import Events
from edge.call.exchange import Finished
from edge.services import Services
from edge.v1.responses.item_references import references_of, resolve
from edge.v1.responses.items import items_of
from edge.v1.responses.request import with_items
from edge.v1.responses.response_renderer import KeptResponse
from shared.dialects.base import ChatCall
from shared.operations.stored_responses import Looking, begin_response, keep_response

log = logging.getLogger("yout.edge")


class Memory:
    """What one call wants of it: its `body` came as `size` bytes, `renderer` makes its answer."""

    def __init__(self, call_id: UUID, body: Mapping[str, Any], size: int, renderer: KeptResponse) -> None:
        self._call_id = call_id
        self._body = dict(body)
        self._size = size
        self._said = items_of(body["input"])
        self._renderer = renderer
        self._looking: Looking | None = None

    async def open(self, services: Services, caller: Caller) -> ChatCall:
        """The call with the items of the chain, and those that it refers to.

        Raises what `begin_response` and `resolve` raise, and what speaks against the key.
        """
        await services.keys.look_up(caller.digest)  # its limits may have been remembered, and what is stored is for good keys
        begin = partial(
            begin_response,
            caller.limits.account,
            self._body.get("previous_response_id") or None,
            stores=bool(self._body.get("store")),
            references=references_of(self._said),
            most_bytes=services.settings.max_body_bytes,
        )
        looking = await services.reader.read(begin)
        self._looking = looking
        self._said = resolve(self._said, looking.found, included=looking.included)
        return with_items(self._body, [*looking.earlier, *self._said], self._size + looking.earlier_bytes)

    async def keep(self, services: Services, model: str, events: Events) -> Events:
        """`events`, and the response kept before its end is told. One that broke off is no response to go on from."""
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Finished):
                    await self._keep(services, model, self._renderer.whole(event))
                yield event

    async def _keep(self, services: Services, model: str, response: dict[str, Any]) -> None:
        looking = self._looking
        if looking is None or not looking.stores:
            return
        kept = await services.ledger.run(partial(keep_response, looking, self._call_id, self._said, response, model=model))
        if isinstance(kept, Exception):
            log.error("a response was not kept: %s", type(kept).__name__)
        response["store"] = kept is True
