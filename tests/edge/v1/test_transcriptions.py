"""Transcriptions: the form sent to the provider, each response format, the charge, and rejected requests."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial
from typing import Any

import openai
import pytest
from openai import OpenAI

from edge.http.multipart import MAX_FIELD_BYTES, MAX_PARTS, File, Form, read_form
from edge.v1.transcriptions import parse
from shared.core.errors import InvalidRequest
from tests import factories
from tests.edge.shared_edge import CREDITS, Reply, Sandbox
from tests.openai_payloads import frame
from tests.servers.process import eventually
from tests.upstream import Request, Upstream
from tests.upstream_responses import Gate, ScriptedResponse, error_response, html_response, json_response, stream

PRICE = 11
SOUND = b"RIFF\x24\x00\x00\x00WAVEfmt \r\n--not-a-boundary\r\n\x00\xff"
SRT = "1\n00:00:00,000 --> 00:00:01,000\nHello.\n"
VTT = "WEBVTT\n\n00:00.000 --> 00:01.000\nHello.\n"
PATH = "/v1/audio/transcriptions"


def sent(request: Request) -> tuple[list[tuple[str, str]], File]:
    """The form that the provider received, parsed to the last byte."""
    boundary = request.headers["content-type"].removeprefix("multipart/form-data; boundary=")
    assert request.body.endswith(f"\r\n--{boundary}--\r\n".encode())
    form = read_form(request.body, request.headers["content-type"])
    assert len(form.fields) + len(form.files) == request.body.count(f"--{boundary}\r\n".encode())
    assert [name for name, _ in form.files] == ["file"]
    return list(form.fields), form.files[0][1]


def form(*fields: tuple[str, str], file: bytes | None = SOUND, boundary: str = "b0") -> tuple[bytes, dict[str, str]]:
    """A hand-written multipart body and its content type."""
    parts = [
        f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields
    ]
    if file is not None:
        head = f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\ncontent-type: audio/wav\r\n\r\n'
        parts.append(head.encode() + file + b"\r\n")
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), {"content-type": f"multipart/form-data; boundary={boundary}"}


def text(said: str) -> ScriptedResponse:
    return json_response(said.encode(), headers={"content-type": "text/plain"})


@pytest.fixture
def scribe(sandbox: Sandbox, upstream: Upstream) -> Iterator[tuple[OpenAI, str, Upstream]]:
    """A client, a model for this test only, and the provider behind it."""
    model = f"scribe-{sandbox.model}"
    settings = {"body": {"store": False, "provider": {"data_collection": "deny"}}, "headers": {"x-no-log": "1"}}
    channels = [factories.channel(upstream.url, settings=settings) for _ in range(2)]
    factories.model(model, *channels, kind="transcription", input=0, output=0, per_call=PRICE)
    with OpenAI(base_url=sandbox.api, api_key=sandbox.secret, max_retries=0) as client:
        eventually(lambda: sandbox.get(f"/v1/models/{model}").status == 200, "the edge knows the model")
        yield client, model, upstream


def post(sandbox: Sandbox, made: tuple[bytes, dict[str, str]], **headers: str) -> Reply:
    return sandbox.post(made[0], {**made[1], **{name.replace("_", "-"): value for name, value in headers.items()}}, PATH)


def test_the_form_sent_to_the_provider(scribe: tuple[OpenAI, str, Upstream], sandbox: Sandbox) -> None:
    client, model, upstream = scribe
    upstream.default = json_response({"text": "Hello.", "usage": {"type": "duration", "seconds": 1}})
    answer = client.audio.transcriptions.create(
        model=model,
        file=("Ann Smith, her diary.wav", SOUND),
        language="en",
        prompt='Äöü "quoted"\r\n--b0',
        temperature=0.5,
        timestamp_granularities=["word", "segment"],
        response_format="json",
        extra_body={"user": "ann"},
    )
    assert answer.text == "Hello."
    assert answer.yout == {"credits_charged": PRICE, "balance": CREDITS - PRICE}  # type: ignore[union-attr]  # ours, beside their fields
    call = upstream.calls[0]
    fields, file = sent(call)
    result = dict(fields)
    assert result.pop("user") not in ("ann", "")
    granularities = [value for name, value in fields if name == "timestamp_granularities[]"]
    assert granularities == ["word", "segment"]
    del result["timestamp_granularities[]"]
    assert result == {
        "model": "acme-model",
        "language": "en",
        "prompt": 'Äöü "quoted"\r\n--b0',
        "temperature": "0.5",
        "response_format": "json",
        "store": "false",
        "provider[data_collection]": "deny",
    }
    assert (file.data, file.name) == (SOUND, "audio.wav")
    assert file.type.startswith("audio/")
    assert b"Ann" not in call.body
    assert (call.path, call.headers["authorization"]) == (PATH, f"Bearer {factories.UPSTREAM_SECRET}")
    assert (call.headers["x-no-log"], call.headers["user-agent"]) == ("1", "yout")
    assert "http-referer" in call.headers
    row = sandbox.usage()[0]
    assert (row.input_tokens, row.output_tokens, row.estimated, row.credits) == (0, 0, False, PRICE)
    assert (sandbox.charged, sandbox.held) == (PRICE, 0)


def test_the_provider_gets_the_field_names_that_we_parsed(scribe: tuple[OpenAI, str, Upstream], sandbox: Sandbox) -> None:
    _, model, upstream = scribe
    upstream.default = json_response({"text": "Hello."})
    body, header = form(("model", model))
    odd = b"--b0\r\ncontent-disposition: form-data; name=\"prompt\"; name*=utf-8''language\r\nx-other: 1\r\n\r\ndear\r\n"
    assert post(sandbox, (odd + body, header)).status == 200
    assert not [word for word in (b"name*", b"x-other") if word in upstream.calls[0].body]
    assert [value for name, value in sent(upstream.calls[0])[0] if name in ("prompt", "language")] == ["dear"]


@pytest.mark.parametrize(("format", "said"), [("text", "Hello.\n"), ("srt", SRT), ("vtt", VTT)])
def test_text_formats(scribe: tuple[OpenAI, str, Upstream], sandbox: Sandbox, format: Any, said: str) -> None:
    client, model, upstream = scribe
    upstream.script(text(said))
    raw = client.audio.transcriptions.with_raw_response.create(model=model, file=("a.mp3", SOUND), response_format=format)
    assert (raw.text if isinstance(raw.text, str) else raw.text()) == said
    assert (raw.headers["x-yout-credits-charged"], raw.headers["x-yout-balance"]) == (str(PRICE), str(CREDITS - PRICE))
    assert raw.headers["content-type"].startswith("text/plain")
    assert {"x-request-id", "x-ratelimit-remaining-requests", "x-yout-attempts"} <= set(raw.headers)
    assert (sandbox.charged, sandbox.held) == (PRICE, 0)


def test_verbose_json(scribe: tuple[OpenAI, str, Upstream]) -> None:
    client, model, upstream = scribe
    upstream.script(json_response({"text": "Hi.", "language": "english", "duration": 1.5, "words": [], "model": "acme-model"}))
    answer = client.audio.transcriptions.create(model=model, file=("a.mp3", SOUND), response_format="verbose_json")
    assert (answer.text, answer.language, answer.duration) == ("Hi.", "english", 1.5)
    assert answer.model == model  # type: ignore[attr-defined]  # not a declared field of their type


SILENT: list[tuple[str, ScriptedResponse]] = [
    ("json", json_response({"text": " "})),
    ("text", text("\n")),
    ("srt", text("")),
    ("srt", text("1\n00:00:00,000 --> 00:00:01,000\n\n")),
    ("vtt", text("WEBVTT\n\n")),
]


@pytest.mark.parametrize(("format", "answer"), SILENT)
def test_silence_costs_nothing(
    scribe: tuple[OpenAI, str, Upstream], sandbox: Sandbox, format: str, answer: ScriptedResponse
) -> None:
    _, model, upstream = scribe
    upstream.script(answer)
    got = post(sandbox, form(("model", model), ("response_format", format)))
    assert got.status == 200
    assert (sandbox.charged, sandbox.held) == (0, 0)


BROKEN: list[tuple[str, ScriptedResponse]] = [
    ("json", json_response({"words": []})),
    ("json", text("Hello.")),
    ("text", html_response()),
    ("text", json_response(b"\xff\xfe")),
    ("srt", text("Hello.")),
    ("vtt", text(SRT)),
    ("json", error_response(500)),
]


@pytest.mark.parametrize(("format", "answer"), BROKEN)
def test_a_broken_answer_costs_nothing(
    scribe: tuple[OpenAI, str, Upstream], sandbox: Sandbox, format: str, answer: ScriptedResponse
) -> None:
    _, model, upstream = scribe
    upstream.default = answer
    assert post(sandbox, form(("model", model), ("response_format", format))).status == 502
    assert (sandbox.charged, sandbox.held) == (0, 0)


def test_another_channel_takes_over(scribe: tuple[OpenAI, str, Upstream], sandbox: Sandbox) -> None:
    client, model, upstream = scribe
    upstream.script(error_response(503), json_response({"text": "Hello."}))
    raw = client.audio.transcriptions.with_raw_response.create(model=model, file=("a.mp3", SOUND))
    assert raw.headers["x-yout-attempts"] == "2"
    first, second = (sent(call) for call in upstream.calls)
    assert first == second
    assert (sandbox.charged, sandbox.held) == (PRICE, 0)


def test_the_same_form_is_an_idempotent_retry(scribe: tuple[OpenAI, str, Upstream], sandbox: Sandbox) -> None:
    _, model, upstream = scribe
    upstream.default = json_response({"text": "Hello."})
    again = [post(sandbox, form(("model", model), boundary=boundary), idempotency_key="k1") for boundary in ("one", "two")]
    other = post(sandbox, form(("model", model), file=SOUND + b"x"), idempotency_key="k1")
    codes = [answer.error["code"] for answer in (again[1], other)]
    assert (again[0].status, codes) == (200, ["idempotency_key_used", "idempotency_key_reused"])
    assert (len(upstream.calls), sandbox.charged, sandbox.held) == (1, PRICE, 0)


def test_a_stream_is_relayed(scribe: tuple[OpenAI, str, Upstream], sandbox: Sandbox) -> None:
    client, model, upstream = scribe
    gate = Gate()
    usage = {"type": "tokens", "input_tokens": 14, "output_tokens": 2, "total_tokens": 16}
    first, second = ({"type": "transcript.text.delta", "delta": delta} for delta in ("Hello", " there."))
    last = {"type": "transcript.text.done", "text": "Hello there.", "usage": usage}
    upstream.script(stream(frame(first), gate, frame(second), frame(last)))
    with client.audio.transcriptions.create(model=model, file=("a.mp3", SOUND), stream=True) as answer:
        received = [next(answer)]
        gate.open()
        received += answer
    assert [event.delta for event in received if event.type == "transcript.text.delta"] == ["Hello", " there."]
    end: Any = received[-1]
    assert (end.type, end.text, end.usage.total_tokens) == ("transcript.text.done", "Hello there.", 16)
    assert end.yout == {"credits_charged": PRICE, "balance": CREDITS - PRICE}
    assert dict(sent(upstream.calls[0])[0])["stream"] == "true"
    row = sandbox.usage()[0]
    assert (row.streamed, row.input_tokens, row.output_tokens, row.credits) == (True, 0, 0, PRICE)
    upstream.script(json_response({"text": "Hello there.", "usage": {"type": "duration", "seconds": 1}}))
    whole: Any = list(client.audio.transcriptions.create(model=model, file=("a.mp3", SOUND), stream=True))
    assert [event.type for event in whole] == ["transcript.text.delta", "transcript.text.done"]
    assert (whole[0].delta, whole[1].text, whole[1].usage.seconds) == ("Hello there.", "Hello there.", 1)
    assert (sandbox.charged, sandbox.held) == (2 * PRICE, 0)


def test_streams_that_end_early(scribe: tuple[OpenAI, str, Upstream], sandbox: Sandbox) -> None:
    client, model, upstream = scribe
    delta = frame({"type": "transcript.text.delta", "delta": "Hello"})
    silent = frame({"type": "transcript.text.done", "text": ""})
    create = partial(client.audio.transcriptions.create, model=model, file=("a.mp3", SOUND), stream=True)
    upstream.script(stream(silent), error_response(503), stream(silent))
    assert [event.type for event in create()] == ["transcript.text.done"]
    assert [event.type for event in create()] == ["transcript.text.done"]  # another channel took over
    upstream.default = error_response(500)
    with pytest.raises(openai.InternalServerError):
        create()
    assert (sandbox.charged, sandbox.held) == (0, 0)
    upstream.default = stream(delta)
    with pytest.raises(openai.APIError):
        list(create())
    eventually(lambda: sandbox.held == 0, "the call is settled")
    assert sandbox.charged == PRICE


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the SDK deprecates the endpoint
def test_a_translation(scribe: tuple[OpenAI, str, Upstream], sandbox: Sandbox) -> None:
    client, model, upstream = scribe
    upstream.script(json_response({"text": "Hello."}), text(SRT))
    plain: Any = client.audio.translations.create(model=model, file=("a.mp3", SOUND), prompt="Names: Ann.", temperature=0)
    assert (plain.text, plain.yout) == ("Hello.", {"credits_charged": PRICE, "balance": CREDITS - PRICE})
    assert client.audio.translations.create(model=model, file=("a.mp3", SOUND), response_format="srt") == SRT
    call = upstream.calls[0]
    assert call.path == "/v1/audio/translations"
    assert {"model": "acme-model", "prompt": "Names: Ann."}.items() <= dict(sent(call)[0]).items()
    with pytest.raises(openai.BadRequestError) as streamed:
        client.audio.translations.create(model=model, file=("a.mp3", SOUND), extra_body={"stream": True})
    assert streamed.value.param == "stream"
    assert (sandbox.charged, sandbox.held) == (2 * PRICE, 0)


def test_errors(scribe: tuple[OpenAI, str, Upstream], sandbox: Sandbox) -> None:
    client, model, upstream = scribe
    upstream.script(
        error_response(400, {"error": {"message": f"{factories.UPSTREAM_SECRET} is bad.", "param": "file", "code": "bad_audio"}})
    )
    create = client.audio.transcriptions.create
    with pytest.raises(openai.BadRequestError) as refused:
        create(model=model, file=("a.mp3", SOUND))
    assert (refused.value.code, refused.value.param) == ("bad_audio", "file")
    assert factories.UPSTREAM_SECRET not in str(refused.value)
    with pytest.raises(openai.NotFoundError):
        create(model=sandbox.model, file=("a.mp3", SOUND))
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hi"}])
    poor = client.with_options(api_key=factories.api_key(factories.account(credits=PRICE - 1))[1])
    with pytest.raises(openai.APIStatusError) as broke:
        poor.audio.transcriptions.create(model=model, file=("a.mp3", SOUND))
    assert broke.value.status_code == 402
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="nothing").audio.transcriptions.create(model=model, file=("a.mp3", SOUND))
    elsewhere = factories.api_key(sandbox.account, allowed_models=[sandbox.model])[1]
    with pytest.raises(openai.PermissionDeniedError):
        client.with_options(api_key=elsewhere).audio.transcriptions.create(model=model, file=("a.mp3", SOUND))
    with pytest.raises(openai.APIStatusError) as large:
        create(model=model, file=("a.mp3", bytes(20_000_001)))
    assert large.value.status_code == 413
    assert post(sandbox, form(("model", model)), x_yout_max_credits=str(PRICE - 1)).status == 402
    for body, content_type in (
        (b"{}", "application/json"),
        (b"x", "multipart/form-data"),
        (b"x", "multipart/form-data; boundary=b"),
    ):
        assert sandbox.post(body, {"content-type": content_type}, PATH).status == 400
    assert (sandbox.charged, sandbox.held) == (0, 0)


def wav(**fields: str) -> Form:
    return Form(tuple({"model": "m", **fields}.items()), (("file", File(SOUND, "a.wav", "audio/wav")),))


WRONG: list[tuple[Form, str]] = [
    (Form((), (("file", File(SOUND, "a.wav", "audio/wav")),)), "model"),
    (Form((("model", "m"),), ()), "file"),
    (Form((("model", "m"), ("file", "sound")), ()), "file"),
    (Form((("model", "m"),), (("file", File(b"", "a.wav", "audio/wav")),)), "file"),
    (wav()._replace(files=wav().files * 2), "file"),
    (wav()._replace(files=(*wav().files, ("other", wav().files[0][1]))), "other"),
    (wav()._replace(fields=(("model", "m"), ("model", "n"))), "model"),
    (wav(response_format="diarized_json"), "response_format"),
    (wav(stream="true", response_format="text"), "stream"),
    (wav(stream="yes"), "stream"),
    *((wav(temperature=value), "temperature") for value in ("2", "nan", "warm", ".", "\u0660", "0_1", "1e1")),
    (wav(**{"timestamp_granularities[]": "letter"}), "timestamp_granularities"),
]


@pytest.mark.parametrize(("asked", "param"), WRONG)
def test_an_invalid_field_is_named(asked: Form, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(asked)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("file", "name", "type"),
    [
        (File(SOUND, "Ann.MP3", "audio/mpeg"), "audio.mp3", "audio/mpeg"),
        (File(SOUND, "upload", "application/octet-stream"), "audio.wav", "audio/wav"),
        (File(b"?", "Ann.exe", "text/html"), "audio", "application/octet-stream"),
        (File(b"?", "Ann", "audio/mpeg"), "audio.mp3", "audio/mpeg"),
        (File(b"?", "Ann.webm", "video/webm"), "audio.webm", "video/webm"),
        (File(b"?", "a", 'audio/x"\r\nx-evil: 1'), "audio", "application/octet-stream"),
    ],
)
def test_a_file_is_sent_with_a_generic_name(file: File, name: str, type: str) -> None:
    body = parse(wav()._replace(files=(("file", file),))).body
    assert (body["file_name"], body["file_type"]) == (name, type)


def test_the_duration_of_the_file_is_measured() -> None:
    head = b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8_000, 16_000, 2, 16) + b"data\0\0\0\0"
    body = parse(wav()._replace(files=(("file", File(head + bytes(40_000), "a.wav", "audio/wav")),))).body
    assert body["seconds"] == 3
    assert parse(wav()).body["seconds"] is None


@pytest.mark.parametrize(
    "body",
    [
        form(*[("a", "b")] * (MAX_PARTS + 1)),
        form(("a", "b" * (MAX_FIELD_BYTES + 1))),
        form(("a b", "c")),
        form(("", "b")),
        (form(("a", "b"))[0][:-20], form()[1]),
        (b"--b0\r\nno-disposition: x\r\n\r\nx\r\n--b0--\r\n", form()[1]),
    ],
)
def test_a_malformed_form_is_rejected(body: tuple[bytes, dict[str, str]]) -> None:
    with pytest.raises(InvalidRequest):
        read_form(body[0], body[1]["content-type"])
