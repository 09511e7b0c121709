"""Every chat request field of OpenAI's SDK is listed in every dialect's field table, and the tables match the behavior."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from openai.types.chat import completion_create_params as openai

from shared.dialects import compatibility_table
from shared.dialects.base import UnsupportedField
from shared.dialects.compatibility_table import TABLES
from shared.dialects.field_support import Fields
from tests.shared.dialects.calls import request_body

DOCUMENT = Path(__file__).parents[3] / "docs" / "compatibility.md"
KNOWN = {*openai.CompletionCreateParamsBase.__annotations__, *openai.CompletionCreateParamsStreaming.__annotations__}
TRANSLATED = ("anthropic", "gemini", "responses")
each = pytest.mark.parametrize("dialect", TRANSLATED)


@pytest.mark.parametrize("dialect", TABLES)
def test_every_field_of_the_sdk_is_listed(dialect: str) -> None:
    assert set(TABLES[dialect].fields) >= KNOWN


@each
def test_rejected_fields_are_rejected_by_name(dialect: str) -> None:
    values = {"modalities": ["audio"], "functions": [{}], "logit_bias": {"1": 1}, "logprobs": True, "n": 3, "top_logprobs": 4}
    values["stop"] = "x"
    refused: Fields = {name: field for name, field in TABLES[dialect].fields.items() if field.support == "refused"}
    assert refused
    for name, field in refused.items():
        with pytest.raises(UnsupportedField) as problem:
            request_body(
                dialect, **{name: values.get(name, {"odd": 1} if name not in ("seed",) and "penalty" not in name else 1)}
            )
        assert problem.value.param == name
        for neutral in field.accepted_values:
            request_body(dialect, **{name: neutral})


@each
def test_passed_fields_reach_the_provider_unchanged(dialect: str) -> None:
    values: dict[str, Any] = {"stream": True, "top_p": 0.5, "top_k": 4, "thinking": {"type": "disabled"}}
    values["cache_control"] = {"type": "ephemeral"}
    values |= {"temperature": 0.5, "top_logprobs": 2, "service_tier": "flex", "prompt_cache_retention": "24h"}
    values["prompt_cache_options"] = {"ttl": "30m"}
    for name, field in TABLES[dialect].fields.items():
        if field.support == "passed":
            assert request_body(dialect, **{name: values[name]})[name] == values[name]


@pytest.mark.parametrize("name", sorted(KNOWN - {"stream_options", "model", "messages"}))
def test_the_openai_dialect_forwards_unmapped_fields(name: str) -> None:
    value = {"stream": True, "logprobs": True, "n": 2}.get(name)
    if value is None or TABLES["openai"].fields[name].support != "passed":
        return
    assert request_body("openai", **{name: value})[name] == value


def test_the_compatibility_document_matches_the_tables() -> None:
    assert DOCUMENT.read_text() == compatibility_table.render_page(), (
        "run `python -m shared.dialects.compatibility_table > docs/compatibility.md`"
    )
