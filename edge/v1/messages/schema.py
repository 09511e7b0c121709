"""The request bodies of `/v1/messages`, and its OpenAPI declaration."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from edge.call.requests import Flag, StopSequences, Temperature, TokenLimit, TopP
from edge.http.api_spec import (
    COST_SCHEMA,
    EVENTS,
    INTEGER,
    JSON,
    OPEN_OBJECT,
    STRING,
    ResponseSpec,
    array,
    describe_model_call,
    enum,
    response_schema,
)
from edge.http.body_types import Body, ModelId, Object
from edge.http.tags import Tag


class ContentBlock(Body):
    """A block of content, such as a text, an image or a tool result."""

    type: Annotated[str, Meta(description="`text`, `image`, `document`, `tool_use`, `tool_result` or `thinking`.")]


class MessagesTurn(Body):
    """A turn of the conversation."""

    role: Annotated[Literal["user", "assistant", "system"], Meta(description="Author of the turn.")]
    content: Annotated[str | list[ContentBlock], Meta(description="Text, or an array of content blocks.")]


class MessagesTool(Body):
    """A tool that the model may call."""

    type: Annotated[str | None, Meta(description="`custom`, the default, or `web_search_20250305` and later.")] = None
    name: Annotated[str | None, Meta(description="Name of the tool.")] = None


class ToolChoice(Body):
    """How the model chooses tools."""

    type: Annotated[str | None, Meta(description="`auto`, `any`, `none`, or `tool` with a `name`.")] = None
    name: Annotated[str | None, Meta(description="Name of the only tool to call.")] = None
    disable_parallel_tool_use: Annotated[Flag, Meta(description="Call at most one tool in a turn.")] = None


class OutputConfig(Body):
    """Options of the answer."""

    format: Annotated[Object | None, Meta(description="`json_schema` with a `schema`.")] = None
    effort: Annotated[str | None, Meta(description="How much to reason, such as `low`, `medium` or `high`.")] = None


class MessageMetadata(Body):
    """Describes the request."""

    user_id: Annotated[str | None, Meta(description="Your id of the end user.")] = None
    tag: Tag = None


class CountTokensRequest(Body):
    """The messages whose tokens to count."""

    EXAMPLE = {"model": "$model", "messages": [{"role": "user", "content": "Hello"}]}

    model: ModelId
    messages: Annotated[list[MessagesTurn], Meta(min_length=1, description="The conversation so far.")]
    system: Annotated[str | list[ContentBlock] | None, Meta(description="System prompt, as text or as text blocks.")] = None
    stream: Annotated[Flag, Meta(description="Send the message as server-sent events.")] = None
    temperature: Annotated[Temperature | None, Meta(description="Sampling temperature. Higher values are more random.")] = None
    top_p: Annotated[TopP | None, Meta(description="Sample only from the most likely tokens with this total probability.")] = None
    stop_sequences: Annotated[StopSequences | None, Meta(description="Sequences at which the model stops generating.")] = None
    tools: Annotated[list[MessagesTool] | None, Meta(description="Tools that the model may call.")] = None
    tool_choice: Annotated[ToolChoice | None, Meta(description="How the model chooses tools.")] = None
    thinking: Annotated[Object | None, Meta(description="Extended thinking. Only for Anthropic's models.")] = None
    output_config: Annotated[OutputConfig | None, Meta(description="Format of the answer, and how much to reason.")] = None
    output_format: Annotated[Object | None, Meta(description="Deprecated; use `output_config.format`.")] = None
    metadata: Annotated[MessageMetadata | None, Meta(description="Describes the request.")] = None
    service_tier: Annotated[Literal["auto", "standard_only"] | None, Meta(description="Has no effect.")] = None
    speed: Annotated[Literal["standard"] | None, Meta(description="Has no effect.")] = None


class MessagesRequest(CountTokensRequest, kw_only=True):
    """A message in Anthropic's format. Other fields are forwarded to the provider."""

    EXAMPLE = {"model": "$model", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}

    max_tokens: Annotated[TokenLimit, Meta(description="Maximum tokens of the message. The quote depends on it.")]


_MESSAGE = response_schema(
    {
        "id": STRING,
        "type": enum("message"),
        "role": enum("assistant"),
        "model": STRING,
        "content": array(OPEN_OBJECT),
        "usage": response_schema({"input_tokens": INTEGER, "output_tokens": INTEGER}),
        "yout": COST_SCHEMA,
    }
)
DECLARATION = describe_model_call(
    "Create a message",
    ResponseSpec(_MESSAGE, "The message, or its events with `stream: true`.", (JSON, EVENTS)),
    body=MessagesRequest,
    error_format="messages",
)
