"""Tools that agents execute themselves, as Codex, Copilot and Cline send them: on every dialect, streamed and whole."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

import orjson
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from edge.call.exchange import Finished
from edge.v1.responses.request import ResponseRequest, parse
from edge.v1.responses.response_renderer import ResponseRenderer
from edge.v1.responses.tools import MAX_NAME_LENGTH, ToolSet
from shared.billing.token_usage import TokenUsage
from shared.core.errors import InvalidRequest
from shared.dialects import DIALECTS
from shared.dialects.base import UnsupportedField
from shared.ledger import Settled
from tests import anthropic_payloads as claude
from tests import gemini_payloads as gemini
from tests.openai_payloads import DONE, chunk, completion, finish, frames, role, usage
from tests.shared.dialects.calls import BEGAN, CALL_ID, target_of

Json = dict[str, Any]
CALL = UUID(int=7)
EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
PATCH = '*** Begin Patch\n+"é"\n*** End Patch\n'
SCHEMA: Json = {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"], "additionalProperties": False}
ADD: Json = {"type": "function", "name": "add", "description": "Adds.", "parameters": SCHEMA, "strict": False}
EXEC: Json = {"type": "custom", "name": "exec", "description": "Runs.", "format": {"type": "text"}}
GRAMMAR: Json = {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}
SEARCH: Json = {"type": "tool_search", "execution": "client", "description": "Searches.", "parameters": SCHEMA}


def namespace(name: str, *tools: Json, description: str = "") -> Json:
    return {"type": "namespace", "name": name, "description": description, "tools": list(tools)}


class Case(NamedTuple):
    """A tool of the caller, the function that the model sees with the arguments that it sends, and the caller's item."""

    tool: Json
    function: str
    arguments: Json
    item: Json


