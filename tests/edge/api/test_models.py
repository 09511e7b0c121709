"""The public catalog."""

from __future__ import annotations

import pytest

from tests import factories
from tests.edge.api.conftest import ApiStack
from tests.servers.process import eventually


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
        "context_window": 8_000,
        "pricing": {
            "credits_per_1k_input": 0,
            "credits_per_1k_output": 0,
            "credits_per_1k_cached_input": 0,
            "credits_per_1k_cache_write": 0,
            "credits_per_call": 0,
            "minimum_credits": 0,
        },
        "free": True,
    }
    assert models["m-1"]["pricing"] == {
        "credits_per_1k_input": 1_000,
        "credits_per_1k_output": 2_000,
        "credits_per_1k_cached_input": 1_000,
        "credits_per_1k_cache_write": 1_000,
        "credits_per_call": 0,
        "minimum_credits": 10,
    }
    assert models["m-1"]["free"] is False


def test_a_new_model_appears(api: ApiStack) -> None:
    factories.model("picture", kind="image", per_call=5, owned_by="painter", description="Paints.")

    def shown() -> bool:
        found = {model["id"]: model for model in api.request("GET", "/api/chat/models/").json["models"]}
        return "picture" in found and (found["picture"]["kind"], found["picture"]["provider"]) == ("image", "painter")

    eventually(shown, "the edge has reloaded the catalog")
