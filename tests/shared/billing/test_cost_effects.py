"""The table of cost effects: it knows every documented field and every number of a usage, and each case is read as it says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import anthropic.types
import msgspec
import pytest
from anthropic.types import message_create_params as messages_params
from anthropic.types.beta import message_create_params as beta_params
from openai.types import completion_create_params as completion_params
from openai.types import (
    completion_usage,
    embedding_create_params,
    image_create_variation_params,
    image_edit_params,
    image_generate_params,
    moderation_create_params,
    video_create_params,
)
from openai.types.audio import speech_create_params, transcription_create_params, translation_create_params
from openai.types.chat import completion_create_params as chat_params
from openai.types.responses import response_create_params as responses_params

from edge.http.body_types import Body
from edge.media.requests import JOBS
from edge.v1.image_edits import EditForm, VariationForm
from shared.billing import cost_page
from shared.billing.cost_effects import (
    CHAT,
    COMPLETIONS,
    MESSAGES,
    OTHER_CHAT,
    OTHER_KINDS,
    PARTS,
    RESPONSES,
    SURFACES,
    USAGE,
    merge,
    read_costs,
    unpriced,
    unpriced_media_field,
)
from shared.billing.pricing import MAX_SEARCHES_PER_CHOICE, PLAIN, PriceList, RequestCosts
from shared.billing.rates import TIER_PREFIX, Rate
from shared.dialects.compatibility_table import TABLES
from shared.dialects.openai_media import MEDIA_DIALECTS, OPERATION_PATHS
from shared.dialects.translators import NON_CHAT_DIALECTS
from shared.models import RATE_KINDS

DOCUMENT = Path(__file__).parents[3] / "docs" / "cost-effects.md"
PART, AUDIO, TEXT = "messages[0].content[0]", "messages[0].audio", {"type": "text", "text": "Hello"}
JPEG, PDF, MP3 = "data:image/jpeg;base64,AAAA", "data:application/pdf;base64,AAAA", "data:audio/mp3;base64,AAAA"


ID3 = "data:image/png;base64,SUQzBAAAAAA="  # audio


def price(*rates: tuple[str, int], written: int | None = None) -> PriceList:
    listed = tuple(sorted(Rate(kind, 0, credits) for kind, credits in rates))
    return PriceList(UUID(int=1), 0, 100, 400, None, 0, 0, credits_per_1k_cache_write=written, rates=listed)


@pytest.mark.parametrize(
    ("table", "documented"),
    [
        (CHAT, [chat_params.CompletionCreateParamsBase]),
        (RESPONSES, [responses_params.ResponseCreateParamsBase]),
        (MESSAGES, [messages_params.MessageCreateParamsBase, beta_params.MessageCreateParamsBase]),
        (COMPLETIONS, [completion_params.CompletionCreateParamsBase]),
        (OTHER_KINDS["image"], [image_generate_params.ImageGenerateParamsBase]),
        (OTHER_KINDS["image edit"], [image_edit_params.ImageEditParamsBase]),
        (OTHER_KINDS["image variation"], [image_create_variation_params.ImageCreateVariationParams]),
        (OTHER_KINDS["video"], [video_create_params.VideoCreateParams]),
        (OTHER_KINDS["speech"], [speech_create_params.SpeechCreateParams]),
        (OTHER_KINDS["embedding"], [embedding_create_params.EmbeddingCreateParams]),
        (OTHER_KINDS["moderation"], [moderation_create_params.ModerationCreateParams]),
        (
            OTHER_KINDS["transcription"],
            [transcription_create_params.TranscriptionCreateParamsBase, translation_create_params.TranslationCreateParams],
        ),
    ],
    ids=lambda value: value[0].__name__ if isinstance(value, list) else "",
)
def test_every_documented_field_is_classified(table: Mapping[str, Any], documented: Iterable[type]) -> None:
    names = {name for owner in documented for name in owner.__annotations__}
    assert names - table.keys() == set()


@pytest.mark.parametrize("dialect", sorted(TABLES))
def test_every_field_and_part_that_a_dialect_accepts_is_classified(dialect: str) -> None:
    table = TABLES[dialect]
    assert {name for name, field in table.fields.items() if field.support != "refused"} <= CHAT.keys() | OTHER_CHAT.keys()
    assert {name for name, field in table.parts.items() if field.support != "refused"} <= PARTS.keys()


def test_every_number_of_a_usage_is_classified() -> None:
    paths = {name for name in completion_usage.CompletionUsage.model_fields if not name.endswith("details")}
    for name, owner in (
        ("prompt_tokens_details", completion_usage.PromptTokensDetails),
        ("completion_tokens_details", completion_usage.CompletionTokensDetails),
    ):
        paths |= {f"{name}.{field}" for field in owner.model_fields}
    assert paths <= USAGE["openai"].keys()
    parts = {name.partition(".")[0] for name in USAGE["anthropic"]}
    assert anthropic.types.Usage.model_fields.keys() <= parts


def test_the_kinds_of_the_table_are_rates() -> None:
    effects = [effect for table in (*SURFACES.values(), OTHER_CHAT, PARTS) for effect in table.values()]
    kinds = {kind for effect in effects for kind in effect.kinds}
    kinds |= {kind for numbers in USAGE.values() for text in numbers.values() for kind in text.split(", ") if text}
    assert {kind for kind in kinds if not kind.startswith(TIER_PREFIX)} <= set(RATE_KINDS)


def ask(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": list(parts) or "Hello"}], **fields}


ORDINARY = ask(
    **{"temperature": 1, "max_tokens": 10, "stream": True, "stream_options": {"include_usage": True}, "user": "u", "n": 2},
    **{"tools": [{"type": "function", "function": {"name": "f"}}], "response_format": {"type": "json_object"}, "seed": 1},
    **{"service_tier": "auto", "reasoning_effort": "low", "modalities": ["text"], "store": True, "prompt_cache_key": "k"},
)


@pytest.mark.parametrize(
    ("body", "dialect", "needs"),
    [
        (ORDINARY, "openai", []),
        (ask(service_tier="default"), "openai", []),
        (ask(service_tier="flex"), "openai", [("service_tier", "tier:flex")]),
        (ask(service_tier={"a": 1}), "openai", [("service_tier", None)]),
        (ask(web_search_options={}), "openai", [("web_search_options", "web_search")]),
        (ask(search_parameters={"mode": "off"}, enable_search=False), "openai", []),
        (ask(search_parameters={"mode": "on"}), "openai", [("search_parameters", "web_search")]),
        (
            ask(modalities=["text", "audio"], audio={"voice": "a"}),
            "openai",
            [("modalities", "audio_output"), ("audio", "audio_output")],
        ),
        (ask(modalities=["image"]), "gemini", [("modalities", "image_output")]),
        (ask(modalities=["video"]), "openai", [("modalities", None)]),
        (ask(plugins=[{"id": "web"}], mystery=1, unknown=None), "openai", [("plugins", None), ("mystery", None)]),
        (ask(tools=[{"type": "web_search"}]), "openai", [("tools[0].type", "web_search")]),
        (ask(tools=[{"type": "custom"}, {"type": "code_interpreter"}]), "openai", [("tools[1].type", None)]),
        (ask({"type": "input_audio", "input_audio": {"data": "AA", "format": "mp3"}}), "openai", [(PART, "audio_input")]),
        (ask({"type": "video_url", "video_url": {"url": "https://a/b"}}), "gemini", [(PART, "audio_input")]),
        (ask({"type": "file", "file": {"file_data": MP3}}), "gemini", [(PART, "audio_input")]),
        (ask({"type": "image_url", "image_url": {"url": MP3}}), "gemini", [(PART, "audio_input")]),
        (ask({"type": "image_url", "image_url": {"url": "https://a/b"}}), "gemini", [(PART, "audio_input")]),
        (ask({"type": "image_url", "image_url": {"url": "https://a/b.png?c"}}), "gemini", []),
        (ask({"type": "image_url", "image_url": {"url": "https://a/b"}}), "openai", []),
        (ask({"type": "document_url", "document_url": "https://a/b.pdf"}), "openai", [(f"{PART}.type", None)]),
        (
            ask({"type": "image_url", "image_url": {"url": ID3}}),
            "gemini",
            [(PART, "audio_input")],
        ),
        (ask({"type": "file", "file": {"url": JPEG, "file_data": MP3}}), "gemini", [(PART, "audio_input")]),
        ({"messages": [{"role": "assistant", "audio": {"id": "a"}, "content": None}]}, "openai", [(AUDIO, "audio_input")]),
        ({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "openai", [(AUDIO, "audio_input")]),
        # A cache: for five minutes, for an hour, on any part; nowhere at Gemini, and not if the provider does not get the mark.
        (ask(cache_control={"type": "ephemeral"}), "anthropic", [("cache_control", "cache_write")]),
        (ask({**TEXT, "cache_control": {"ttl": "1h"}}), "anthropic", [(f"{PART}.cache_control.ttl", "cache_write_1h")]),
        (ask({**TEXT, "cache_control": {"ttl": "1h"}}), "gemini", []),
        (ask({**TEXT, "prompt_cache_breakpoint": {}}), "openai", [(f"{PART}.prompt_cache_breakpoint", "cache_write")]),
        (ask(prompt_cache_options={"mode": "explicit"}), "openai", [("prompt_cache_options", "cache_write")]),
        (ask(prompt_cache_retention="24h"), "openai", []),
        (ask(prompt_cache_retention="24h"), "anthropic", [("prompt_cache_retention", "cache_write_1h")]),
        (ask(prompt_cache_key="k"), "anthropic", [("prompt_cache_key", "cache_write")]),
    ],
)
def test_what_a_request_needs(body: dict[str, Any], dialect: str, needs: list[tuple[str, str | None]]) -> None:
    found = read_costs(body, "chat", dialect, {})
    assert [(need.param, need.kind) for need in found.needs] == needs


def test_a_cache_that_the_provider_is_not_asked_for_needs_no_price() -> None:
    body = ask(cache_control={"type": "ephemeral"})
    assert read_costs(body, "chat", "openai", {"history": ["reasoning_content"]}).needs == ()
    assert read_costs(body, "chat", "openai", {"history": ["cache_control"]}).needs != ()


@pytest.mark.parametrize(
    ("body", "limits"),
    [
        (ORDINARY, PLAIN),
        (ask({"type": "image_url", "image_url": {"url": JPEG}}), RequestCosts(("image_input",))),
        (ask({"type": "file", "file": {"file_data": PDF}}), RequestCosts(("image_input",), unbounded_input=True)),
        (ask({"type": "file", "file": {"file_id": "f"}}), RequestCosts(("image_input",), unbounded_input=True)),
        (ask({"type": "file", "file": {"file_data": "data:text/plain;base64,AAAA"}}), RequestCosts(("image_input",))),
        (ask(prediction={"type": "content", "content": "äb"}, n=3), RequestCosts(output_tokens=3 * len("contentäb".encode()))),
        (
            {"messages": [{"role": "assistant", "images": [{"type": "image_url", "image_url": JPEG}]}]},
            RequestCosts(("image_input",)),
        ),
        (ask(service_tier="flex"), RequestCosts(service_tier="flex")),
        (ask(web_search_options={}, n=2), RequestCosts(web_searches=2 * MAX_SEARCHES_PER_CHOICE, unbounded_input=True)),
    ],
)
def test_what_the_hold_covers(body: dict[str, Any], limits: RequestCosts) -> None:
    assert read_costs(body, "chat", "openai", {}).limits == limits
    assert merge([read_costs(body, "chat", "openai", {}), read_costs(ORDINARY, "chat", "openai", {})]) == limits


@pytest.mark.parametrize(
    ("body", "priced", "settings", "refused"),
    [
        (ask(service_tier="flex"), price(), {}, ["service_tier"]),
        (ask(service_tier="flex"), price(("tier:priority", 2_000)), {}, ["service_tier"]),
        (ask(service_tier="flex"), price(("tier:flex", 500)), {}, []),
        (ask(cache_control={"type": "ephemeral"}), price(), {}, ["cache_control"]),
        (ask(cache_control={"type": "ephemeral"}), price(written=0), {}, []),
        (ask(cache_control={"ttl": "1h"}), price(written=0), {}, ["cache_control.ttl"]),
        (ask(cache_control={"ttl": "1h"}), price(("cache_write_1h", 200)), {}, []),
        (ask(plugins=[], mystery=1), price(), {"allowed_parameters": {"plugins": "0.02 USD a call"}}, ["mystery"]),
        (ask(tools=[{"type": "browser"}]), price(), {"allowed_parameters": {"tools": "1 USD a call"}}, []),
    ],
)
def test_a_request_is_refused_unless_its_costs_are_covered_or_allowed(
    body: dict[str, Any], priced: PriceList, settings: dict[str, Any], refused: list[str]
) -> None:
    assert [need.param for need in unpriced(read_costs(body, "chat", "openai", settings), priced, settings)] == refused


@pytest.mark.parametrize(
    ("body", "needs"),
    [
        ({"model": "m", "input": "Hello", "reasoning": {"effort": "low"}, "store": True, "background": False}, []),
        ({"model": "m", "input": "Hello", "service_tier": "priority", "mystery": 1}, ["service_tier", "mystery"]),
        ({"model": "m", "input": "Hello", "tools": [{"type": "shell"}, {"type": "image_generation"}]}, ["tools[1].type"]),
        ({"input": [{"content": [{"type": "input_audio", "input_audio": {"data": "AA"}}]}]}, ["input[0].content[0]"]),
        ({"input": [{"type": "function_call_output", "output": [{"type": "input_image", "image_url": JPEG}]}]}, []),
    ],
)
def test_what_a_relayed_response_needs(body: dict[str, Any], needs: list[str]) -> None:
    assert [need.param for need in read_costs(body, "responses", "responses", {}).needs] == needs


LABELED_AS_IMAGE = "data:image/png;base64,JVBERi0xLjcKJeLjz9M="


@pytest.mark.parametrize(
    ("part", "dialect", "is_unbounded"),
    [
        ({"type": "image_url", "image_url": {"url": JPEG}}, "anthropic", False),
        ({"type": "image_url", "image_url": {"url": PDF}}, "anthropic", True),
        ({"type": "image_url", "image_url": LABELED_AS_IMAGE}, "anthropic", True),
        ({"type": "image_url", "image_url": {"url": "data:text/plain;base64,AAAA"}}, "anthropic", True),
        ({"type": "image_url", "image_url": {"url": "https://a/b.png"}}, "gemini", False),
        ({"type": "image_url", "image_url": {"url": "https://a/b.pdf"}}, "gemini", True),
        ({"type": "image_url", "image_url": {"url": "https://a/b.pdf"}}, "anthropic", False),
        ({"type": "file", "file": {"file_data": LABELED_AS_IMAGE}}, "anthropic", True),
        ({"type": "file", "file": {"url": JPEG, "file_data": "https://a/b.pdf"}}, "anthropic", True),
        ({"type": "file", "file": {"url": JPEG, "file_id": "f"}}, "openai", True),
        ({"type": "file", "file": {"file_data": JPEG}}, "openai", False),
    ],
)
def test_a_document_is_unbounded_input_in_any_kind_of_part(part: dict[str, Any], dialect: str, is_unbounded: bool) -> None:
    assert read_costs(ask(part), "chat", dialect, {}).limits.unbounded_input is is_unbounded


def test_an_image_of_an_earlier_answer_is_input_of_a_relayed_response() -> None:
    body = {"input": [{"type": "image_generation_call", "result": "AAAA"}]}
    assert read_costs(body, "responses", "responses", {}).limits == RequestCosts(("image_input",))


def test_every_kind_of_call_has_a_table() -> None:
    media = {kind for _, kind in MEDIA_DIALECTS} | {f"image {operation}" for operation in OPERATION_PATHS}
    assert {kind for kind, _ in NON_CHAT_DIALECTS} | media == OTHER_KINDS.keys()


@pytest.mark.parametrize(("kind", "declared"), [*JOBS.items(), ("image edit", EditForm), ("image variation", VariationForm)])
def test_every_accepted_field_of_media_is_classified(kind: str, declared: type[Body]) -> None:
    unsent = {"callback_url", "image[]"}
    assert {field.encode_name for field in msgspec.structs.fields(declared)} - OTHER_KINDS[kind].keys() <= unsent


@pytest.mark.parametrize(
    ("kind", "fields", "refused"),
    [
        ("image", {"n": 2, "size": "auto", "quality": "high", "seed": 1}, None),
        ("image", {"num_images": 4}, "num_images"),
        ("image", {"output_format": "gif", "frame_count": 16}, "frame_count"),
        ("image", {"image": "https://a/b.png"}, "image"),
        ("image edit", {"input_fidelity": "high"}, None),
        ("image edit", {"svg": {}}, "svg"),
        ("video", {"seconds": "4", "n": 2}, "n"),
        ("speech", {"input": "a", "sample_rate": 1}, "sample_rate"),
    ],
)
def test_a_media_field_of_unknown_cost_must_be_allowed(kind: str, fields: dict[str, Any], refused: str | None) -> None:
    assert unpriced_media_field(fields, kind, {}) == refused
    assert unpriced_media_field(fields, kind, {"allowed_parameters": {refused: "0.02 USD"}}) is None


@pytest.mark.parametrize(
    ("kind", "body", "needs"),
    [
        ("embedding", {"model": "m", "input": "a", "dimensions": 8, "user": None}, []),
        ("embedding", {"model": "m", "input": "a", "ocr": True}, ["ocr"]),
        ("moderation", {"model": "m", "input": "a", "deep": 1}, ["deep"]),
        ("rerank", {"model": "m", "query": "a", "documents": ["b"], "top_n": 1, "priority": 0}, ["priority"]),
        ("transcription", {"fields": [("language", "en"), ("timestamp_granularities[]", "word")]}, []),
        ("transcription", {"fields": [("diarize", "true")]}, ["diarize"]),
    ],
)
def test_what_other_kinds_of_calls_need(kind: str, body: dict[str, Any], needs: list[str]) -> None:
    assert [need.param for need in read_costs(body, kind, "openai", {}).needs] == needs


@pytest.mark.parametrize(("seconds", "held"), [(90, 90), (None, 6)])
def test_a_transcription_holds_its_duration_or_the_maximum_for_its_size(seconds: int | None, held: int) -> None:
    body = {"fields": [], "file": bytes(5_000), "seconds": seconds}
    assert read_costs(body, "transcription", "openai", {}).limits == RequestCosts(seconds=held)


def test_the_page_is_generated_from_the_table() -> None:
    assert DOCUMENT.read_text() == cost_page.render_page(), "run `python -m shared.billing.cost_page > docs/cost-effects.md`"