CASES = {
    "function": Case(ADD, "add", {"a": 1}, {"type": "function_call", "name": "add", "arguments": '{"a":1}'}),
    "namespace": Case(
        namespace("mcp__demo", ADD),
        "mcp__demo__add",
        {"a": 1},
        {"type": "function_call", "namespace": "mcp__demo", "name": "add", "arguments": '{"a":1}'},
    ),
    "custom": Case(
        {"type": "custom", "name": "apply_patch", "format": GRAMMAR},
        "apply_patch",
        {"input": PATCH},
        {"type": "custom_tool_call", "name": "apply_patch", "input": PATCH},
    ),
    "custom in a namespace": Case(
        namespace("functions", EXEC),
        "functions__exec",
        {"input": PATCH},
        {"type": "custom_tool_call", "namespace": "functions", "name": "exec", "input": PATCH},
    ),
    "tool_search": Case(
        SEARCH, "tool_search", {"a": 1}, {"type": "tool_search_call", "execution": "client", "arguments": {"a": 1}}
    ),
    "local_shell": Case(
        {"type": "local_shell"},
        "local_shell",
        {"command": ["ls", "-l"], "working_directory": "/x"},
        {"type": "local_shell_call", "action": {"type": "exec", "command": ["ls", "-l"], "env": {}, "working_directory": "/x"}},
    ),
    "shell": Case(
        {"type": "shell", "environment": {"type": "local"}},
        "shell",
        {"commands": ["ls"], "timeout_ms": 5},
        {"type": "shell_call", "action": {"commands": ["ls"], "timeout_ms": 5, "max_output_length": None}},
    ),
    "apply_patch": Case(
        {"type": "apply_patch"},
        "apply_patch",
        {"type": "create_file", "path": "a", "diff": "+x"},
        {"type": "apply_patch_call", "operation": {"type": "create_file", "path": "a", "diff": "+x"}},
    ),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_dialect = pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini"])


def request_of(**fields: Any) -> ResponseRequest:
    return parse(orjson.dumps({"model": "m", "input": "Go", **fields}))


def sent_to(dialect: str, request: ResponseRequest) -> Json:
    call = request.call.for_dialect(dialect)
    body: Json = orjson.loads(DIALECTS[dialect].build_request(call, target_of(dialect)).body)
    return body


def stream_of(dialect: str, name: str, arguments: Json) -> bytes:
    """A provider's stream with one call."""
    if dialect == "anthropic":
        return claude.wire(claude.message(claude.tool_use("c1", name, **arguments), stop="tool_use"))
    if dialect == "gemini":
        return gemini.wire(gemini.answer(gemini.call(name, **arguments)))
    text = orjson.dumps(arguments).decode()
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": name, "arguments": text[:3]}}
    rest = {"index": 0, "function": {"arguments": text[3:]}}
    return frames(role(), chunk(tool_calls=[first]), chunk(tool_calls=[rest]), finish("tool_calls"), usage()) + DONE


def whole_of(dialect: str, name: str, arguments: Json) -> Json:
    if dialect == "anthropic":
        return claude.message(claude.tool_use("c1", name, **arguments), stop="tool_use")
    if dialect == "gemini":
        return gemini.answer(gemini.call(name, **arguments))
    function = {"name": name, "arguments": orjson.dumps(arguments).decode()}
    return completion(None, finish="tool_calls", tool_calls=[{"id": "c1", "type": "function", "function": function}])


def events_of(dialect: str, request: ResponseRequest, data: bytes) -> list[Json]:
    """The events for a provider's stream; each is valid for OpenAI's SDK."""
    reader = DIALECTS[dialect].new_stream_reader(request.call, CALL_ID, BEGAN)
    renderer = ResponseRenderer(CALL, BEGAN, request)
    rendered = renderer.transform_chunks(reader.feed(data))
    if not reader.done and (rest := reader.close()):
        rendered += renderer.transform_chunks(rest)
    rendered += renderer.finish(Finished(reader.final_chunk(), reader.chunk_fields(), TokenUsage(7, 3), Settled(1, 2)))
    events = [orjson.loads(line[6:]) for line in rendered.split(b"\n") if line.startswith(b"data: ")]
    for event in events:
        EVENTS.validate_python(event)
    return events


def whole_response(dialect: str, request: ResponseRequest, body: Json) -> Json:
    answer = DIALECTS[dialect].parse_response(orjson.dumps(body), request.call, CALL_ID, BEGAN)
    response = ResponseRenderer(CALL, BEGAN, request).render_complete(Finished(answer.body, {}, TokenUsage(7, 3), Settled(1, 2)))
    Response.model_validate(response)
    return response


def _parsed(value: Any) -> Any:
    """JSON text as its value, because its spaces do not matter."""
    return orjson.loads(value) if isinstance(value, str) and value.startswith("{") else value


@each_case
@each_dialect
def test_a_call_comes_back_as_the_caller_sent_the_tool(dialect: str, case: Case) -> None:
    request = request_of(tools=[case.tool])
    assert case.function in orjson.dumps(sent_to(dialect, request)).decode()
    events = events_of(dialect, request, stream_of(dialect, case.function, case.arguments))
    [done] = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    [whole] = whole_response(dialect, request, whole_of(dialect, case.function, case.arguments))["output"]
    for item in (done, whole):
        assert {name: _parsed(item[name]) for name in case.item} == {name: _parsed(value) for name, value in case.item.items()}
        assert item["call_id"]
        assert item["status"] == "completed"
        assert ("namespace" in item) is ("namespace" in case.item)
    assert events[-1]["response"]["output"] == [done]


@each_dialect
def test_the_input_of_a_custom_tool_is_streamed(dialect: str) -> None:
    case = CASES["custom in a namespace"]
    events = events_of(dialect, request_of(tools=[case.tool]), stream_of(dialect, case.function, case.arguments))
    deltas = [event["delta"] for event in events if event["type"] == "response.custom_tool_call_input.delta"]
    [done] = [event["input"] for event in events if event["type"] == "response.custom_tool_call_input.done"]
    assert "".join(deltas) == done == PATCH
    [added] = [event["item"] for event in events if event["type"] == "response.output_item.added"]
    assert (added["name"], added["namespace"], added["input"]) == ("exec", "functions", "")


OUTPUTS: dict[str, tuple[Json, str]] = {
    "function": ({"type": "function_call_output", "output": "3"}, "3"),
    "namespace": ({"type": "function_call_output", "output": [{"type": "input_text", "text": "3"}]}, "3"),
    "custom": ({"type": "custom_tool_call_output", "output": "Done"}, "Done"),
    "custom in a namespace": ({"type": "custom_tool_call_output", "output": [{"type": "input_text", "text": "Done"}]}, "Done"),
    "tool_search": ({"type": "tool_search_output", "execution": "client", "status": "completed", "tools": []}, "No tools found."),
    "local_shell": ({"type": "local_shell_call_output", "output": "file"}, "file"),
    "shell": ({"type": "shell_call_output", "output": [{"stdout": "file"}]}, '[{"stdout":"file"}]'),
    "apply_patch": ({"type": "apply_patch_call_output", "status": "failed", "output": "No such file"}, "failed\nNo such file"),
}


def call_in_history(dialect: str, body: Json) -> tuple[str, Json, Any]:
    """Name, arguments and result of the only call in a provider's request."""
    if dialect == "gemini":
        [call, result] = [part for turn in body["contents"] for part in turn["parts"] if "text" not in part]
        response = result["functionResponse"]["response"]
        return call["functionCall"]["name"], call["functionCall"]["args"], response.get("result", response)
    assistant, last = body["messages"][-2:]
    if dialect == "anthropic":
        [use], [result] = assistant["content"], last["content"]
        return use["name"], use["input"], "".join(part["text"] for part in result["content"])
    [call] = assistant["tool_calls"]
    return call["function"]["name"], orjson.loads(call["function"]["arguments"]), last["content"]


@pytest.mark.parametrize("name", CASES)
@each_dialect
def test_calls_and_their_outputs_are_sent_with_the_history(dialect: str, name: str) -> None:
    case, (output, text) = CASES[name], OUTPUTS[name]
    items = [{"role": "user", "content": "Go"}, {"call_id": "c1", **case.item}, {"call_id": "c1", **output}]
    sent, arguments, result = call_in_history(dialect, sent_to(dialect, request_of(tools=[case.tool], input=items)))
    assert (sent, arguments) == (case.function, case.arguments)
    assert result == text or (dialect == "gemini" and result == orjson.loads(text))  # Gemini gets JSON as an object


def test_local_shell_outputs_may_have_the_calls_id_as_id() -> None:
    items = [{"call_id": "c1", **CASES["local_shell"].item}, {"type": "local_shell_call_output", "id": "c1", "output": "x"}]
    assert request_of(input=items).call.body["messages"][-1] == {"role": "tool", "tool_call_id": "c1", "content": "x"}


@each_dialect
def test_a_call_with_several_outputs_has_one_result(dialect: str) -> None:
    """Codex sends an output for each `notify()` of a script, also while a later call waits for the script."""
    output = {"type": "custom_tool_call_output", "call_id": "call_1"}
    items = [
        {"role": "user", "content": "Go"},
        {"type": "custom_tool_call", "call_id": "call_1", "name": "exec", "input": "notify('a')"},
        {**output, "output": "Running"},
        {**output, "output": [{"type": "input_text", "text": "Half"}]},
        {"type": "function_call", "call_id": "call_2", "name": "wait", "arguments": "{}"},
        {**output, "output": "Almost"},
        {"type": "function_call_output", "call_id": "call_2", "output": "Done"},
    ]
    tools = [{"type": "custom", "name": "exec"}, {"type": "function", "name": "wait"}]
    assert results_in(dialect, sent_to(dialect, request_of(tools=tools, input=items))) == ["Running\nHalf\nAlmost", "Done"]


@each_dialect
def test_outputs_of_calls_with_the_same_id_stay_apart(dialect: str) -> None:
    call = {"type": "function_call", "call_id": "call_0", "name": "wait", "arguments": "{}"}
    items = [call, {**call, "type": "function_call_output", "output": "1"}, call]
    items = [{"role": "user", "content": "Go"}, *items, {**call, "type": "function_call_output", "output": "2"}]
    body = sent_to(dialect, request_of(tools=[{"type": "function", "name": "wait"}], input=items))
    assert results_in(dialect, body) == ["1", "2"]


def results_in(dialect: str, body: Json) -> list[str]:
    """The texts of all tool results in a provider's request."""
    if dialect == "gemini":
        parts = [
            part["functionResponse"]["response"]
            for turn in body["contents"]
            for part in turn["parts"]
            if "functionResponse" in part
        ]
        return [str(response.get("result", response)) for response in parts]
    if dialect == "openai":
        return [message["content"] for message in body["messages"] if message["role"] == "tool"]
    blocks = [block for message in body["messages"] for block in message["content"] if block["type"] == "tool_result"]
    return ["".join(part["text"] for part in block["content"]) for block in blocks]


def test_tools_can_come_as_an_item() -> None:
    tools = {"type": "additional_tools", "role": "developer", "tools": [namespace("functions", EXEC)]}
    request = request_of(input=[tools, {"role": "user", "content": "Go"}], parallel_tool_calls=False)
    assert [tool["custom"]["name"] for tool in request.call.body["tools"]] == ["functions__exec"]
    assert request.call.body["parallel_tool_calls"] is False
    assert request.call.body["messages"] == [{"role": "user", "content": "Go"}]


FOUND: list[Json] = [
    {"role": "user", "content": "Add"},
    {"type": "tool_search_call", "call_id": "c1", "execution": "client", "arguments": {"query": "add"}},
    {
        "type": "tool_search_output",
        "call_id": "c1",
        "execution": "client",
        "status": "completed",
        "tools": [namespace("mcp__demo", {**ADD, "defer_loading": True})],
    },
]


@each_dialect
def test_tools_that_a_search_found_can_be_called(dialect: str) -> None:
    hidden = {**ADD, "name": "hidden", "defer_loading": True}
    request = request_of(tools=[SEARCH, hidden], input=FOUND)
    body = sent_to(dialect, request)
    if dialect == "anthropic":
        assert [(tool["name"], tool.get("defer_loading")) for tool in body["tools"]] == [
            ("tool_search", None),
            ("hidden", True),
            ("mcp__demo__add", True),
        ]
        reference = {"type": "tool_reference", "tool_name": "mcp__demo__add"}
        assert body["messages"][-1]["content"][0]["content"] == [reference]
    else:
        assert "hidden" not in str(body)
        assert "These tools are now available: mcp__demo__add." in str(body)
    [item] = whole_response(dialect, request, whole_of(dialect, "mcp__demo__add", {"a": 1}))["output"]
    assert (item["namespace"], item["name"]) == ("mcp__demo", "add")


@pytest.mark.parametrize("tools", [[], [{"type": "tool_search"}]], ids=["none", "hosted"])
def test_without_a_search_by_the_caller_no_tool_is_deferred(tools: list[Json]) -> None:
    request = request_of(tools=[*tools, namespace("n", {**ADD, "defer_loading": True})])
    assert [tool["function"]["name"] for tool in request.call.body["tools"]] == ["n__add"]
    assert not any("defer_loading" in tool for tool in request.call.body["tools"])


def test_names_are_unique_and_fit_every_provider() -> None:
    tools = ToolSet()
    long = "x" * 80
    members = [{"type": "function", "name": name} for name in ("add", long, f"{long}y", "a.b", "a_b")]
    names = tools.add([{"type": "function", "name": "n__add"}, namespace("n", *members), namespace("1", *members[:1])], "tools")
    assert len(set(names)) == len(names) == 7
    assert all(len(name) <= MAX_NAME_LENGTH and (name[0].isalpha() or name[0] == "_") for name in names)
    assert [tools.client_tool(name).name for name in names] == ["n__add", "add", long, f"{long}y", "a.b", "a_b", "add"]
    assert tools.client_tool("invented").name == "invented"


def test_the_description_of_a_namespace_reaches_the_model() -> None:
    request = request_of(tools=[namespace("n", ADD, {**ADD, "name": "sub"}, description="Numbers.")])
    assert [tool["function"]["description"] for tool in request.call.body["tools"]] == ["Numbers.\n\nAdds.", "Adds."]


def test_text_that_the_edge_adds_is_part_of_the_bound() -> None:
    for fields in ({"tools": [{"type": kind} for kind in ("local_shell", "shell", "apply_patch")]}, {"tools": []}):
        for items in ([{"role": "user", "content": "Go"}], [{"role": "user", "content": "Go"}, {"type": "compaction_trigger"}]):
            call = parse(orjson.dumps({"model": "m", "input": items, **fields})).call
            assert call.input_bound >= len(orjson.dumps(call.body))


HOSTED: list[Json] = [{"type": kind} for kind in ("web_search", "web_search_preview_2025_03_11", "image_generation")]
HOSTED.append({"type": "code_interpreter", "container": {"type": "auto"}})
HOSTED.append({"type": "shell", "environment": {"type": "container_auto"}})


def test_tools_that_a_provider_executes_are_left_out_with_a_note() -> None:
    request = request_of(tools=[*HOSTED, ADD], tool_choice="auto", include=["web_search_call.action.sources"])
    assert [tool["function"]["name"] for tool in request.call.body["tools"]] == ["add"]
    response = whole_response("openai", request, completion("Hi"))
    left_out = ["web_search", "web_search_preview", "image_generation", "code_interpreter", "shell"]
    assert response["yout"]["ignored_tools"] == left_out
    assert request.call.responses_body is not None
    assert request.call.responses_body()["tools"] == [*HOSTED[:-1], ADD], "the price decides; shells in containers are left out"


@pytest.mark.parametrize(
    "choice",
    [
        *({"type": tool["type"]} for tool in HOSTED),
        {"type": "allowed_tools", "mode": "required", "tools": [{"type": "image_generation"}]},
        {"type": "file_search"},
    ],
)
def test_a_choice_that_requires_a_tool_that_is_left_out_is_an_error(choice: Json) -> None:
    with pytest.raises(InvalidRequest, match="not available") as refused:
        request_of(tools=[*HOSTED, ADD], tool_choice=choice)
    assert refused.value.param == "tool_choice"


@pytest.mark.parametrize(
    ("choice", "expected", "names"),
    [
        ({"type": "function", "name": "add"}, {"type": "function", "function": {"name": "add"}}, 4),
        ({"type": "function", "namespace": "n", "name": "add"}, {"type": "function", "function": {"name": "n__add"}}, 4),
        ({"type": "custom", "name": "exec"}, {"type": "custom", "custom": {"name": "exec"}}, 4),
        ({"type": "shell"}, {"type": "function", "function": {"name": "shell"}}, 4),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "namespace", "name": "n"}]}, "required", 1),
        ({"type": "allowed_tools", "tools": [{"type": "custom", "name": "exec"}, {"type": "shell"}]}, "auto", 2),
        ("required", "required", 4),
    ],
)
def test_choices_name_tools_of_every_kind(choice: Any, expected: Any, names: int) -> None:
    body = request_of(tools=[ADD, namespace("n", ADD), EXEC, {"type": "shell"}], tool_choice=choice).call.body
    assert (body["tool_choice"], len(body["tools"])) == (expected, names)


