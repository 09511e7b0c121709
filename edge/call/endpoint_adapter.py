"""Surfaces: adapters between the API format of a POST route and the exchange. Pure.

A surface parses a body into a `ChatCall`, and renders canonical chat events (`dialects.base`) and errors in its own format.
A new format only needs a new `Surface` value.
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

# Only one newline: official SDKs treat a comment with a blank line as an empty event, and crash.
KEEPALIVE = b": keepalive\n"


class Written(NamedTuple):
    """A complete response that is not JSON, with its own headers."""

    headers: list[tuple[bytes, bytes]]
    body: bytes


class Renderer(Protocol):
    """Renders the response to one call. It may keep state. Streams consist of complete server-sent events.

    relay      translates complete canonical events, possibly to nothing; None forwards them unchanged
    ending     the end of a settled stream
    failure    the end of a failed stream
    keepalive  sent while the upstream is silent
    whole      the response to a call that does not stream
    """

    @property
    def relay(self) -> Callable[[bytes], bytes] | None: ...

    def ending(self, event: Finished) -> bytes: ...
    def failure(self, error: BaseException) -> bytes: ...
    def keepalive(self) -> bytes: ...
    def whole(self, event: Finished) -> dict[str, Any] | Written: ...


class LikeChats:
    """The default `failure` and `keepalive` of streams, in OpenAI's chat format."""

    __slots__ = ()

    def failure(self, error: BaseException) -> bytes:
        """Return the error event. No `[DONE]` follows it."""
        return render_frame(error)

    def keepalive(self) -> bytes:
        """Return a comment, which clients ignore."""
        return KEEPALIVE


class Unstreamed(LikeChats):
    """The base class of renderers for calls that never stream."""

    __slots__ = ()

    relay = None

    def ending(self, event: Finished) -> NoReturn:
        """Never called; required by the `Renderer` protocol."""
        raise NotImplementedError("this kind of call never streams")


class Beside(Protocol):
    """An optional extension of a call, around the exchange (`edge.call.conversation_recorder`)."""

    async def open(self, services: Services, caller: Caller) -> ChatCall: ...
    def keep(self, services: Services, model: str, events: Events) -> Events: ...


class Asked(NamedTuple):
    """A parsed body: the call and the renderer of its response.

    `same_as` replaces the body for the comparison of `Idempotency-Key`s, if equal requests can have different bytes.
    """

    call: ChatCall
    renderer: Renderer
    history: Beside | None = None
    same_as: bytes | None = None


class Surface(NamedTuple):
    """The adapter of a POST route that calls a model.

    read        parses the body of the call with this id; raises subclasses of `RequestRefused`
    problem     renders an error for a request id
    id_headers  the response headers for the request id
    for_web     whether web sessions and visitors may call, in addition to keys
    declaration the route's part of the OpenAPI document
    read_form   parses a multipart body with this content type; runs in a thread, because files may be large
    """

    read: Callable[[bytes, UUID], Asked]
    problem: Callable[[BaseException, str], Problem] = render
    id_headers: tuple[bytes, ...] = (b"x-request-id",)
    for_web: bool = False
    declaration: Declaration | None = None
    read_form: Callable[[bytes, str, UUID], Asked] | None = None


def spent(event: Finished) -> dict[str, int]:
    """Return the call's cost and the remaining balance in credits."""
    return {"credits_charged": event.settled.credits, "balance": event.settled.balance}


def usage_of(event: Finished) -> dict[str, Any]:
    """Return the charged usage in OpenAI's chat format."""
    used = event.usage
    written = {"cache_write_tokens": used.cache_write_tokens} if used.cache_write_tokens else {}
    return {
        "prompt_tokens": used.input_tokens,
        "completion_tokens": used.output_tokens,
        "total_tokens": used.total_tokens,
        "prompt_tokens_details": {"cached_tokens": used.cached_tokens, **written},
        "completion_tokens_details": {"reasoning_tokens": used.reasoning_tokens},
    }
