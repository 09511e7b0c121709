"""A tag in each place where a caller may send it. It is removed from the call's body."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from edge.api import chat_stream
from edge.call.requests import parse_chat_request
from edge.http.multipart import File, Form
from edge.http.tags import MAX_TAG_LENGTH, parse_tag
from edge.media.requests import parse_native_request
from edge.v1 import completions, embeddings, image_edits, moderations, rerank, transcriptions
from edge.v1.messages import request as messages
from edge.v1.responses import request as responses
from shared.core.errors import InvalidRequest
from shared.dialects.form_body import FilePart, form_body

MESSAGES = {"messages": [{"role": "user", "content": "Hi"}]}
TAG = "team:search/v1.2_a-b"
BAD = [TAG + " ", "a b", "", "ä", "a\n", "x" * (MAX_TAG_LENGTH + 1), 7, ["a"]]


def _form(metadata: dict[str, Any]) -> Form:
    fields = (("model", "m"), *((f"metadata[{name}]", str(value)) for name, value in metadata.items()))
    return Form(fields, (("file", File(b"RIFF", "a.wav", "audio/wav")),))


def _edit(metadata: dict[str, Any]) -> Any:
    body = {"model": "m", "prompt": "Hi", "images": [{"image_url": "data:image/png;base64,iVBORw0KGgoAAAAA"}]}
    return image_edits.parse_json(json.dumps({**body, "metadata": metadata}).encode()).call


def _json(parse: Callable[[bytes], Any], body: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda metadata: parse(json.dumps({"model": "m", **body, "metadata": metadata}).encode())


def _edit_form(metadata: dict[str, Any]) -> Any:
    fields = {"model": "m", "prompt": "Hi", **{f"metadata[{name}]": str(value) for name, value in metadata.items() if value}}
    content_type, body = form_body(fields.items(), [FilePart("image", "a.png", "image/png", b"\x89PNG\r\n\x1a\nAAAA")])
    return image_edits.parse_form("edit", body, content_type).call


# Each parses a body with these metadata and returns its call.
PASSING: dict[str, Callable[[dict[str, Any]], Any]] = {
    "chat": _json(parse_chat_request, MESSAGES),
    "completions": _json(lambda data: completions.parse(data)[0], {"prompt": "Hi"}),
    "embeddings": _json(embeddings.parse, {"input": "Hi"}),
    "moderations": _json(moderations.parse, {"input": "Hi"}),
    "rerank": _json(lambda data: rerank.parse(data)[0], {"query": "Hi", "documents": ["Hi"]}),
    "image edits": _edit,
    "image edits in forms": _edit_form,
}
PARSERS = PASSING | {
    "responses": _json(lambda data: responses.parse(data).call, {"input": "Hi"}),
    "messages": _json(messages.parse, {**MESSAGES, "max_tokens": 9}),
    "native chat": _json(lambda data: chat_stream.parse(data).call, {"prompt": "Hi"}),
    "native media": _json(lambda data: parse_native_request("image", data)[0], {"prompt": "Hi"}),
    "transcriptions": lambda metadata: transcriptions.parse(_form(metadata)),
}


@pytest.mark.parametrize("name", PARSERS)
def test_the_tag_of_a_body(name: str) -> None:
    call = PARSERS[name]({"tag": TAG})
    assert call.tag == TAG
    assert TAG not in str(call.body)
    assert "metadata" not in call.body


@pytest.mark.parametrize("name", PASSING)
def test_other_metadata_remains_in_the_body(name: str) -> None:
    for metadata in ({"tag": TAG, "run": "7"}, {"tag": None, "run": "7"}, {"run": "7"}):
        call = PASSING[name](metadata)
        assert (call.tag, call.body["metadata"]) == (metadata.get("tag"), {"run": "7"})


@pytest.mark.parametrize("name", PARSERS)
def test_an_invalid_tag_is_refused(name: str) -> None:
    for tag in BAD[:1] if name in ("transcriptions", "image edits in forms") else BAD:
        with pytest.raises(InvalidRequest) as refused:
            PARSERS[name]({"tag": tag})
        assert refused.value.param == "metadata.tag"
        assert str(refused.value) == "'metadata.tag' must be 1 to 64 letters, digits or characters of . _ : / -."


@pytest.mark.parametrize("name", ["native chat", "native media"])
def test_the_native_api_accepts_no_other_metadata(name: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        PARSERS[name]({"tag": TAG, "run": "7"})
    assert refused.value.param == "metadata.run"


def test_the_response_keeps_the_metadata_of_its_call() -> None:
    requested = responses.parse(json.dumps({"model": "m", "input": "Hi", "metadata": {"tag": TAG}}).encode())
    assert requested.body["metadata"] == {"tag": TAG}


@pytest.mark.parametrize(("value", "tag"), [(None, None), (b"a", "a"), (TAG.encode(), TAG), (b"x" * 64, "x" * 64)])
def test_the_tag_of_a_header(value: bytes | None, tag: str | None) -> None:
    assert parse_tag(value) == tag


@pytest.mark.parametrize("value", [b"", b" a", b"a b", b"\xe4", b"x" * 65, b"a\n", b"(other)"])
def test_an_invalid_header_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_tag(value)
    assert refused.value.param == "x-yout-tag"
