"""No raw identifier of a caller reaches a provider, in any dialect and for any kind of call."""

from __future__ import annotations

from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson
import pytest

from edge.v1.messages.request import parse as parse_messages
from edge.v1.responses.request import parse as parse_responses
from shared.billing.pricing import MediaUnits
from shared.catalog.snapshot import Route
from shared.dialects import DIALECTS
from shared.dialects.base import ChatCall, Target
from shared.dialects.media import InputFile, MediaCall
from shared.dialects.openai_media import MEDIA_DIALECTS
from shared.dialects.translators import NON_CHAT_DIALECTS
from tests.shared.dialects.calls import Json, call_of

RAW = "raw-identifier"
IDENTIFIERS: Json = {
    "user": RAW,
    "safety_identifier": RAW,
    "prompt_cache_key": RAW,
    "metadata": {"user_id": RAW, "project": RAW, RAW: "x"},
}


def target(dialect: str, **settings: Any) -> Target:
    id = UUID(int=1)
    route = Route(id, id, "c", dialect, "http://acme/v1", "", settings, "acme-model", 0, 1)
    return Target(route, "sk-secret", "https://yout.chat", lambda value: sha256(value.encode()).hexdigest()[:32], None, 1_000)


def sent(call: ChatCall, dialect: str, **settings: Any) -> bytes:
    request = DIALECTS[dialect].build_request(call.for_dialect(dialect, settings), target(dialect, **settings))
    return repr(request).encode()


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("settings", [{}, {"identity": "end_user"}], ids=str)
def test_chats_responses_and_messages(dialect: str, settings: Json) -> None:
    body = {"model": "our-model", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]}
    response = {"model": "our-model", "input": "Hi", **IDENTIFIERS, "client_metadata": {"session": RAW}}
    calls = [
        call_of(**IDENTIFIERS),
        parse_responses(orjson.dumps(response))[1],
        parse_messages(orjson.dumps({**body, "metadata": {"user_id": RAW}})),
    ]
    for call in calls:
        assert RAW.encode() not in sent(call, dialect, **settings)


@pytest.mark.parametrize("kind", ["embedding", "moderation", "rerank"])
def test_other_kinds(kind: str) -> None:
    body = {"model": "our-model", "input": "Hi", "query": "Hi", "documents": ["Ho"], **IDENTIFIERS}
    call = call_of()._replace(kind=kind, body=body)
    request = NON_CHAT_DIALECTS[kind, "openai"].build_request(call, target("openai"))
    assert RAW.encode() not in request.body
    assert request.body.count(sha256(RAW.encode()).hexdigest()[:32].encode()) >= 1


def test_transcriptions() -> None:
    names = ("user", "user[]", "safety_identifier", "metadata", "metadata[user_id]", "prompt_cache_key")
    fields = [(name, RAW) for name in names]
    body = {"fields": fields, "endpoint": "transcriptions", "response_format": "json"}
    body |= {"file": b"RIFF", "file_name": "audio.wav", "file_type": "audio/wav"}
    request = NON_CHAT_DIALECTS["transcription", "openai"].build_request(call_of()._replace(body=body), target("openai"))
    assert RAW.encode() not in request.body


@pytest.mark.parametrize("kind", ["image", "speech", "video"])
def test_media(kind: str) -> None:
    call = MediaCall(kind, "our-model", {"prompt": "x", "input": "x", **IDENTIFIERS}, MediaUnits(1), {})
    assert RAW.encode() not in MEDIA_DIALECTS["openai", kind].build_request(call, target("openai")).body


def test_image_edits() -> None:
    files = (InputFile("image", "image/png", b"\x89PNG"),)
    call = MediaCall("image", "our-model", {"prompt": "x", **IDENTIFIERS}, MediaUnits(1), {"operation": "edit"}, files)
    assert RAW.encode() not in MEDIA_DIALECTS["openai", "image"].build_request(call, target("openai")).body


def test_the_cache_key_of_a_name_is_not_the_pseudonym_of_that_user() -> None:
    body = orjson.loads(DIALECTS["openai"].build_request(call_of(**IDENTIFIERS), target("openai")).body)
    assert body["user"] == body["safety_identifier"] == body["metadata"]["user_id"] != body["prompt_cache_key"]
    assert body["metadata"].keys() == {"user_id"}
