"""Validates chat bodies and turns them into frozen calls. All functions raise `InvalidRequest` with the field's name.

Fields that OpenAI documents are checked if a wrong value could cost money or break a provider. Everything else is left to
`edge.call.priced_fields`, which refuses fields of unknown cost, and to the dialects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import orjson
from msgspec import Meta

from edge.call.routing_options import Fallbacks, Provider, routing_preferences
from edge.http.body_types import Body, ModelId, Object, check_body
from edge.http.json_body import parse_json_object
from edge.http.tags import Metadata, split_tag
from shared.billing.image_tokens import IMAGE_TOKENS
from shared.core.errors import InvalidRequest
from shared.dialects.base import ChatCall

MAX_CHOICES = 128
MAX_TOKENS = 10_000_000
MAX_STOP_SEQUENCES = 16
PART_TYPES = frozenset({"text", "image_url", "input_audio", "file", "refusal", "thinking", "video_url"})
MESSAGE_OVERHEAD_TOKENS = 8  # role, separators, and priming of the completion
# Copilot CLI adds this field to the tool results of resumed sessions: the tool's name, and what it did with which file. No
# provider knows it, and most reject unknown message fields.
_COPILOT_FIELD = "__copilotMessageSource"


Flag = bool | None
Choices = Annotated[int, Meta(ge=1, le=MAX_CHOICES)]
TokenLimit = Annotated[int, Meta(ge=1, le=MAX_TOKENS)]
TopLogprobs = Annotated[int, Meta(ge=0, le=20)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
TopP = Annotated[float, Meta(ge=0, le=1)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
StopSequences = Annotated[list[str], Meta(max_length=MAX_STOP_SEQUENCES)]


class ContentPart(Body):
    """A part of a message, such as a text or an image. Its content is in the field that `type` names."""

    type: Annotated[str, Meta(description="`text`, `image_url`, `input_audio`, `file`, or another type that the model supports.")]


class ImagePart(Body):
    """An image of an earlier answer."""

    type: Annotated[Literal["image_url"], Meta(description="Always `image_url`.")]


class InputMessage(Body):
    """A message of the conversation."""

    role: Annotated[
        Literal["system", "developer", "user", "assistant", "tool", "function"], Meta(description="Author of the message.")
    ]
    content: Annotated[
        str | list[ContentPart] | None,
        Meta(
            description="Text, or an array of content parts. Only an assistant's message may omit it.",
            extra={"expected": "a string or an array of content parts"},
        ),
    ] = None
    tool_calls: Annotated[list[Object] | None, Meta(description="Tool calls of an assistant's message.")] = None
    images: Annotated[
        list[ImagePart] | None,
        Meta(description="Images of an assistant's message.", extra={"expected": "an array of 'image_url' parts"}),
    ] = None


class StreamOptions(Body):
    """Options of a stream."""

    include_usage: Annotated[Flag, Meta(description="Send the usage in a last chunk without choices.")] = None


class UsageOptions(Body):
    """Options of the usage in the answer."""

    include: Annotated[Flag, Meta(description="Add the cost in USD.")] = None


Usage = Annotated[UsageOptions | None, Meta(description='`{"include": true}` adds the cost in USD to the usage.')]


class OwnFields(Body):
    """The fields of a chat body that are never sent to a provider."""

    models: Fallbacks = None
    provider: Provider = None
    usage: Usage = None


OWN_FIELDS = frozenset(OwnFields.__struct_fields__)


class ChatRequest(Body):
    """A chat completion in OpenAI's format. Other fields are forwarded to the provider."""

    EXAMPLE = {"model": "$model", "messages": [{"role": "user", "content": "Hello"}]}

    model: ModelId
    messages: Annotated[list[InputMessage], Meta(min_length=1, description="The conversation so far.")]
    stream: Annotated[Flag, Meta(description="Send the answer as server-sent events.")] = None
    stream_options: Annotated[StreamOptions | None, Meta(description="Only allowed when `stream` is true.")] = None
    max_tokens: Annotated[TokenLimit | None, Meta(description="As `max_completion_tokens`; the smaller one applies.")] = None
    max_completion_tokens: Annotated[
        TokenLimit | None, Meta(description="Maximum tokens of each choice, including reasoning. The quote depends on it.")
    ] = None
    n: Annotated[Choices | None, Meta(description="Number of choices to generate. Default: 1.")] = None
    temperature: Annotated[Temperature | None, Meta(description="Sampling temperature. Higher values are more random.")] = None
    top_p: Annotated[TopP | None, Meta(description="Sample only from the most likely tokens with this total probability.")] = None
    presence_penalty: Annotated[Penalty | None, Meta(description="Positive values favor new topics.")] = None
    frequency_penalty: Annotated[Penalty | None, Meta(description="Positive values discourage repetition.")] = None
    stop: Annotated[str | StopSequences | None, Meta(description="Sequences at which the model stops generating.")] = None
    seed: Annotated[Seed | None, Meta(description="Seed for repeatable sampling, where supported.")] = None
    tools: Annotated[list[Object] | None, Meta(description="Functions that the model may call.")] = None
    tool_choice: Annotated[
        str | Object | None, Meta(description="`auto`, `none`, `required`, or an object that names a function.")
    ] = None
    parallel_tool_calls: Annotated[Flag, Meta(description="Whether the model may call several tools in one turn.")] = None
    functions: Annotated[list[Object] | None, Meta(description="Deprecated; use `tools`.")] = None
    response_format: Annotated[Object | None, Meta(description="Format of the answer, such as a JSON schema.")] = None
    reasoning_effort: Annotated[str | None, Meta(description="How much to reason, such as `low`, `medium` or `high`.")] = None
    logprobs: Annotated[Flag, Meta(description="Return the log probabilities of the output tokens.")] = None
    top_logprobs: Annotated[TopLogprobs | None, Meta(description="Number of alternatives to return for each token.")] = None
    logit_bias: Annotated[Object | None, Meta(description="Bias of single tokens, by token id.")] = None
    modalities: Annotated[list[str] | None, Meta(description="Kinds of output, such as `text` and `image`.")] = None
    metadata: Metadata = None
    store: Annotated[Flag, Meta(description="Forwarded to the provider.")] = None
    user: Annotated[str | None, Meta(description="Your id of the end user.")] = None
    safety_identifier: Annotated[str | None, Meta(description="Your id of the end user, for abuse detection.")] = None
    models: Fallbacks = None
    provider: Provider = None
    usage: Usage = None


