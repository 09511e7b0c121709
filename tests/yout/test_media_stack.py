"""The whole stack as `yout up` starts it from packaged parts: media generated with a key and on the account page."""

from __future__ import annotations

import base64
import json
import lzma
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from langchain_openai import OpenAIEmbeddings
from playwright.async_api import Page, expect
from pydantic import SecretStr

from shared.text.media_types import HEAD_BYTES, detect_media_type
from shared.tokenizer import cl100k
from tests.conftest import OpenPage
from tests.servers.browser import PHONE
from tests.servers.process import Process, dies_with_parent, eventually
from tests.yout.up_process import new_installation

PATIENCE_SECONDS = 120
PATIENCE_MS = PATIENCE_SECONDS * 1000
PASSWORD = "correct horse battery"
IMAGE, VIDEO = 40_000, 1_200_000


class Stack:
    """A running `yout up`, and the key that it printed."""

    def __init__(self, process: Process, url: str) -> None:
        self.process, self.url = process, url
        [self.key] = [line.split()[-1] for line in process.log.read_text().splitlines() if line.startswith("  API key")]

    def call(self, method: str, path: str, body: object = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers, method=method), timeout=60) as answer:
            return json.load(answer)

    def make(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Submit a job and wait for its end."""
        job = self.call("POST", f"/api/media/{kind}/", fields)["job_uuid"]
        path = f"/api/media/jobs/{job}/"
        eventually(lambda: self.call("GET", path)["status"] not in ("queued", "running"), f"the {kind}", PATIENCE_SECONDS)
        ended: dict[str, Any] = self.call("GET", path)
        return ended

    @property
    def balance(self) -> int:
        return int(self.call("GET", "/api/chat/limit/")["balance"])


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    installation = new_installation(folder, YOUT_SIGN_UP_CREDITS="5000000", YOUT_SMTP_URL="")
    argv = dies_with_parent([sys.executable, "-m", "yout", "up"])
    process = Process("yout up", argv, env=installation.environment, cwd=folder, log=folder / "output")
    try:
        process.wait_ready(lambda: "Ctrl-C stops it" in process.output(), PATIENCE_SECONDS)
        yield Stack(process, f"http://127.0.0.1:{installation.environment['YOUT_EDGE_PORT']}")
        assert process.terminate(signal.SIGINT) == 0, process.output()
    finally:
        process.kill()


def test_the_printed_snippet_calls_the_local_model(stack: Stack, tmp_path: Path) -> None:
    printed = stack.process.log.read_text()
    begin = printed.index("Paste into a shell:") + len("Paste into a shell:")
    snippet = printed[begin : printed.index("END\n", begin) + len("END\n")]
    assert "smollm2-135m-instruct" in snippet
    done = subprocess.run(
        ["sh"], input=snippet, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True
    )
    text, charge, _ = done.stdout.partition("{'credits_charged'")
    assert text.strip()
    assert charge


@pytest.mark.parametrize(
    ("kind", "fields", "expected", "cost"),
    [
        ("image", {"model": "demo-image", "prompt": "a lake", "n": 2, "size": "512x512"}, ["image/png"] * 2, 2 * IMAGE),
        ("speech", {"model": "demo-speech", "input": "Good morning."}, ["audio/mpeg"], 195),
        ("video", {"model": "demo-video", "prompt": "a lake", "seconds": 1, "size": "640x360"}, ["video/mp4"], VIDEO),
    ],
)
def test_every_kind_is_generated_and_charged(
    stack: Stack, kind: str, fields: dict[str, Any], expected: list[str], cost: int
) -> None:
    before = stack.balance
    job = stack.make(kind, **fields)
    assert (job["status"], job["error"], job["credits_cost"]) == ("succeeded", None, cost)
    assert [output["content_type"] for output in job["outputs"]] == expected
    for output in job["outputs"]:
        with urllib.request.urlopen(output["url"], timeout=60) as file:
            assert detect_media_type(file.read(HEAD_BYTES)) == output["content_type"]
    assert stack.balance == before - cost


@pytest.fixture
def sdk(stack: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=stack.key, max_retries=0, timeout=PATIENCE_SECONDS) as client:
        yield client


# OpenAI's SDK warns that its own video service ends; this API keeps the format.
@pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning")
def test_openais_sdk_generates_every_kind(stack: Stack, sdk: openai.OpenAI) -> None:
    before = stack.balance
    [image] = sdk.images.generate(model="demo-image", prompt="a forest", size="1024x1024").data or []
    if image.b64_json is not None:
        data = base64.b64decode(image.b64_json)
    else:
        with urllib.request.urlopen(image.url or "", timeout=60) as file:
            data = file.read()
    assert detect_media_type(data[:HEAD_BYTES]) == "image/png"
    sound = sdk.audio.speech.create(model="demo-speech", voice="nova", input="Hello.", response_format="wav").content
    assert detect_media_type(sound[:HEAD_BYTES]) == "audio/wav"
    video = sdk.videos.create_and_poll(model="demo-video", prompt="a forest", seconds="4", poll_interval_ms=500)
    assert video.status == "completed"
    assert detect_media_type(sdk.videos.download_content(video.id).read()[:HEAD_BYTES]) == "video/mp4"
    assert stack.balance == before - IMAGE - 90 - VIDEO


def test_openais_sdk_creates_embeddings(stack: Stack, sdk: openai.OpenAI) -> None:
    answer = sdk.embeddings.create(model="all-minilm-l6-v2", input=["A cat sat on the mat.", "A kitten lay on the rug."])
    assert [len(one.embedding) for one in answer.data] == [384, 384]
    assert answer.usage.prompt_tokens == 18  # nine each, including the special tokens
    assert sum(a * b for a, b in zip(answer.data[0].embedding, answer.data[1].embedding, strict=True)) > 0.5


def test_token_ids_from_langchain_are_embedded_as_their_text(
    stack: Stack, sdk: openai.OpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default, LangChain splits texts into cl100k_base ids for models that it does not know."""
    kept = tmp_path / "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"  # tiktoken names its cached file by the hash of the file's URL
    kept.write_bytes(lzma.decompress(cl100k.RANKS.read_bytes()))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    texts = ["A cat sat on the mat.", "Ein Kätzchen 🐈 lag auf dem Teppich. " * 40]
    key: Any = SecretStr(stack.key)
    langchain = OpenAIEmbeddings(model="all-minilm-l6-v2", base_url=f"{stack.url}/v1", api_key=key, embedding_ctx_length=250)
    vectors = langchain.embed_documents(texts)
    assert len(vectors) == 2
    plain = sdk.embeddings.create(model="all-minilm-l6-v2", input=texts[0]).data[0].embedding
    assert vectors[0] == pytest.approx(plain, abs=1e-6)
    assert sum(number * number for number in vectors[1]) == pytest.approx(1, abs=1e-3)


async def sign_up(page: Page, stack: Stack, email: str) -> None:
    await page.goto(f"{stack.url}/sign-up")
    await page.get_by_label("Email").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.locator("main button.primary").click()
    await page.wait_for_url("**/account**")


async def test_image_speech_and_video_on_the_page(stack: Stack, open_page: OpenPage) -> None:
    page = await open_page()
    await sign_up(page, stack, "maker@example.com")
    await page.get_by_role("link", name="Media").click()
    price = page.locator("[data-price]")
    await expect(price).to_contain_text("40\u202f000 credits")

    await page.get_by_label("Prompt").fill("A lighthouse above the sea at sunset")
    await page.get_by_label("Images").select_option("2")
    await expect(price).to_contain_text("80\u202f000 credits")
    await page.get_by_role("button", name="Generate images").click()
    images = page.locator('[data-status="succeeded"] img')
    await expect(images).to_have_count(2, timeout=PATIENCE_MS)
    for number in range(2):
        image = images.nth(number)
        assert await image.evaluate("async (one) => { await one.decode(); return one.naturalWidth; }") == 640  # the thumbnail
    await expect(page.locator(".made")).to_contain_text("−80\u202f000 credits")
    await expect(page.get_by_label("Prompt")).to_have_value("A lighthouse above the sea at sunset")

    await page.get_by_role("link", name="Speech").click()
    await page.get_by_label("Text").fill("Good morning. " * 100)
    await expect(price).to_contain_text("21\u202f000 credits")
    await page.get_by_role("button", name="Generate speech").click()
    sound = page.locator('[data-status="succeeded"] audio')
    await expect(sound).to_be_visible(timeout=PATIENCE_MS)
    await sound.evaluate("async (one) => { one.muted = true; await one.play(); }")
    assert await sound.evaluate("(one) => one.duration") > 30

    await page.get_by_role("link", name="Video").click()
    await page.get_by_label("Prompt").fill("the sea at night")
    await page.get_by_label("Size").select_option("640x360")
    await page.get_by_role("button", name="Generate video").click()
    video = page.locator('[data-status="succeeded"] video')
    await expect(video).to_be_visible(timeout=PATIENCE_MS)
    played = """async (one) => {
        one.muted = true;
        const moved = new Promise((tell) => one.addEventListener("timeupdate", () => { if (one.currentTime > 0.3) tell(); }));
        await one.play();
        await moved;
        return [one.readyState >= 2, one.paused, one.videoWidth, one.videoHeight, Math.round(one.duration)];
    }"""
    assert await video.evaluate(played) == [True, False, 640, 360, 4]
    await expect(page.locator(".flash")).to_have_count(0)


async def test_a_video_is_cancelled_on_the_page_and_its_hold_released(stack: Stack, open_page: OpenPage) -> None:
    page = await open_page(viewport=PHONE, scheme="dark")
    await sign_up(page, stack, "changed-my-mind@example.com")
    await page.goto(f"{stack.url}/account/media?kind=video")
    await page.get_by_label("Prompt").fill("the longest night")
    await page.get_by_label("Seconds").select_option("12")
    await expect(page.locator("[data-price]")).to_contain_text("3\u202f600\u202f000 credits")
    await page.get_by_role("button", name="Generate video").click()
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator(".made")).to_contain_text("You were not charged")
    await page.get_by_role("link", name="Overview").click()
    await expect(page.locator("dl.figures")).to_contain_text("5\u202f000\u202f000")
    # No element is wider than a phone.
    await page.goto(f"{stack.url}/account/media?kind=video")
    assert await page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
