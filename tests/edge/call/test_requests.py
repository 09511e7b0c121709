"""Requests that cannot be served get a clear 4xx, never a 500."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import closing
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.call import requests
from edge.call.candidates import quote_call
from edge.call.expected_hold import prompt_pieces
from edge.http import json_body
from edge.http.client_library_options import CLIENT_OPTIONS
from edge.http.multipart import read_form
from shared.billing.image_tokens import IMAGE_TOKENS
from shared.billing.rates import PriceList
from shared.catalog.snapshot import CatalogModel, Route
from shared.core.errors import InvalidRequest
from shared.dialects import DIALECTS
from shared.models import DIALECTS as CHANNEL_DIALECTS
from shared.text.json_depth import is_too_deep
from tests.edge.shared_edge import Reply, Sandbox, read
from tests.shared.dialects.calls import target_of
from tests.upstream_responses import WAIT_SECONDS

HI = [{"role": "user", "content": "Hi"}]


ROLES = ["system", "developer", "user", "assistant", "tool", "function"]


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": HI, **fields}


# Field by field


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"messages": HI}, "model"),
    *((chat(model=value), "model") for value in (None, "", 1, [], {}, "x" * 201)),
    ({"model": "m"}, "messages"),
    *((chat(messages=value), "messages") for value in (None, [], {}, "Hi", 1)),
    *((chat(messages=[value]), "messages[0]") for value in (None, "Hi", [], 1)),
    *((chat(messages=[{"role": value, "content": "x"}]), "messages[0].role") for value in (None, "boss", 1, [], {})),
    (chat(messages=[{"content": "x"}]), "messages[0].role"),
    (chat(messages=[*HI, {"role": "user"}]), "messages[1].content"),
    *((chat(messages=[{"role": "user", "content": value}]), "messages[0].content") for value in (None, 1, {}, True)),
    *((chat(messages=[{"role": "user", "content": [value]}]), "messages[0].content[0]") for value in (None, "x", 1)),
    *((chat(messages=[{"role": "user", "content": [value]}]), "messages[0].content[0].type") for value in ({}, {"type": 1})),
    (chat(messages=[{"role": "user", "content": [{"type": "text", "text": 1}]}]), "messages[0].content[0].text"),
    (chat(messages=[{"role": "user", "content": [{"type": "text"}]}]), "messages[0].content[0].text"),
    *((chat(messages=[{"role": "assistant", "tool_calls": value}]), "messages[0].tool_calls") for value in (1, "x", {}, [1])),
    *((chat(temperature=value), "temperature") for value in ("1", -0.1, 2.1, True, [], 10**30)),
    *((chat(top_p=value), "top_p") for value in ("1", -1, 1.5, False)),
    *((chat(presence_penalty=value), "presence_penalty") for value in (-3, 3, "x")),
    *((chat(frequency_penalty=value), "frequency_penalty") for value in (-3, 3, {})),
    *((chat(n=value), "n") for value in (0, -1, 129, 1.0, "2", True, 10**30)),
    *((chat(max_tokens=value), "max_tokens") for value in (0, -5, 1.5, "9", True, 10**9, 10**30)),
    *((chat(max_completion_tokens=value), "max_completion_tokens") for value in (0, -5, 1.5, [], 10**30)),
    *((chat(seed=value), "seed") for value in (1.5, "x", 10**30)),
    *((chat(top_logprobs=value), "top_logprobs") for value in (-1, 21, "x")),
    *((chat(logprobs=value), "logprobs") for value in (1, "true", [])),
    *((chat(stream=value), "stream") for value in (1, "true", [], {})),
    *((chat(store=value), "store") for value in (1, "true")),
    *((chat(parallel_tool_calls=value), "parallel_tool_calls") for value in (1, "true", {})),
    *((chat(stop=value), "stop") for value in (1, {}, [1], ["x"] * 17, [None])),
    *((chat(tools=value), "tools") for value in (1, {}, "x", [1], [None])),
    *((chat(functions=value), "functions") for value in (1, {}, ["x"])),
    *((chat(tool_choice=value), "tool_choice") for value in (1, [], True)),
    *((chat(response_format=value), "response_format") for value in (1, "json", [])),
    *((chat(logit_bias=value), "logit_bias") for value in (1, "x", [])),
    *((chat(metadata=value), "metadata") for value in (1, "x", [])),
    *((chat(user=value), "user") for value in (1, {}, [])),
    *((chat(safety_identifier=value), "safety_identifier") for value in (1, {}, [])),
    *((chat(modalities=value), "modalities") for value in (1, "text", [1])),
    *((chat(reasoning_effort=value), "reasoning_effort") for value in (1, {}, [])),
    *((chat(stream=True, stream_options=value), "stream_options") for value in (1, "x", [])),
    (chat(stream_options={"include_usage": True}), "stream_options"),
    (chat(stream=False, stream_options={"include_usage": True}), "stream_options"),
    (chat(stream=True, stream_options={"include_usage": 1}), "stream_options.include_usage"),
]


OPTIONS = sorted({*CLIENT_OPTIONS, "aws_secret_access_key", "vertex_credentials", "azure_ad_token", "mock_response", "litellm_x"})
FORM = "multipart/form-data; boundary=b"


def form_of(name: str) -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\nx\r\n--b--\r\n'.encode()


@pytest.mark.parametrize("name", OPTIONS)
def test_client_library_options_are_rejected_and_nulls_dropped(name: str) -> None:
    for value in ("x", 1, {"a": 1}, False):
        with pytest.raises(InvalidRequest, match="client library") as refused:
            json_body.parse_json_object(json.dumps(chat(**{name: value})).encode())
        assert refused.value.param == name
    for field in (name, f"{name}[a]"):
        with pytest.raises(InvalidRequest) as refused:
            read_form(form_of(field), FORM)
        assert refused.value.param == name
    assert json_body.parse_json_object(json.dumps(chat(**{name: None})).encode()) == chat()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat/completions", chat()),
        ("completions", {"model": "m", "prompt": "Hi"}),
        ("responses", {"model": "m", "input": "Hi"}),
        ("messages", chat(max_tokens=9)),
        ("messages/count_tokens", chat()),
        ("embeddings", {"model": "m", "input": "Hi"}),
        ("moderations", {"input": "Hi"}),
        ("rerank", {"query": "Hi", "documents": ["Hello"]}),
        ("images/generations", {"model": "m", "prompt": "Hi"}),
        ("images/edits", {"model": "m", "prompt": "Hi", "images": [{"image_url": "data:image/png;base64,AAAA"}]}),
        ("audio/speech", {"model": "m", "input": "Hi", "voice": "alloy"}),
        ("videos", {"model": "m", "prompt": "Hi"}),
    ],
)
def test_no_endpoint_forwards_client_library_options(sandbox: Sandbox, path: str, body: dict[str, Any]) -> None:
    data = json.dumps({**body, "model": sandbox.model, "api_base": "http://127.0.0.1:1/"}).encode()
    answer = sandbox.post(data, {"content-type": "application/json"}, f"/v1/{path}")
    assert (answer.status, "'api_base' is a client library option" in answer.json["error"]["message"]) == (400, True)
    assert sandbox.provider.calls == []


@pytest.mark.parametrize(("body", "param"), WRONG, ids=lambda value: value if isinstance(value, str) else json.dumps(value)[:60])
def test_an_invalid_field_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        requests.parse_chat_request(json.dumps(body).encode())
    assert caught.value.param == param
    assert str(caught.value).startswith(f"'{param.split('[')[0]}")


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "assistant", "content": None, "tool_calls": None}, *HI]},
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "x"}]}, *HI]},
        {"messages": [{"role": "user", "content": ""}]},
        {"messages": [{"role": "user", "content": []}]},
        {"messages": [{"role": "user", "content": [{"type": "new_kind", "new_kind": {"a": 1}}]}]},
        {"temperature": 0, "top_p": 1, "n": 128, "seed": -(2**63), "max_tokens": 1},
        {"stop": "x"},
        {"stop": []},
        {"tools": []},
        {"tool_choice": "required"},
        {"stream": True, "stream_options": None},
        {"stream": False, "stream_options": None},
        {"stream": True, "stream_options": {}},
        {"top_k": -1, "unheard_of": [None]},
    ],
)
def test_common_fields_are_accepted(fields: dict[str, Any]) -> None:
    body = chat(**fields)
    assert requests.parse_chat_request(json.dumps(body).encode()).body == body


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_sources_of_copilots_messages_are_dropped(dialect: str) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "edit", "arguments": "{}"}}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "Updated."}
    source = {"kind": "tool", "name": "edit", "summary": "edit the file at /home/me/a.txt."}
    messages = [*HI, {"role": "assistant", "content": None, "tool_calls": [call]}, {**result, "__copilotMessageSource": source}]
    parsed = requests.parse_chat_request(json.dumps(chat(messages=messages, max_tokens=9)).encode())
    assert parsed.body["messages"][2] == result
    assert b"/home/me" not in DIALECTS[dialect].build_request(parsed, target_of(dialect)).body


def test_the_smaller_output_limit_applies() -> None:
    assert requests.parse_chat_request(json.dumps(chat(max_tokens=9, max_completion_tokens=5)).encode()).output_limit == 5


def test_the_bound_counts_text_bytes_and_a_fixed_cost_per_image() -> None:
    text = requests.parse_chat_request(json.dumps(chat(messages=[{"role": "user", "content": "x" * 1_000}])).encode())
    assert 1_000 <= text.input_bound < 1_200
    assert 250 <= text.input_estimate < 300
    url = {"url": "data:image/png;base64," + "A" * 1_000_000}
    image = requests.parse_chat_request(
        json.dumps(chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": url}]}])).encode()
    )
    assert 3_000 <= image.input_bound < 3_300
    assert image.images == 1


PNG, AUDIO = "data:image/png;base64," + "A" * 1_000, {"data": "A" * 100_000, "format": "mp3"}


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ([{"type": "text", "text": "Hi"}], (0, 0, 0)),
        ([{"type": "image_url", "image_url": {"url": PNG}}] * 2, (2_000, 0, 0)),
        ([{"type": "input_audio", "input_audio": AUDIO}], (0, 101, 0)),
        ([{"type": "file", "file": {"file_data": "A" * 100_000}}], (0, 0, 2_000)),
        ([{"type": "file", "file": {"url": "https://a/b.pdf"}}], (0, 0, 1_000)),
        ([{"type": "video_url", "video_url": {"url": "A" * 1_000_000}}], (0, 0, 2_500)),
    ],
)
def test_the_estimate_of_parts_that_are_not_text_is_below_their_bound(
    parts: list[dict[str, Any]], found: tuple[int, int, int]
) -> None:
    body = chat(messages=[{"role": "user", "content": parts}, {"role": "assistant"}])
    estimated = requests.estimate_non_text(body, IMAGE_TOKENS)
    assert estimated == found
    assert estimated.total <= requests.max_non_text_tokens(body)


@pytest.mark.parametrize(
    ("upstream_model", "settings", "tokens"),
    [
        ("gpt-4o", {}, 3_000),
        ("gpt-4o-mini", {}, 48_169),
        ("gpt-4o-mini", {"image_tokens": {"gpt-4o-mini": 9_000}}, 9_000),
        ("deployment-1", {"image_tokens": 20_000}, 20_000),
        ("gpt-5.6", {}, 1_000_000 + IMAGE_TOKENS),  # an image of unknown size
        ("gpt-5.6", {"image_tokens": 20_000}, 20_000),
    ],
)
def test_the_hold_covers_the_images_of_the_models_family(upstream_model: str, settings: dict[str, Any], tokens: int) -> None:
    text = {"type": "text", "text": "Hi"}
    image = {"type": "image_url", "image_url": {"url": PNG}}
    price = PriceList(UUID(int=1), 0, 1_000, 1_000, None, 0, 0)
    route = Route(UUID(int=1), UUID(int=2), "c", "openai", "https://a.example", "", settings, upstream_model, 0, 1)
    model = CatalogModel("m", "chat", "o", "", None, 100, "text->text", (), False, 0, prices=(price,), routes=(route,))
    bounds = []
    for parts in ([text], [text, image]):
        body = chat(messages=[{"role": "user", "content": parts}])
        bounds.append(quote_call(model, requests.build_chat_call(body, len(json.dumps(body))), None).input_bound)
    assert tokens <= bounds[1] - bounds[0] < tokens + 200


def test_the_text_of_all_kinds_of_parts_is_counted() -> None:
    parts = [
        {"type": "text", "text": "a"},
        {"type": "input_text", "text": "b"},
        {"type": "output_text", "text": "c"},
        {"type": "refusal", "refusal": "d"},
        {"type": "thinking", "thinking": "e"},
        {"type": "image_url", "image_url": {"url": PNG}},
    ]
    assert list(prompt_pieces({"messages": [{"role": "user", "content": parts}]})) == ["a", "b", "c", "d", "e"]


# Any body at all

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = sorted({name for body, _ in WRONG for name in body} | {"unheard_of"})
PARTS = st.fixed_dictionaries(
    {}, optional={"type": st.sampled_from(["text", "image_url", "file", "x"]) | JSON, "text": JSON, "image_url": JSON}
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={"role": st.sampled_from(ROLES) | JSON, "content": JSON | st.lists(PARTS), "tool_calls": JSON},
    )
    | JSON,
    max_size=3,
)
BODIES = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4).flatmap(
    lambda rest: st.fixed_dictionaries({"model": st.just("m") | JSON, "messages": MESSAGES | JSON}).map(
        lambda body: {**rest, **body}
    )
)


@given(BODIES)
@settings(max_examples=150, deadline=None)
def test_any_json_is_a_call_or_a_named_error(body: dict[str, Any]) -> None:
    try:
        call = requests.parse_chat_request(json.dumps(body).encode("utf-8", "surrogatepass"))
    except InvalidRequest as error:
        assert error.code == "invalid_request"  # noqa: PT017
        return
    assert isinstance(requests.prompt_text(call.body), str)
    assert call.input_bound >= 0


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_rejected_with_400(data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        requests.parse_chat_request(data)


@given(BODIES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_never_gets_a_500(sandbox: Sandbox, body: dict[str, Any]) -> None:
    answer = sandbox.post(json.dumps({**body, "model": sandbox.model} if body.get("model") == "m" else body).encode())
    assert answer.status in (200, 400)


@pytest.mark.parametrize("depth", [10, 200, 260, 1_000, 1_100, 100_000])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_deep_nesting_is_forwarded_or_rejected(sandbox: Sandbox, depth: int, opening: str) -> None:
    closing_bracket = "]" if opening == "[" else "}"
    deep = f"{opening * depth}1{closing_bracket * depth}"
    answer = sandbox.post(json.dumps(sandbox.body())[:-1].encode() + f', "chat_template_kwargs": {deep}}}'.encode())
    if depth <= 200:
        assert answer.status == 200
    else:
        assert_error(answer, 400, "invalid_request")


def test_only_nesting_that_orjson_cannot_write_is_too_deep() -> None:
    wide = json.dumps([[]] * 5_000).encode()
    assert not is_too_deep(wide, json.loads(wide))
    deep = b"[" * 254 + b"]" * 254
    assert is_too_deep(deep, json.loads(deep))
    mixed = b'[{"a":' * 127 + b"1" + b"}]" * 127
    assert is_too_deep(mixed, json.loads(mixed))
    objects = b'{"a":' * 254 + b"1" + b"}" * 254
    assert is_too_deep(objects, json.loads(objects))


# Bodies that are not a JSON object


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"{'model': 'm'}",
        b'{"model": "m",}',
        b'{"model": NaN}',
        b'{"model": "m", "temperature": Infinity}',
        b"\xff\xfe{}",
        b'{"model": "\xff"}',
        b'{"model": "\\ud800"}',
        b"[]",
        b"null",
        b"3",
        b'"text"',
        b"model=m&messages=",
        b"\x00" * 100,
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=lambda data: repr(data[:20]),
)
def test_a_body_must_be_an_object(sandbox: Sandbox, data: bytes) -> None:
    answer = sandbox.post(data)
    assert_error(answer, 400, "invalid_request")


def test_a_byte_order_mark_is_ignored(sandbox: Sandbox) -> None:
    body = json.dumps(sandbox.body())
    assert sandbox.post(b"\xef\xbb\xbf" + body.encode()).status == 200
    twice = sandbox.post(b"\xef\xbb\xbf\xef\xbb\xbf")
    assert_error(twice, 400, "invalid_request")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_a_body_in_another_encoding_is_refused_by_name(sandbox: Sandbox, encoding: str) -> None:
    answer = sandbox.post(json.dumps(sandbox.body()).encode(encoding))
    assert_error(answer, 400, "invalid_request")
    assert "Send JSON as UTF-8" in answer.error["message"]


def assert_error(answer: Reply, status: int, code: str) -> None:
    """Asserts the error format, and the request id for support."""
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    assert set(answer.error) == {"message", "type", "param", "code"}
    assert answer.error["code"] == code
    assert answer.error["message"]


# Headers


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Basic eW91dA==", "yout-x", "Bearer yout-\xf6\xdf", "Bearer a b", "Bearer " + "x" * 5_000],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models"])
def test_a_header_without_a_key(sandbox: Sandbox, authorization: str, path: str) -> None:
    method, data = ("POST", json.dumps(sandbox.body()).encode()) if "chat" in path else ("GET", None)
    assert_error(sandbox.request(method, path, data, {"authorization": authorization}), 401, "invalid_api_key")


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
def test_the_scheme_is_case_insensitive(sandbox: Sandbox, scheme: str) -> None:
    assert sandbox.chat({"authorization": f"{scheme} {sandbox.secret}"}).status == 200
    assert sandbox.get("/v1/models", {"authorization": f"{scheme} {sandbox.secret}"}).status == 200


def test_a_key_may_be_sent_as_x_api_key(sandbox: Sandbox) -> None:
    headers = {"authorization": "", "x-api-key": sandbox.secret}
    assert sandbox.chat(headers).status == 200
    assert sandbox.get("/v1/models", headers).status == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/models", "/api/chat/models/", "/api/chat/keys/"])
def test_two_keys_in_one_request_are_refused(sandbox: Sandbox, path: str) -> None:
    """A proxy might read a different key than this server does."""
    method = "POST" if path in ("/v1/chat/completions", "/v1/messages") else "GET"
    bearer = f"authorization: Bearer {sandbox.secret}"
    for lines in ((bearer, bearer), (bearer, "authorization: Bearer yout-other"), (bearer, "x-api-key: yout-other")):
        start = (f"{method} {path} HTTP/1.1", "host: x", "connection: close", "content-length: 0", *lines)
        answer = raw(sandbox, ("\r\n".join(start) + "\r\n\r\n").encode())
        assert answer.status == 400, (lines, answer)
        assert "Send" in answer.json["error"]["message"]


def test_the_same_key_in_two_headers_is_accepted(sandbox: Sandbox) -> None:
    assert sandbox.chat({"x-api-key": sandbox.secret}).status == 200
    assert sandbox.get("/v1/models", {"x-api-key": sandbox.secret}).status == 200


@pytest.mark.parametrize("name", ["idempotency-key", "x-yout-max-credits"])
def test_a_duplicated_singleton_header_is_rejected(sandbox: Sandbox, name: str) -> None:
    answer = raw(sandbox, head(sandbox, f"{name}: 5", f"{name}: 500", "content-length: 0"))
    assert_error(answer, 400, "invalid_request")
    assert answer.error["param"] == name


@pytest.mark.parametrize("cap", ["", "-1", "1.5", "all", "9" * 16])
def test_a_cap_must_be_a_number(sandbox: Sandbox, cap: str) -> None:
    answer = sandbox.chat({"x-yout-max-credits": cap})
    assert_error(answer, 400, "invalid_request")
    assert answer.error["param"] == "x-yout-max-credits"


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_an_idempotency_key_of_the_wrong_length(sandbox: Sandbox, key: str) -> None:
    answer = sandbox.chat({"idempotency-key": key})
    assert_error(answer, 400, "invalid_request")
    assert answer.error["param"] == "Idempotency-Key"


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "nonsense", "application/json; charset=x"]
)
def test_the_content_type_is_ignored(sandbox: Sandbox, content_type: str) -> None:
    assert sandbox.chat({"content-type": content_type}).status == 200


# HTTP framing


def raw(sandbox: Sandbox, data: bytes) -> Reply:
    """Send raw bytes and read one response."""
    with closing(socket.create_connection(("127.0.0.1", sandbox.edge.port), timeout=WAIT_SECONDS)) as connection:
        connection.sendall(data)
        response = http.client.HTTPResponse(connection)
        with closing(response):
            response.begin()
            return read(response)


def head(sandbox: Sandbox, *lines: str) -> bytes:
    start = (
        "POST /v1/chat/completions HTTP/1.1",
        "host: x",
        f"authorization: Bearer {sandbox.secret}",
        "connection: close",
        *lines,
    )
    return ("\r\n".join(start) + "\r\n\r\n").encode()


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "+5", "99999999999999999999"])
def test_an_invalid_content_length(sandbox: Sandbox, length: str) -> None:
    answer = raw(sandbox, head(sandbox, f"content-length: {length}") + json.dumps(sandbox.body()).encode())
    assert answer.status in (400, 413)
    assert answer.error["message"]
    assert "x-request-id" in answer.headers


def test_a_body_shorter_than_announced_costs_nothing(sandbox: Sandbox) -> None:
    with closing(socket.create_connection(("127.0.0.1", sandbox.edge.port), timeout=WAIT_SECONDS)) as connection:
        connection.sendall(head(sandbox, "content-length: 5000") + json.dumps(sandbox.body()).encode())
    assert sandbox.chat().status == 200
    assert len(sandbox.provider.calls) == 1


def test_a_body_longer_than_content_length_is_cut(sandbox: Sandbox) -> None:
    data = json.dumps(sandbox.body()).encode()
    answer = raw(sandbox, head(sandbox, f"content-length: {len(data)}") + data + b"GET /x")
    assert answer.status == 200


def test_a_chunked_body(sandbox: Sandbox) -> None:
    data = json.dumps(sandbox.body()).encode()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (data[:7], data[7:])) + b"0\r\n\r\n"
    assert raw(sandbox, head(sandbox, "transfer-encoding: chunked") + chunks).status == 200


def test_a_body_with_too_large_content_length_is_rejected_unread(sandbox: Sandbox) -> None:
    assert_error(raw(sandbox, head(sandbox, "content-length: 20000001")), 413, "request_too_large")


def test_a_too_large_chunked_body(sandbox: Sandbox) -> None:
    from_client = b"186a0\r\n" + b" " * 100_000 + b"\r\n"
    with closing(socket.create_connection(("127.0.0.1", sandbox.edge.port), timeout=WAIT_SECONDS)) as connection:
        connection.sendall(head(sandbox, "transfer-encoding: chunked"))
        try:
            for _ in range(220):
                connection.sendall(from_client)
        except ConnectionError:
            return  # disconnected before the response: the body was dropped too
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.status == 413
        response.close()


# Paths


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/", "/v1/nothing", "/v1/chat", "/chat/completions", "//v1", "/v1/chat/completions/x"]
)
def test_an_unknown_path(sandbox: Sandbox, path: str) -> None:
    assert_error(sandbox.get(path), 404, "not_found")
    assert_error(sandbox.post(b"{}", path=path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("PUT", "/v1/chat/completions", "POST"),
        ("DELETE", "/v1/chat/completions/", "POST"),
        ("POST", "/v1/models", "GET"),
        ("DELETE", "/v1/models/m", "GET"),
        ("POST", "/healthz", "GET"),
    ],
)
def test_a_method_not_allowed(sandbox: Sandbox, method: str, path: str, allowed: str) -> None:
    answer = sandbox.request(method, path)
    assert_error(answer, 405, "method_not_allowed")
    assert allowed in answer.headers["allow"]


def test_a_trailing_slash_changes_nothing(sandbox: Sandbox) -> None:
    assert sandbox.post(json.dumps(sandbox.body()).encode(), path="/v1/chat/completions/").status == 200
    assert sandbox.get("/v1/models/").json == sandbox.get("/v1/models").json
    assert sandbox.get(f"/v1/models/{sandbox.model}/").json == sandbox.get(f"/v1/models/{sandbox.model}").json


@pytest.mark.parametrize("prefix", ["//v1", "/v1//", "///v1/", "/v1/v1", "/v1//v1/"])
def test_a_duplicated_path_prefix_is_collapsed(sandbox: Sandbox, prefix: str) -> None:
    assert sandbox.post(json.dumps(sandbox.body()).encode(), path=f"{prefix}/chat/completions").status == 200
    assert sandbox.get(f"{prefix}/models").json == sandbox.get("/v1/models").json
    assert_error(sandbox.get(f"{prefix}/chat/completions"), 405, "method_not_allowed")


def test_a_wrong_prefix_suggests_the_right_base_url(sandbox: Sandbox) -> None:
    result = sandbox.post(b"{}", path="/chat/completions").error["message"]
    assert result.endswith(f"Set your client's base URL to {sandbox.edge.url}/v1.")
    result = sandbox.post(b"{}", path="/messages").error["message"]
    assert f"base URL to {sandbox.edge.url}, or" in result


def test_a_query_string_changes_nothing(sandbox: Sandbox) -> None:
    assert sandbox.post(json.dumps(sandbox.body()).encode(), path="/v1/chat/completions?api-version=1").status == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_needs_no_key(sandbox: Sandbox, path: str) -> None:
    answer = sandbox.get(path, {"authorization": ""})
    assert (answer.status, answer.json["status"]) == (200, "ok")
    assert answer.headers["x-request-id"].startswith("req_")


def test_every_response_has_a_unique_id(sandbox: Sandbox) -> None:
    answers = [
        sandbox.chat(),
        sandbox.chat(),
        sandbox.chat(stream=True),
        sandbox.chat(n=0),
        sandbox.get("/v1/models"),
        sandbox.get("/nothing"),
    ]
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)


def test_an_unknown_model(sandbox: Sandbox) -> None:
    answer = sandbox.chat(model="x" * 150)
    assert_error(answer, 404, "model_not_found")
    assert answer.error["param"] == "model"
    assert_error(sandbox.get("/v1/models/a%2Fb%F0"), 404, "model_not_found")


def test_the_dialects_match_those_allowed_for_channels() -> None:
    assert set(DIALECTS) == set(CHANNEL_DIALECTS)
