"""The request body and the OpenAPI declaration of `/v1/responses`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from edge.call.requests import Flag, Temperature, TokenLimit, TopLogprobs, TopP
from edge.http.api_spec import (
    COST_SCHEMA,
    EVENTS,
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
from edge.http.tags import CallMetadata
from shared.core.errors import PurgeRunning

RESPONSE = response_schema(
    {"id": STRING, "object": enum("response"), "status": STRING, "output": array(OPEN_OBJECT), "yout": COST_SCHEMA}
)


class InputItem(Body):
    """An item of the conversation: a message, a tool call, its output, or another item of an earlier response."""

    type: Annotated[str | None, Meta(description="Default: `message`.")] = "message"


class ResponsesTool(Body):
    """A tool that the model may call."""

    type: Annotated[
        str | None,
        Meta(
            description="`function`, `custom`, `namespace`, `tool_search` with the execution `client`, `local_shell`, `shell`,"
            " or `apply_patch`."
        ),
    ] = None
    name: Annotated[str | None, Meta(description="Name of the tool, if its type has one.")] = None


class TextFormat(Body):
    """The format of the text, with its JSON schema for `json_schema`."""

    type: Annotated[Literal["text", "json_object", "json_schema"], Meta(description="Kind of format.")]


class TextOptions(Body):
    """Options of the text."""

    format: Annotated[TextFormat | None, Meta(description="Format of the text.")] = None
    verbosity: Annotated[str | None, Meta(description="`low`, `medium` or `high`, where supported.")] = None


class ReasoningOptions(Body):
    """Options of the reasoning."""

    effort: Annotated[str | None, Meta(description="How much to reason, such as `low`, `medium` or `high`.")] = None
    summary: Annotated[str | None, Meta(description="Echoed in the response.")] = None
    generate_summary: Annotated[str | None, Meta(description="Deprecated; use `summary`.")] = None
    context: Annotated[str | None, Meta(description="Echoed in the response.")] = None


class ResponsesRequest(Body):
    """A response in OpenAI's format. Other fields are forwarded to the provider."""

    EXAMPLE = {"model": "$model", "input": "Hello"}

    model: ModelId
    input: Annotated[
        str | Annotated[list[InputItem], Meta(min_length=1)],
        Meta(description="A user message, or the items of the conversation."),
    ]
    instructions: Annotated[str | None, Meta(description="A system message, before the input.")] = None
    stream: Annotated[Flag, Meta(description="Send the response as server-sent events.")] = None
    max_output_tokens: Annotated[TokenLimit | None, Meta(description="Maximum tokens of the response, including reasoning.")] = (
        None
    )
    temperature: Annotated[Temperature | None, Meta(description="Sampling temperature. Higher values are more random.")] = None
    top_p: Annotated[TopP | None, Meta(description="Sample only from the most likely tokens with this total probability.")] = None
    tools: Annotated[list[ResponsesTool] | None, Meta(description="Tools that the model may call.")] = None
    tool_choice: Annotated[
        str | Object | None, Meta(description="`auto`, `none`, `required`, or an object that names a tool.")
    ] = None
    parallel_tool_calls: Annotated[Flag, Meta(description="Whether the model may call several tools in one turn.")] = None
    max_tool_calls: Annotated[int | None, Meta(description="Maximum calls of tools that the provider executes.")] = None
    text: Annotated[TextOptions | None, Meta(description="Options of the text.")] = None
    reasoning: Annotated[ReasoningOptions | None, Meta(description="Options of the reasoning.")] = None
    include: Annotated[list[str] | None, Meta(description="`message.output_text.logprobs` adds log probabilities.")] = None
    top_logprobs: Annotated[TopLogprobs | None, Meta(description="Number of alternatives to return for each token.")] = None
    truncation: Annotated[
        Literal["auto", "disabled"] | None,
        Meta(description="`auto` leaves out the oldest messages of an input that exceeds the context window."),
    ] = None
    metadata: Annotated[CallMetadata | None, Meta(description="Echoed in the response.")] = None
    store: Annotated[Flag, Meta(description="Store the response, if your plan includes it.")] = None
    previous_response_id: Annotated[str | None, Meta(description="Id of a stored response to continue.")] = None


class CompactRequest(Body):
    """A conversation to compact. Other fields are those of a response."""

    EXAMPLE = {"model": "$model", "input": "Hello"}

    model: ModelId
    input: Annotated[
        str | Annotated[list[InputItem], Meta(min_length=1)] | None,
        Meta(description="The items of the conversation. Optional with `previous_response_id`."),
    ] = None
    instructions: Annotated[str | None, Meta(description="A system message, before the input.")] = None
    max_output_tokens: Annotated[TokenLimit | None, Meta(description="Maximum tokens of the summary.")] = None
    tools: Annotated[list[ResponsesTool] | None, Meta(description="The tools of the conversation.")] = None
    previous_response_id: Annotated[str | None, Meta(description="Id of a stored response to compact.")] = None


DECLARATION = describe_model_call(
    "Create a response",
    ResponseSpec(RESPONSE, "The response, or its events with `stream: true`.", (JSON, EVENTS)),
    more=(PurgeRunning,),
    body=ResponsesRequest,
    notes="Responses are stored only with `store: true`, if your plan includes it; `previous_response_id` continues a stored"
    " response. Otherwise send the earlier items in `input`.",
)
COMPACT_DECLARATION = describe_model_call(
    "Compact a conversation",
    ResponseSpec(
        response_schema({"id": STRING, "object": enum("response.compaction"), "output": array(OPEN_OBJECT), "yout": COST_SCHEMA}),
        "The input of later calls: the user's messages, and a `compaction` item with the model's summary of the rest.",
    ),
    more=(PurgeRunning,),
    body=CompactRequest,
    notes="The model writes the summary, and the call is charged like any other. Nothing is stored.",
)
