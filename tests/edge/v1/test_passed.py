"""Moderations and transcriptions by the official SDK: passed on as they are, priced by the call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from edge.v1.passed import moderation, transcription
from shared.clock import new_id
from shared.errors import InvalidRequest
from tests import build
from tests.answers import reply, status
from tests.edge.stack import CREDITS, Lane
from tests.servers.process import eventually
from tests.upstream import Upstream

VERDICT = {"flagged": True, "categories": {}, "category_scores": {}, "category_applied_input_types": {}}
SOUND = b"RIFF\r\n--not a boundary\r\n\x00\xff"


@pytest.fixture
def client(lane: Lane) -> Iterator[OpenAI]:
    with OpenAI(base_url=lane.api, api_key=lane.secret, max_retries=0) as made:
        yield made


def model_of(lane: Lane, upstream: Upstream, kind: str) -> str:
    name = f"{kind}-{lane.model}"
    build.model(name, build.channel(upstream.url), kind=kind, input=0, output=0, per_call=40)
    eventually(lambda: lane.get(f"/v1/models/{name}").status == 200, "the edge knows the model")
    return name


def test_a_moderation(client: OpenAI, lane: Lane, upstream: Upstream) -> None:
    model = model_of(lane, upstream, "moderation")
    upstream.script(reply({"id": "modr-1", "model": "vendor-model", "results": [VERDICT]}), status(500), status(500), status(500))
    answer = client.moderations.create(model=model, input=["a", "b"])
    assert (answer.model, answer.results[0].flagged) == (model, True)
    assert answer.yout == {"credits_charged": 40, "balance": CREDITS - 40}  # type: ignore[attr-defined]
    assert upstream.calls[0].json == {"model": "vendor-model", "input": ["a", "b"]}
    assert upstream.calls[0].path == "/v1/moderations"
    row = lane.usage()[0]
    assert (row.input_tokens, row.output_tokens, row.estimated, row.credits) == (0, 0, False, 40)
    with pytest.raises(openai.InternalServerError):
        client.moderations.create(model=model, input="a")
    assert (lane.charged, lane.held) == (40, 0)


def test_a_transcription(client: OpenAI, lane: Lane, upstream: Upstream) -> None:
    model = model_of(lane, upstream, "transcription")
    upstream.script(reply({"text": "Hello there."}))
    answer = client.audio.transcriptions.create(model=model, file=("a.wav", SOUND, "audio/wav"), language="en")
    assert answer.text == "Hello there."
    assert answer.yout["credits_charged"] == 40  # type: ignore[attr-defined]
    [received] = upstream.calls
    assert received.path == "/v1/audio/transcriptions"
    assert received.headers["content-type"].startswith("multipart/form-data; boundary=yout-")
    assert SOUND in received.body
    assert b'name="model"\r\n\r\nvendor-model\r\n' in received.body
    assert b'name="language"\r\n\r\nen\r\n' in received.body
    assert model.encode() not in received.body
    assert (lane.charged, lane.held) == (40, 0)
    with pytest.raises(openai.NotFoundError):
        client.audio.transcriptions.create(model=lane.model, file=("a.wav", SOUND))


@pytest.mark.parametrize("body", [{"input": ""}, {"input": []}, {"input": 1}, {}])
def test_a_wrong_moderation_names_its_input(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        moderation(json.dumps({"model": "m", **body}).encode())
    assert caught.value.param == "input"


def form(*fields: tuple[str, str]) -> bytes:
    parts = "".join(f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields)
    return f"{parts}--x--\r\n".encode()


def test_a_vendor_reads_no_other_name_than_we_do() -> None:
    odd = b"--x\r\nContent-Disposition: form-data; name=\"a\"; name*=utf-8''model\r\nX-Other: 1\r\n\r\ndear\r\n"
    file = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n'
    parts = transcription(odd + file + form(("model", "m")), new_id()).body["parts"]
    assert parts == (
        (b'Content-Disposition: form-data; name="a"', b"dear"),
        (b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav', b"RIFF"),
    )


FILE, MODEL = ("file", "RIFF"), ("model", "m")


@pytest.mark.parametrize(
    ("data", "param"),
    [
        (b"", "file"),
        (b"{}", "file"),
        (form(MODEL), "file"),
        (form(FILE), "model"),
        (form(FILE, MODEL)[:-4], "file"),
        (b"--x\r\nno-name: 1\r\n\r\ny\r\n--x--\r\n", "file"),
        (form(FILE, MODEL, ("response_format", "srt")), "response_format"),
        (form(FILE, MODEL, ("stream", "true")), "stream"),
    ],
)
def test_a_wrong_form_names_the_field(data: bytes, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        transcription(data, new_id())
    assert caught.value.param == param
