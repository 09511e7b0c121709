"""A surface: the shape in which callers of one POST speak. Pure: it reads a body, and writes answers, streams and errors.

Whatever the surface, the call in between is a `ChatCall`, and what comes back are canonical chat events (`dialects.base`):
a new surface is a `Surface` value, and nothing else of the edge knows of it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any, NamedTuple, NoReturn, Protocol
from uuid import UUID

from edge.call.admission import Caller
from edge.call.exchange import Admitted, Finished
from edge.http.api_spec import Declaration
from edge.http.errors import Problem, render, render_frame
from edge.services import Services
from shared.dialects.base import ChatCall

Events = AsyncGenerator[Admitted | bytes | Finished, None]

# One newline, never two: with a blank line, official SDKs take the comment for an empty event and crash.
KEEPALIVE = b": keepalive\n"


class Written(NamedTuple):
    """A whole answer that is no JSON: its own headers, and its bytes."""

    headers: list[tuple[bytes, bytes]]
    body: bytes


class Renderer(Protocol):
    """The answer to one call as its caller sees it; it may remember what it has written. Streams are whole server-sent events.

    relay      turns whole canonical events into what the caller gets of them, maybe nothing; None sends them on as they are
    ending     the end of a stream whose call is paid for
    failure    the end of one that broke off
    keepalive  what fills a silence
    whole      the answer of a call that does not stream
    """

    @property
    def relay(self) -> Callable[[bytes], bytes] | None: ...

    def ending(self, event: Finished) -> bytes: ...
    def failure(self, error: BaseException) -> bytes: ...
    def keepalive(self) -> bytes: ...
    def whole(self, event: Finished) -> dict[str, Any] | Written: ...


class LikeChats:
    """What the renderers of streams have in common that fail and wait as chats do."""

    __slots__ = ()

    def failure(self, error: BaseException) -> bytes:
        """The error; no `[DONE]` follows it."""
        return render_frame(error)

    def keepalive(self) -> bytes:
        """A comment."""
        return KEEPALIVE


class Unstreamed(LikeChats):
    """What the renderers of calls that never stream have in common."""

    __slots__ = ()

    relay = None

    def ending(self, event: Finished) -> NoReturn:
        """Never called; it is there for the `Renderer` to be whole."""
        raise NotImplementedError("a call of this kind never streams")


class Beside(Protocol):
    """What a call does beside the exchange, for those few that do (`edge.call.conversation_recorder`)."""

    async def open(self, services: Services, caller: Caller) -> ChatCall: ...
    def keep(self, services: Services, model: str, events: Events) -> Events: ...


class Asked(NamedTuple):
    """What a body asks for, and the renderer of its answer.

    `same_as` is what an `Idempotency-Key` stands for where one request is not always the same bytes; None: the body itself.
    """

    call: ChatCall
    renderer: Renderer
    history: Beside | None = None
    same_as: bytes | None = None


class Surface(NamedTuple):
    """What a route of calls is made of.

    read        the body of the call with this id; raises `InvalidRequest` and the other refusals
    problem     an error as a whole answer, told the request's public id
    id_headers  the names under which every answer carries that id
    for_web     whether web sessions and visitors may call too, not keys alone
    declaration what the API's document says of it
    read_form   instead of `read`, a body that is a form; told its content type, and run in a thread, for files may be large
    """

    read: Callable[[bytes, UUID], Asked]
    problem: Callable[[BaseException, str], Problem] = render
    id_headers: tuple[bytes, ...] = (b"x-request-id",)
    for_web: bool = False
    declaration: Declaration | None = None
    read_form: Callable[[bytes, str, UUID], Asked] | None = None


def spent(event: Finished) -> dict[str, int]:
    """What the call cost, and what is left, in credits."""
    return {"credits_charged": event.settled.credits, "balance": event.settled.balance}


def usage_of(event: Finished) -> dict[str, Any]:
    """What was charged for, as OpenAI writes it for chats."""
    used = event.usage
    written = {"cache_write_tokens": used.cache_write_tokens} if used.cache_write_tokens else {}
    return {
        "prompt_tokens": used.input_tokens,
        "completion_tokens": used.output_tokens,
        "total_tokens": used.total_tokens,
        "prompt_tokens_details": {"cached_tokens": used.cached_tokens, **written},
        "completion_tokens_details": {"reasoning_tokens": used.reasoning_tokens},
    }
