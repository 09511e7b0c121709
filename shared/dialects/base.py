"""The values between the edge and a vendor's dialect, and what a dialect must offer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from shared.billing.token_usage import PartialUsage
from shared.catalog.routing import Preferences
from shared.catalog.snapshot import Route

REASONING = "reasoning"


class ChatCall(NamedTuple):
    """A validated chat call. `body` is the caller's JSON object, never changed in place.

    output_limit    tokens a choice may have, as the caller set it; None when they set none
    input_bound     the input tokens cannot be more (counted from bytes)
    input_estimate  the input tokens are about so many
    natives         richer bodies, by dialect, with fields that `body` leaves out; None: there are none. Under `REASONING`, one
                    for providers of OpenAI's format that demand the thoughts of earlier answers
    kind            of the models that serve it: all but `chat` have no output tokens, never stream, and choose their own `body`
    fallbacks       other models that may serve instead, in their order
    preferences     how the caller wants to be routed, if it said
    field_name      the caller's own name of a field, for its path in `body`; None where `body` is what the caller sent
    """

    model: str
    body: Mapping[str, Any]
    stream: bool
    include_usage: bool
    choices: int
    output_limit: int | None
    input_bound: int
    input_estimate: int
    natives: Mapping[str, Mapping[str, Any]] | None = None
    kind: str = "chat"
    fallbacks: tuple[str, ...] = ()
    preferences: Preferences | None = None
    field_name: Callable[[str], str] | None = None

    def told_to(self, dialect: str, settings: Mapping[str, Any] = MappingProxyType({})) -> ChatCall:
        """The call as `dialect` should read it, for a channel with these settings."""
        if self.natives is None:
            return self
        demands_thoughts = dialect == "openai" and settings.get("required_history")
        return self._replace(body=self.natives.get(REASONING if demands_thoughts else dialect, self.body))


class Target(NamedTuple):
    """Where a call goes: the route, its opened secret, and what the vendor may know of the caller's side.

    `pseudonym` turns a caller's own user id into one that is different for every channel; `clamp` is an output limit that the
    hold imposes, tokens a choice, or None; `output_limit` is what the hold pays for in any case, for vendors who demand a limit.
    """

    route: Route
    secret: str
    referer: str
    pseudonym: Callable[[str], str]
    clamp: int | None = None
    output_limit: int | None = None


class VendorRequest(NamedTuple):
    """An HTTP request to a vendor. Header names in lower case."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Answer(NamedTuple):
    """A whole answer in canonical form. `text` and the number of `images` are what was delivered, for counting tokens."""

    body: dict[str, Any]
    usage: PartialUsage
    text: str
    delivered: bool
    images: int = 0


class VendorError(NamedTuple):
    """A vendor's refusal, read. `about_request` says that the request itself is wrong: no other channel would help.

    `message` is scrubbed and fit for the caller when `about_request`, else None. `retry_after_ms` is what a vendor tells in the
    body of how long it wants to be left alone.
    """

    about_request: bool
    message: str | None
    param: str | None
    code: str | None
    retry_after_ms: int | None = None


class StreamReader(Protocol):
    """Turns a vendor's stream, as bytes arrive, into canonical chunks.

    `feed` gives bytes that may be sent on at once: whole SSE events, normalised. What must wait for the settlement stays inside:
    the chunk with the last finish reason, and usage. Raises `MalformedStream` for what is no such stream, `BrokenStream` for an
    error that the vendor reports in it; where good events came before it in the same bytes, gives these and leaves the error in
    `broken`.

    `stop` ends an answer that is over its limit: its `tail` says `length`.

    delivered   anything of an answer came
    finished    every choice that began has its finish reason
    answered    delivered and finished: an error from now on costs nothing but the usage, and goes into `broken`
    done        the stream's end mark came
    text_bytes  the size of all text that was delivered, in UTF-8; `text()` gives its beginning where it is too long to keep
    """

    broken: Exception | None

    @property
    def delivered(self) -> bool: ...
    @property
    def done(self) -> bool: ...
    @property
    def finished(self) -> bool: ...
    @property
    def text_bytes(self) -> int: ...
    @property
    def answered(self) -> bool: ...

    def feed(self, data: bytes) -> bytes: ...
    def end(self) -> bytes: ...
    def frame(self) -> dict[str, Any]: ...
    def tail(self) -> dict[str, Any]: ...
    def usage(self) -> PartialUsage: ...
    def text(self) -> str: ...
    def stop(self) -> None: ...
    def images(self) -> int: ...


class MalformedStream(Exception):
    """The vendor sent bytes that are no stream of the dialect."""


class BrokenStream(Exception):
    """The vendor's stream ended too early, or reported an error."""


class UnsupportedField(Exception):
    """The dialect has no place for what a field of the call asks for. Another channel of the model may have one."""

    def __init__(self, param: str, why: str = "", subject: str = "") -> None:
        subject = subject or f"'{param}'"
        super().__init__(f"{subject} is not supported by this model{': ' + why if why else ''}.")
        self.param = param
        self.why = why

    def named(self, field_name: Callable[[str], str] | None) -> UnsupportedField:
        """The error with the caller's own name of the field."""
        if field_name is None:
            return self
        param = field_name(self.param)
        is_whole = param.count("[") == self.param.count("[")
        return UnsupportedField(param, self.why, "" if is_whole else f"Part of '{param}'")


class BlockedPrompt(Exception):
    """The vendor's safety system refused the prompt itself."""


class Dialect(Protocol):
    """What a dialect module offers; all of it pure.

    `call_id` (`chatcmpl-…`) and `began` (Unix seconds) stand in for what a vendor leaves out. `request` raises `UnsupportedField`
    for what the vendor has no place for. `read_answer` raises `MalformedStream` for what is no answer; it and the readers of
    streams raise `BlockedPrompt`.
    """

    def request(self, call: ChatCall, target: Target) -> VendorRequest: ...
    def read_answer(self, data: bytes, call: ChatCall, call_id: str, began: int) -> Answer: ...
    def read_stream(self, call: ChatCall, call_id: str, began: int) -> StreamReader: ...
    def read_error(self, status: int, data: bytes, call: ChatCall, target: Target) -> VendorError: ...