def parse_chat_request(data: bytes) -> ChatCall:
    """Parse the body of `POST /v1/chat/completions`."""
    body = parse_json_object(data)
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict) and _COPILOT_FIELD in message:
            del message[_COPILOT_FIELD]
    return build_chat_call(body, len(data))


def with_model(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `body`, with the first of its `models` as the model if it names none."""
    models = body.get("models")
    return {**body, "model": models[0]} if body.get("model") is None and isinstance(models, list) and models else body


def build_chat_call(body: dict[str, Any], size: int) -> ChatCall:
    """Return the validated call of a parsed chat body. `size` is the size of its JSON in bytes."""
    fallbacks: tuple[str, ...] = ()
    preferences = None
    include_cost = False
    if not OWN_FIELDS.isdisjoint(body):
        own = check_body(body, OwnFields)
        first = with_model(body).get("model")
        fallbacks = tuple(dict.fromkeys(name for name in own.models or () if name != first))
        preferences = routing_preferences(own.provider)
        include_cost = bool(own.usage and own.usage.include)
        body = {name: value for name, value in body.items() if name not in OWN_FIELDS} | {"model": first}
    request = check_body(body, ChatRequest)
    body, tag = split_tag(body)
    non_text_bytes, non_text_tokens, images = 0, 0, 0
    for index, message in enumerate(request.messages):
        if message.content is None and message.role != "assistant":
            where = f"messages[{index}].content"
            raise InvalidRequest(f"'{where}' is required.", where)
        if message.images or isinstance(message.content, list):
            parts = _parts(body["messages"][index])
            more_bytes, more_tokens = _non_text_parts(parts, index)
            non_text_bytes += more_bytes
            non_text_tokens += more_tokens
            images += sum(part["type"] in ("image_url", "file") for part in parts)
    if request.stream_options and not request.stream and body["stream_options"]:
        raise InvalidRequest("'stream_options' is only allowed when 'stream' is true.", "stream_options")
    text_bytes = size - non_text_bytes
    limits = [limit for limit in (request.max_completion_tokens, request.max_tokens) if limit is not None]
    return ChatCall(
        model=request.model,
        body=body,
        stream=bool(request.stream),
        include_usage=bool(request.stream_options and request.stream_options.include_usage) or include_cost,
        choices=request.n or 1,
        output_limit=min(limits, default=None),
        # Each token of text takes at least one byte of the body.
        input_bound=text_bytes + non_text_tokens + MESSAGE_OVERHEAD_TOKENS * len(request.messages),
        input_estimate=text_bytes // 4 + non_text_tokens // 3 + 1,
        fallbacks=fallbacks,
        preferences=preferences,
        include_cost=include_cost,
        tag=tag,
        images=images,
        body_bytes=size,
    )


def _parts(message: Mapping[str, Any]) -> list[Any]:
    """Return the content parts of a message, with the images of an earlier completion, which come in a separate field."""
    content = message.get("content")
    return [*(content if isinstance(content, list) else ()), *(message.get("images") or ())]


def _non_text_parts(parts: list[Any], index: int) -> tuple[int, int]:
    """Return the size in bytes of the parts that are not text, and an upper bound for their tokens."""
    size = tokens = 0
    for position, part in enumerate(parts):
        kind = part["type"]
        if kind == "text":
            if not isinstance(part.get("text"), str):
                where = f"messages[{index}].content[{position}].text"
                raise InvalidRequest(f"'{where}' must be a string.", where)
        elif kind in PART_TYPES:
            payload = part.get(kind)
            encoded = _longest_string(payload)
            size += encoded
            # Audio and files are base64: their content has 3/4 of the size, and a token takes at least one byte.
            # No provider documents more for a minute of audio than for an image.
            tokens += IMAGE_TOKENS if kind == "image_url" else IMAGE_TOKENS + encoded * 3 // 4
    return size, tokens


def image_parts(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the images of a chat body, and its files that are images."""
    for message in body["messages"]:
        for part in _parts(message):
            if part["type"] == "image_url" or (part["type"] == "file" and "data:image/" in str(part.get("file"))[:100]):
                yield part


def max_non_text_tokens(body: Mapping[str, Any]) -> int:
    """Return an upper bound for the tokens of all parts of a chat body that are not text."""
    tokens = 0
    for index, message in enumerate(body["messages"]):
        for parts in (message.get("content"), message.get("images")):
            tokens += _non_text_parts(parts, index)[1] if isinstance(parts, list) else 0
    return tokens


# Approximate bytes of base64 per token. Audio: 20 tokens per second at 128 kbit/s; OpenAI documents 10 tokens per second, Google
# 32. Video: 300 tokens per second (Google) at 800 kbit/s. Files: a page of a PDF has 2,000 tokens and 80 KB.
_BYTES_PER_TOKEN = {"input_audio": 1_000, "video_url": 400, "file": 50}


class NonTextTokens(NamedTuple):
    """Estimated tokens of the parts of a prompt that are not text, by kind. `other` are files and video."""

    images: int = 0
    audio: int = 0
    other: int = 0

    @property
    def total(self) -> int:
        return self.images + self.audio + self.other


def estimate_non_text(body: Mapping[str, Any], image_tokens: int) -> NonTextTokens:
    """Estimate the tokens of all parts of a chat body other than text.

    A typical image has a third of the bound `image_tokens`. The size of a linked file is unknown; it counts as an image.
    """
    images = audio = other = 0
    for message in body.get("messages", ()):
        for part in _parts(message):
            kind = part["type"]
            if kind == "image_url":
                images += image_tokens // 3
            elif kind == "input_audio":
                audio += _longest_string(part.get(kind)) // _BYTES_PER_TOKEN[kind] + 1
            elif kind in _BYTES_PER_TOKEN:
                other += max(_longest_string(part.get(kind)) // _BYTES_PER_TOKEN[kind], image_tokens // 3)
    return NonTextTokens(images, audio, other)


def _longest_string(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return max((len(item) for item in value.values() if isinstance(item, str)), default=0)
    return 0


def prompt_text(body: Mapping[str, Any]) -> str:
    """Return all input text, to count its tokens locally: contents, tool calls and tools, or texts to embed or rank."""
    if "messages" not in body:
        inputs = body.get("input") or [body.get("query"), *body.get("documents", ())]
        return inputs if isinstance(inputs, str) else "\n".join(text for text in inputs or () if isinstance(text, str))
    pieces: list[str] = []
    for message in body["messages"]:
        content = message.get("content")
        if isinstance(content, str):
            pieces.append(content)
        elif isinstance(content, list):
            pieces += [part["text"] for part in content if isinstance(part.get("text"), str)]
        if message.get("tool_calls"):
            pieces.append(orjson.dumps(message["tool_calls"]).decode())
    if body.get("tools"):
        pieces.append(orjson.dumps(body["tools"]).decode())
    return "\n".join(pieces)
