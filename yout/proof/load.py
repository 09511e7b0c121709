"""Calls to every endpoint, in parallel and random order: complete, truncated and failing answers, and disconnecting callers."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import NamedTuple, Protocol

from shared.operations.prices import Rates
from shared.operations.proof_accounts import ProofAccount, ProofModel
from yout.proof.accounting import (
    CREDITS_PER_CHARACTER,
    CREDITS_PER_IMAGE,
    CREDITS_PER_INPUT_TOKEN,
    CREDITS_PER_OUTPUT_TOKEN,
    MEDIA,
    MINIMUM,
    Call,
    cost_of,
)
from yout.proof.answers import Script
from yout.proof.surfaces import SURFACES, TEXT, make_call, request_of

CALL_SECONDS = 60.0  # a call that takes longer counts as abandoned by its caller
MAX_CONCURRENT = 64
MAX_TRIES = 60  # of a call that is refused because other calls hold the credits
RETRY_SECONDS = 0.1
AVOID_SECONDS = 1.0
POOL_PERCENT = 55  # of the cost of all calls that the pool covers
# Plans of the provider, by how often they are chosen. The second kind fails; each of these has a model and a channel of its own.
_GOOD = {"complete": 40, "slow": 14, "no_usage": 6, "odd_usage": 4, "empty": 2, "endless": 4}
_BAD = {
    **{"flaky": 4, "status_400": 2, "status_401": 1, "status_429": 2, "status_500": 2, "status_503": 2, "html": 2},
    **{"garbage": 3, "error_event": 3, "reset": 2, "close": 2, "silent": 2, "no_done": 2},
    **{"reset_midway": 3, "close_midway": 3, "hang_midway": 2},
}
_WAITING = ("silent", "hang_midway")  # the caller must leave


class Target(Protocol):
    """An edge."""

    @property
    def url(self) -> str:
        """Its URL, without a path."""


class Planned(NamedTuple):
    """A call to make. `leave_after`: seconds until the caller disconnects; None to stay."""

    surface: str
    plan: str
    words: int
    streamed: bool
    leave_after: float | None


def models() -> dict[str, ProofModel]:
    """Return the models that `Load` calls."""
    chat = Rates(input=1_000 * CREDITS_PER_INPUT_TOKEN, output=1_000 * CREDITS_PER_OUTPUT_TOKEN, minimum=MINIMUM)
    text = {"chat": ProofModel("chat", chat)} | {f"chat-{plan}": ProofModel("chat", chat) for plan in _BAD}
    return text | {
        "embedding": ProofModel("embedding", Rates(input=1_000 * CREDITS_PER_INPUT_TOKEN, minimum=MINIMUM)),
        "image": ProofModel("image", Rates(per_call=CREDITS_PER_IMAGE, minimum=MINIMUM)),
        "speech": ProofModel("speech", Rates(per_1k_characters=1_000 * CREDITS_PER_CHARACTER, minimum=MINIMUM)),
    }


def plan_calls(number: int, rng: random.Random, *, media: bool) -> list[Planned]:
    """Choose `number` calls: at first one of each surface and mode, then at random."""
    surfaces = [*TEXT, "embeddings", *(MEDIA if media else ())]
    first = [Planned(name, "complete", 6, streamed, None) for name in surfaces for streamed in _modes(name)]
    found = first[:number]
    while len(found) < number:
        surface = rng.choices(surfaces, [4] * len(TEXT) + [2] * (len(surfaces) - len(TEXT)))[0]
        found.append(_plan(surface, rng))
    rng.shuffle(found)
    return found


def _modes(surface: str) -> tuple[bool, ...]:
    where = SURFACES[surface]
    return (True,) if where.always_streams else (False, True) if where.end else (False,)


def _plan(surface: str, rng: random.Random) -> Planned:
    streamed, words = rng.choice(_modes(surface)), rng.randint(4, 30)
    if surface not in TEXT:
        return Planned(surface, "complete", words, False, None)
    plans = _GOOD | _BAD
    plan = rng.choices(list(plans), list(plans.values()))[0]
    leaves = plan in _WAITING or (plan in ("slow", "complete") and rng.random() < 0.2)
    return Planned(surface, plan, words, streamed, rng.uniform(0.05, 0.6) if leaves else None)


def demand(calls: Sequence[Planned]) -> int:
    """Return the credits that all calls would cost if they were complete."""
    return sum(cost_of(call.surface, Script(10**3, call.plan, call.words).prompt, call.words) for call in calls)


class Load:
    """Makes planned calls with an account's key. `calls` has every call made, repeated ones included."""

    def __init__(self, account: ProofAccount, targets: Sequence[Target], rng: random.Random) -> None:
        self.calls: list[Call] = []
        self._account, self._targets, self._rng = account, targets, rng
        self._numbers = count(1)
        self._avoided: dict[int, float] = {}  # edges that were down, until when
        self._begun: list[float] = []  # of each call, in seconds of `time.monotonic`

    async def run(self, planned: Sequence[Planned], concurrent: int, stopping: Callable[[], bool] = lambda: False) -> None:
        """Make all calls, or as many as are made until `stopping`."""
        left = iter(planned)

        async def caller() -> None:
            for one in left:
                if stopping():
                    return
                await self._make(one)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrent, len(planned))):
                group.create_task(caller())

    def mark_killed(self, kills: Mapping[int, Sequence[float]]) -> None:
        """Mark the calls whose edge was killed after they began. `kills` has the times of each edge's kills (monotonic)."""
        for call, began in zip(self.calls, self._begun, strict=True):
            call.killed = any(time >= began for time in kills.get(call.edge, ()))

    async def _make(self, planned: Planned) -> None:
        """Make one call, and repeat it while other calls hold the credits or its edge is down."""
        for _ in range(MAX_TRIES):
            call = await self._call(planned)
            if call.left or call.status not in (0, 429):
                return
            await asyncio.sleep(RETRY_SECONDS * self._rng.uniform(0.5, 1.5))

    async def _call(self, planned: Planned) -> Call:
        script = Script(next(self._numbers), planned.plan, planned.words)
        edge = self._choose_edge()
        call = Call(script, planned.surface, planned.streamed, edge)
        self.calls.append(call)
        self._begun.append(time.monotonic())
        name = SURFACES[planned.surface].model
        model = self._account.models[f"{name}-{planned.plan}" if planned.plan in _BAD else name]
        request = request_of(script, planned.surface, model, self._account.key, streamed=planned.streamed)
        await make_call(call, self._targets[edge].url, request, CALL_SECONDS, planned.leave_after)
        self._avoided[edge] = time.monotonic() + AVOID_SECONDS if call.status == 0 and not call.left else 0.0
        return call

    def _choose_edge(self) -> int:
        """Choose an edge at random, but not one that was just down if there is another."""
        now = time.monotonic()
        up = [number for number in range(len(self._targets)) if self._avoided.get(number, 0.0) < now]
        return self._rng.choice(up or range(len(self._targets)))
