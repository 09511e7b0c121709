"""Stored conversations: prepends the earlier messages to a call, and stores the turn once the call is paid."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Protocol
from uuid import UUID

from edge.call.admission import Admission, Caller
from edge.call.endpoint_adapter import Events
from edge.call.exchange import Admitted, Finished
from edge.services import Services
from shared.core.errors import AccessDenied
from shared.dialects.base import ChatCall
from shared.identity.payer import KeyPayer, VisitorPayer
from shared.operations.conversations import ChatMessage, ConversationState, begin_turn, store_turn

log = logging.getLogger("yout.edge")


class RecordingRenderer(Protocol):
    """A renderer that also records the delivered answer and reports the conversation's id."""

    conversation: UUID | None

    def record(self, event: bytes | Finished) -> None: ...
    def recorded_text(self) -> str: ...


class ConversationRecorder:
    """The conversation of one call. `build` creates the call from all messages, the earlier ones first."""

    def __init__(
        self,
        conversation: str | None,
        *,
        stores: bool,
        new_turns: Sequence[ChatMessage],
        build: Callable[[list[ChatMessage]], ChatCall],
        listener: RecordingRenderer,
    ) -> None:
        self._conversation = conversation
        self._stores = stores
        self._new_turns = new_turns
        self._build = build
        self._renderer = listener
        self._pending_turn: ConversationState | None = None

    async def prepare_call(self, services: Services, caller: Caller) -> ChatCall:
        """Return the call with the conversation's earlier messages. Raises the errors of `begin_turn` and of authentication."""
        if isinstance(caller.payer, VisitorPayer):
            raise AccessDenied(
                "Conversations require an account. Sign in, or omit 'store' and 'conversation_id'.", "plan_required"
            )
        # the payer may come from the cache, but reading stored messages requires a key that is valid now
        if isinstance(caller.payer, KeyPayer):
            await services.keys.look_up(caller.payer.digest)
        begin = partial(
            begin_turn, caller.limits.account, self._conversation, stores=self._stores, new_count=len(self._new_turns)
        )
        keeping = await services.database_reader.read(begin)
        self._pending_turn = keeping
        if not keeping.is_new:
            self._renderer.conversation = keeping.conversation
        return self._build([*keeping.history, *self._new_turns])

    async def record(self, services: Services, model: str, events: Events) -> Events:
        """Yield `events` and store the turn: a complete answer before its last event, a truncated one after its settlement."""
        admission: Admission | None = None
        whole = False
        try:
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, Admitted):
                        admission = event.admission
                    else:
                        self._renderer.record(event)
                        if isinstance(event, Finished):
                            whole = True
                            await self._keep(services, model, whole=True)
                    yield event
        finally:
            if not whole and admission is not None:
                services.spawn(self._keep_truncated(services, model, admission))

    async def _keep_truncated(self, services: Services, model: str, admission: Admission) -> None:
        if admission.settlement is not None:
            await asyncio.wait([admission.settlement])
        await self._keep(services, model, whole=False)

    async def _keep(self, services: Services, model: str, *, whole: bool) -> None:
        keeping, answer = self._pending_turn, self._renderer.recorded_text()
        if keeping is None or not keeping.store or not answer:
            return
        job = partial(store_turn, keeping, self._new_turns, answer, model=model, complete=whole)
        kept = False
        try:
            kept = await services.database_writer.run(job)
        except Exception as error:  # whatever fails, the answer is still sent
            log.error("failed to store a conversation turn: %s", type(error).__name__)
        self._renderer.conversation = keeping.conversation if kept else None
