"""Interface of dialects, and the values that they exchange with callers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from msgspec import Struct

from shared.billing.token_usage import PartialUsage
from shared.catalog.routing import RoutingPreferences
from shared.catalog.snapshot import Route

REASONING = "reasoning"


class ChatCall(NamedTuple):
    """A validated chat call. `body` is the caller's JSON object and is never modified.

    output_limit    maximum tokens per choice set by the caller, or None
    input_bound     upper bound of the input tokens (computed from bytes)
    input_estimate  estimated input tokens
    images          number of images and files in the messages
    bodies_by_dialect  bodies by dialect, with fields that `body` lacks, or None. The one under `REASONING` is for providers of
                    OpenAI's format that require the reasoning of earlier answers
    kind            kind of model; all except `chat` have no output tokens and define their own `body`; only `chat` and
                    `transcription` can stream
    fallbacks       other models that may serve the call, in order
    preferences     the caller's routing preferences, if any
    include_cost    whether the usage in the answer includes the cost in USD
    field_name      converts a path in `body` to the caller's field name; None if `body` is what the caller sent
    tag             the caller's label for the usage row, not for providers
    max_search_units  upper bound of the search units that a provider may bill for a rerank
    body_bytes      size of the JSON that the caller sent, or 0 if it does not matter
    server_tool     path of a tool in `body` that the provider executes, which only Anthropic's dialect supports; or None
    responses_body  returns the body of a call of the Responses API, with all its input items, which a channel of that API relays
                    (the same object each time, never modified); None for other calls
    """

    model: str
    body: Mapping[str, Any]
    stream: bool
    include_usage: bool
    choices: int
    output_limit: int | None
    input_bound: int
    input_estimate: int
    bodies_by_dialect: Mapping[str, Mapping[str, Any]] | None = None
    kind: str = "chat"
    fallbacks: tuple[str, ...] = ()
    preferences: RoutingPreferences | None = None
    include_cost: bool = False
    field_name: Callable[[str], str] | None = None
    responses_body: Callable[[], Mapping[str, Any]] | None = None
    images: int = 0
    max_search_units: int = 1
    tag: str | None = None
    server_tool: str | None = None
    body_bytes: int = 0

    def for_dialect(self, dialect: str, settings: Mapping[str, Any] = MappingProxyType({})) -> ChatCall:
        """Return the call with the body for `dialect` on a channel with these settings."""
        if self.bodies_by_dialect is None:
            return self
        needs_reasoning = dialect == "openai" and settings.get("required_history")
        return self._replace(body=self.bodies_by_dialect.get(REASONING if needs_reasoning else dialect, self.body))


class Target(Struct, frozen=True, gc=False):
    """Destination of a call: the route, its decrypted secret, and what the provider may learn about the caller.

    pseudonym      converts a caller's identifier to one that differs for every channel and period
    max_output_tokens  output limit set by the hold, in tokens per choice, or None
    output_limit   output limit that the hold pays for in any case, for providers that require a limit
    """

    route: Route
    secret: str
    referer: str
    pseudonym: Callable[[str], str]
    max_output_tokens: int | None = None
    output_limit: int | None = None


class ProviderRequest(Struct, frozen=True, gc=False):
    """An HTTP request to a provider. Header names are in lower case. `fields` are the names of the body's top-level fields."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    fields: tuple[str, ...] = ()


class Answer(Struct, frozen=True, gc=False):
    """A complete answer in canonical form, or a response if the call has a `responses_body`.

    `text` and the number of `images` are for counting output tokens.
    """

    body: dict[str, Any]
    usage: PartialUsage
    text: str
    delivered: bool
    image_count: int = 0


class ProviderError(NamedTuple):
    """A parsed error of a provider. `is_request_error` means that the request itself is invalid, so no other channel would help.

    If `is_request_error`, `message` is scrubbed and can be shown to the caller, otherwise it is None. `retry_after_ms` is the
    delay
    that the response body asks for.
    """

    is_request_error: bool
    message: str | None
    param: str | None
    code: str | None
    retry_after_ms: int | None = None


class StreamReader(Protocol):
    """Converts a provider's stream to canonical chunks as bytes arrive.

    `feed` returns bytes to relay at once: complete, normalized SSE events. It holds back the chunk with the last finish reason,
    and the usage, because they must wait for the settlement. Raises `MalformedStream` for invalid data and `BrokenStream` for an
    error in the stream. If valid events came first in the same bytes, it returns these and sets `error` to it.

    `truncate` ends an answer that exceeds its limit; `final_chunk` then has the finish reason `length`.

    delivered   some part of an answer has arrived
    finished    every choice that began has its finish reason
    is_complete  delivered and finished; later errors cost nothing but the usage, and only set `error`
    done        the end marker has arrived
    text_bytes  size of the delivered text in UTF-8; `text()` returns only its beginning if it is too long to keep
    """

    error: Exception | None

    @property
    def delivered(self) -> bool: ...
    @property
    def done(self) -> bool: ...
    @property
    def finished(self) -> bool: ...
    @property
    def text_bytes(self) -> int: ...
    @property
    def is_complete(self) -> bool: ...

    def feed(self, data: bytes) -> bytes: ...
    def close(self) -> bytes: ...
    def chunk_fields(self) -> dict[str, Any]: ...
    def final_chunk(self) -> dict[str, Any]: ...
    def usage(self) -> PartialUsage: ...
    def text(self) -> str: ...
    def truncate(self) -> None: ...
    def image_count(self) -> int: ...


class MalformedStream(Exception):
    """The provider's data is not a stream of the dialect."""


class BrokenStream(Exception):
    """The provider's stream ended too early or reported an error."""


class UnsupportedField(Exception):
    """The dialect does not support a field of the call. Another channel of the model may support it."""

    code = "unsupported_parameter"

    def __init__(self, param: str, why: str = "", subject: str = "") -> None:
        subject = subject or f"'{param}'"
        super().__init__(f"{subject} is not supported by this model{': ' + why if why else ''}.")
        self.param = param
        self.why = why

    def named(self, field_name: Callable[[str], str] | None) -> UnsupportedField:
        """Return the error with the caller's name of the field."""
        if field_name is None:
            return self
        param = field_name(self.param)
        is_whole = param.count("[") == self.param.count("[")
        return type(self)(param, self.why, "" if is_whole else f"Part of '{param}'")


class UnpricedField(UnsupportedField):
    """The model's price does not cover a field of the call, and the field is not allowed for the channel."""

    code = "unpriced_parameter"


class BlockedPrompt(Exception):
    """The provider's safety system rejected the prompt."""


class Dialect(Protocol):
    """Interface of a dialect. All functions are pure.

    `call_id` (`chatcmpl-…`) and `began` (Unix seconds) fill in what the provider omits. `build_request` and `parse_error` raise
    `UnsupportedField` if another channel may accept the call; `parse_response` raises `MalformedStream` for invalid data;
    `parse_response` and stream readers raise `BlockedPrompt`.
    """

    def build_request(self, call: ChatCall, target: Target) -> ProviderRequest: ...
    def parse_response(self, data: bytes, call: ChatCall, call_id: str, created: int) -> Answer: ...
    def new_stream_reader(self, call: ChatCall, call_id: str, created: int) -> StreamReader: ...
    def parse_error(self, status: int, data: bytes, call: ChatCall, target: Target) -> ProviderError: ...
