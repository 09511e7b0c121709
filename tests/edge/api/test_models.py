"""The public catalog: `/api/chat/models/`, and `/v1/models` in OpenAI's and Anthropic's formats."""

from __future__ import annotations

import anthropic
import pytest

from tests import factories
from tests.edge.api.conftest import ApiStack
from tests.servers.process import eventually

ANTHROPIC = {"anthropic-version": "2023-06-01"}


@pytest.mark.parametrize("path", ["/api/chat/models/", "/api/chat/models"])
def test_the_catalog_is_public(api: ApiStack, path: str) -> None:
    answer = api.request("GET", path)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    models = {model["id"]: model for model in answer.json["models"]}
    assert list(models) == sorted(models)
    assert models["free"] == {
        "id": "free",
        "name": "free",
        "provider": "yout",
        "kind": "chat",
        "description": "",
        "tags": ["tools"],
        "input_modalities": ["text"],
        "context_window": 8_000,
        "max_output_tokens": None,
        "supported_parameters": models["free"]["supported_parameters"],
        "pricing": {
            "credits_per_1k_input": 0,
            "credits_per_1k_output": 0,
            "credits_per_1k_cached_input": 0,
            "credits_per_1k_cache_write": 0,
            "credits_per_call": 0,
            "minimum_credits": 0,
        },
        "free": True,
        "available": False,
    }
    assert {"temperature", "max_tokens", "tools"} <= {*models["free"]["supported_parameters"]}
    assert models["m-1"]["pricing"] == {
        "credits_per_1k_input": 1_000,
        "credits_per_1k_output": 2_000,
        "credits_per_1k_cached_input": 1_000,
        "credits_per_1k_cache_write": 1_000,
        "credits_per_call": 0,
        "minimum_credits": 10,
    }
    assert models["m-1"]["free"] is False
    limited = api.customer(allowed_models=["m-2"]).get(path).json["models"]
    assert [model["id"] for model in limited if model["available"]] == ["m-2"]


def test_a_new_model_appears(api: ApiStack) -> None:
    factories.model("image-1", kind="image", per_call=5, owned_by="painter", description="Paints.")

    def shown() -> bool:
        found = {model["id"]: model for model in api.request("GET", "/api/chat/models/").json["models"]}
        return "image-1" in found and (found["image-1"]["kind"], found["image-1"]["provider"]) == ("image", "painter")

    eventually(shown, "the edge has reloaded the catalog")


def test_openais_list_is_public_and_a_key_narrows_it(api: ApiStack) -> None:
    everything = {entry["id"]: entry for entry in api.request("GET", "/v1/models").json["data"]}
    assert list(everything) == sorted(everything)
    assert {"m-1", "m-2", "free"} <= {*everything}
    found = everything["m-1"]
    assert found["pricing"]["prompt"] == found["pricing"]["input_cache_read"] == "0.000001"
    assert found["pricing"]["credits_per_1k_output"] == 2_000
    assert everything["free"]["context_length"] == everything["free"]["top_provider"]["context_length"] == 8_000
    assert "tools" in everything["free"]["supported_parameters"]
    assert api.request("GET", "/v1/models/m-1").json == found
    limited = api.customer(allowed_models=["m-2"])
    assert [entry["id"] for entry in limited.get("/v1/models").json["data"]] == ["m-2"]
    assert limited.get("/v1/models/m-1").error["code"] == api.request("GET", "/v1/models/none").error["code"] == "model_not_found"
    wrong = api.request("GET", "/v1/models/m-1", None, {"authorization": "Bearer yout-wrong"})
    assert (wrong.status, wrong.error["code"]) == (401, "invalid_api_key")


def test_anthropics_sdk_reads_the_chat_models(api: ApiStack) -> None:
    factories.model("vectors", kind="embedding")
    eventually(lambda: api.request("GET", "/v1/models/vectors").status == 200, "the edge knows the model")
    customer = api.customer(allowed_models=["free", "m-1", "m-2", "vectors"])
    with anthropic.Anthropic(base_url=api.edge.url, api_key=customer.secret, max_retries=0) as client:
        assert [entry.id for entry in client.models.list(limit=1)] == ["free", "m-1", "m-2"], "the SDK follows the pages"
        page = client.models.list(limit=2, before_id="m-2")
        assert ([entry.id for entry in page.data], page.has_more, page.first_id, page.last_id) == (
            ["free", "m-1"],
            False,
            "free",
            "m-1",
        )
        assert client.models.list(limit=1, before_id="m-2").has_more is True
        one = client.models.retrieve("m-1")
        assert (one.type, one.display_name, one.created_at.year >= 2026) == ("model", "m-1", True)
        with pytest.raises(anthropic.NotFoundError):
            client.models.retrieve("none")


@pytest.mark.parametrize(
    ("headers", "is_anthropic"),
    [({}, False), (ANTHROPIC, True), ({"x-api-key": "$"}, True), ({"x-api-key": "$", "authorization": "Bearer $"}, False)],
)
def test_the_headers_select_the_format(api: ApiStack, headers: dict[str, str], is_anthropic: bool) -> None:
    secret = api.customer().secret
    sent = {name: value.replace("$", secret) for name, value in headers.items()}
    listed, missing = api.request("GET", "/v1/models", None, sent), api.request("GET", "/v1/models/none", None, sent)
    assert ("has_more" in listed.json, "object" in listed.json) == (is_anthropic, not is_anthropic)
    assert missing.status == 404
    assert missing.json.get("type") == ("error" if is_anthropic else None)
    assert ("request-id" in listed.headers) is is_anthropic


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "after_id=a&before_id=b"])
def test_an_invalid_page(api: ApiStack, query: str) -> None:
    assert api.request("GET", f"/v1/models?{query}", None, ANTHROPIC).status == 400
