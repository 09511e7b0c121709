"""Endpoint adapters: they connect the API format of a POST route to the exchange. Pure.

An adapter parses a body into a `ChatCall`, and renders canonical chat events (`dialects.base`) and errors in its own format.
A new format only needs a new `EndpointAdapter` value.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any, NamedTuple, NoReturn, Protocol
from uuid import UUID

from msgspec import Struct

from edge.call.admission import Caller
from edge.call.exchange import Admitted, Finished
from edge.http.api_spec import RouteSpec
from edge.http.errors import RenderedError, render_error, render_stream_error
from edge.services import Services
from shared.dialects.base import ChatCall

Events = AsyncGenerator[Admitted | bytes | Finished, None]

# Only one newline: official SDKs treat a comment with a blank line as an empty event, and crash.
KEEPALIVE = b": keepalive\n"


class RawResponse(NamedTuple):
    """A complete response that is not JSON, with its own headers."""

    headers: list[tuple[bytes, bytes]]
    body: bytes


class Renderer(Protocol):
    """Renders the response to one call. It may keep state. Streams consist of complete server-sent events.

    transform_chunks  translates complete canonical events, possibly to nothing; None forwards them unchanged
    finish     the end of a settled stream
    render_failure  the end of a failed stream
    keepalive  sent while the upstream is silent
    render_complete  the response to a call that does not stream
    """

    @property
    def transform_chunks(self) -> Callable[[bytes], bytes] | None: ...

    def finish(self, event: Finished) -> bytes: ...
    def render_failure(self, error: BaseException) -> bytes: ...
    def keepalive(self) -> bytes: ...
    def render_complete(self, event: Finished) -> dict[str, Any] | RawResponse: ...


class ChatStreamDefaults:
    """The default `failure` and `keepalive` of streams, in OpenAI's chat format."""

    __slots__ = ()

    def render_failure(self, error: BaseException) -> bytes:
        """Return the error event. No `[DONE]` follows it."""
        return render_stream_error(error)

    def keepalive(self) -> bytes:
        """Return a comment, which clients ignore."""
        return KEEPALIVE


class NonStreamingRenderer(ChatStreamDefaults):
    """The base class of renderers for calls that never stream."""

    __slots__ = ()

    transform_chunks = None

    def finish(self, event: Finished) -> NoReturn:
        """Never called; required by the `Renderer` protocol."""
        raise NotImplementedError("this kind of call never streams")


class CallExtension(Protocol):
    """Optional steps before and after the exchange of a call (`edge.call.conversation_recorder`)."""

    async def prepare_call(self, services: Services, caller: Caller) -> ChatCall: ...
    def record(self, services: Services, model: str, events: Events) -> Events: ...


class ParsedRequest(Struct, frozen=True, gc=False):
    """A parsed body: the call and the renderer of its response.

    `idempotency_body` replaces the body for the comparison of `Idempotency-Key`s, if equal requests can have different bytes.
    """

    call: ChatCall
    renderer: Renderer
    extension: CallExtension | None = None
    idempotency_body: bytes | None = None


class EndpointAdapter(NamedTuple):
    """The adapter of a POST route that calls a model.

    parse       parses the body of the call with this id; raises subclasses of `RequestRefused`
    render_error  renders an error for a request id
    id_headers  the response headers for the request id
    allows_web_callers  whether web sessions and visitors may call, in addition to keys
    allows_pages  whether they may call only with `x-csrf-token`, which scripts of our pages send; all other requests need a key
    declaration the route's part of the OpenAPI document
    parse_form  parses a multipart body with this content type; runs in a thread, because files may be large
    """

    parse: Callable[[bytes, UUID], ParsedRequest]
    render_error: Callable[[BaseException, str], RenderedError] = render_error
    id_headers: tuple[bytes, ...] = (b"x-request-id",)
    allows_web_callers: bool = False
    allows_pages: bool = False
    declaration: RouteSpec | None = None
    parse_form: Callable[[bytes, str, UUID], ParsedRequest] | None = None


def cost_fields(event: Finished) -> dict[str, Any]:
    """Return the call's cost and the remaining balance in credits, and why the stream was ended early, if it was."""
    cost = {"credits_charged": event.settled.credits, "balance": event.settled.balance}
    return cost if event.stopped is None else {**cost, "stopped": event.stopped}


def usd_fields(event: Finished) -> dict[str, float]:
    """Return the fields that a usage has in addition if the call requested its cost in USD."""
    return {} if event.cost_usd is None else {"cost": event.cost_usd}


def openai_usage(event: Finished) -> dict[str, Any]:
    """Return the charged usage in OpenAI's chat format."""
    used = event.usage
    written = {"cache_write_tokens": used.cache_write_tokens} if used.cache_write_tokens else {}
    return {
        "prompt_tokens": used.input_tokens,
        "completion_tokens": used.output_tokens,
        "total_tokens": used.total_tokens,
        "prompt_tokens_details": {"cached_tokens": used.cached_tokens, **written},
        "completion_tokens_details": {"reasoning_tokens": used.reasoning_tokens},
        **usd_fields(event),
    }