def test_an_error_about_a_tool_names_the_callers_path() -> None:
    recursive = {**ADD, "name": "sub", "strict": True, "parameters": {"type": "object", "properties": {"a": {"$ref": "#"}}}}
    request = request_of(tools=[{"type": "web_search"}, namespace("n", ADD, recursive)])
    with pytest.raises(UnsupportedField) as refused:
        sent_to("anthropic", request)
    assert refused.value.named(request.call.field_name).param.startswith("tools[1].tools[1].parameters")


METADATA = {"x-codex-turn-metadata": '{"installation_id":"secret","workspaces":{"/home/ada":{}}}'}


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini", "responses"])
def test_ids_of_the_installation_are_not_sent_to_providers(dialect: str) -> None:
    fields = {"client_metadata": METADATA, "reasoning": {"effort": "low", "context": "all_turns"}, "text": {"verbosity": "low"}}
    request = request_of(**fields, store=False, include=["reasoning.encrypted_content"], truncation="auto")
    assert "secret" not in str(sent_to(dialect, request))
    assert ResponseRenderer(CALL, BEGAN, request).render_complete(
        Finished(completion("Hi"), {}, TokenUsage(7, 3), Settled(1, 2))
    )["reasoning"] == {"effort": "low", "summary": None, "context": "all_turns"}


def test_messages_between_agents_and_searches_of_other_providers_are_accepted() -> None:
    items = [
        {"role": "user", "content": "Go"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}},
        {"type": "agent_message", "author": "/root", "recipient": "/root/a", "content": [{"type": "input_text", "text": "Help"}]},
        {"type": "agent_message", "author": "a", "recipient": "b", "content": [{"type": "encrypted_content"}]},
        agent_message("gAAAAABqR-x_9w=="),
        agent_message("Say hello."),
    ]
    texts = [message["content"] for message in request_of(input=items).call.body["messages"]]
    start = "Message from /root to /root/kid:\nNEW_TASK"
    assert texts == ["Go", "Message from /root to /root/a:\nHelp", start, f"{start}\nSay hello."]


def agent_message(task: str) -> Json:
    """A task as Codex sends it. It marks the task as encrypted for every model."""
    content = [{"type": "input_text", "text": "NEW_TASK"}, {"type": "encrypted_content", "encrypted_content": task}]
    return {"type": "agent_message", "author": "/root", "recipient": "/root/kid", "content": content}
