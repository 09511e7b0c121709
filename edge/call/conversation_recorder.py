"""The history of a conversation beside a call: what was said before goes into the call, and its turn is kept after it is paid.

Calls that neither continue nor store one never come here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Protocol
from uuid import UUID

from edge.call.admission import Caller
from edge.call.call_state import Hold
from edge.call.endpoint_adapter import Events
from edge.call.exchange import Admitted, Finished
from edge.services import Services
from shared.core.errors import AccessDenied
from shared.dialects.base import ChatCall
from shared.operations.conversations import Keeping, Turn, begin_turn, keep_turn

log = logging.getLogger("yout.edge")


class Listener(Protocol):
    """The renderer of such a call: it also hears what is delivered, and tells the caller the conversation's id."""

    conversation: UUID | None

    def hear(self, event: bytes | Finished) -> None: ...
    def heard(self) -> str: ...


class History:
    """What one call wants of a conversation. `build` makes the call out of all its messages, the earlier ones first."""

    def __init__(
        self,
        conversation: str | None,
        *,
        stores: bool,
        said: Sequence[Turn],
        build: Callable[[list[Turn]], ChatCall],
        listener: Listener,
    ) -> None:
        self._conversation = conversation
        self._stores = stores
        self._said = said
        self._build = build
        self._listener = listener
        self._keeping: Keeping | None = None

    async def open(self, services: Services, caller: Caller) -> ChatCall:
        """The call with what was said before. Raises what `begin_turn` raises, and what speaks against the caller."""
        if caller.visitor:
            raise AccessDenied(
                "Only accounts have conversations. Sign in, or leave out 'store' and 'conversation_id'.", "plan_required"
            )
        if caller.digest:  # its limits may have been remembered, and what is stored is for keys that are good
            await services.keys.look_up(caller.digest)
        begin = partial(begin_turn, caller.limits.account, self._conversation, stores=self._stores, coming=len(self._said))
        keeping = await services.reader.read(begin)
        self._keeping = keeping
        if not keeping.fresh:
            self._listener.conversation = keeping.conversation
        return self._build([*keeping.earlier, *self._said])

    async def keep(self, services: Services, model: str, events: Events) -> Events:
        """`events`, and the turn kept: a whole answer before its end is told, a broken one when its call is settled."""
        hold: Hold | None = None
        whole = False
        try:
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, Admitted):
                        hold = event.hold
                    else:
                        self._listener.hear(event)
                        if isinstance(event, Finished):
                            whole = True
                            await self._keep(services, model, whole=True)
                    yield event
        finally:
            if not whole and hold is not None:
                services.spawn(self._keep_broken(services, model, hold))

    async def _keep_broken(self, services: Services, model: str, hold: Hold) -> None:
        if hold.settlement is not None:
            await asyncio.wait([hold.settlement])
        await self._keep(services, model, whole=False)

    async def _keep(self, services: Services, model: str, *, whole: bool) -> None:
        keeping, answer = self._keeping, self._listener.heard()
        if keeping is None or not keeping.stores or not answer:
            return
        kept = await services.ledger.run(partial(keep_turn, keeping, self._said, answer, model=model, whole=whole))
        if isinstance(kept, Exception):
            log.error("a turn of a conversation was not kept: %s", type(kept).__name__)
        self._listener.conversation = keeping.conversation if kept is True else None
