"""Demo videos: generated in the background with real progress, playable, and cancelled when deleted."""

from __future__ import annotations

import asyncio
import io

import av
import numpy
import openai
import pytest

from embedded import videos
from embedded.videos import Video
from shared.text.media_types import HEAD_BYTES, detect_media_type
from tests.embedded.embedded_server import WAIT_SECONDS, Server, send, start, stop

MODEL = "demo-video"
GOOD = {"model": MODEL, "prompt": "the sea at night", "size": "640x360", "seconds": "1"}


async def until(server: Server, id: str, *statuses: str) -> dict:
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            status, body = await send(server, "GET", f"/v1/videos/{id}")
            assert status == 200
            if body["status"] in statuses:
                return body
            await asyncio.sleep(0.05)


# OpenAI's SDK warns that its own video service ends; this API keeps the format.
@pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning")
def test_the_sdk_creates_a_playable_video(client: openai.OpenAI) -> None:
    video = client.videos.create_and_poll(**(GOOD | {"seconds": "2"}), poll_interval_ms=100)
    assert (video.status, video.progress, video.size, video.seconds) == ("completed", 100, "640x360", "2")
    content = client.videos.download_content(video.id).read()
    assert detect_media_type(content[:HEAD_BYTES]) == "video/mp4"
    assert content.index(b"moov") < content.index(b"mdat")  # playable while it downloads
    with av.open(io.BytesIO(content)) as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 640, 360)
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in file.decode(stream)]
    assert len(frames) == 48
    assert numpy.abs(frames[0] - frames[-1]).mean() > 1  # the image changes
    client.videos.delete(video.id)
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve(video.id)


async def test_progress_is_reported_during_generation(server: Server) -> None:
    _, created = await send(server, "POST", "/v1/videos", json=GOOD | {"seconds": 3})
    assert (created["object"], created["status"], created["progress"]) == ("video", "queued", 0)
    seen = set()
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            _, body = await send(server, "GET", f"/v1/videos/{created['id']}")
            seen.add(body["progress"])
            if body["status"] == "completed":
                break
            assert body["status"] in ("queued", "in_progress")
            await asyncio.sleep(0.02)
    assert seen - {0, 100}
    assert body["completed_at"] >= body["created_at"]
    assert body["expires_at"] == body["completed_at"] + 3_600


async def test_content_is_available_once_completed(server: Server) -> None:
    _, created = await send(server, "POST", "/v1/videos", json=GOOD | {"seconds": 20})
    status, body = await send(server, "GET", f"/v1/videos/{created['id']}/content")
    assert (status, body["error"]["code"]) == (400, "video_not_ready")
    assert (await send(server, "DELETE", f"/v1/videos/{created['id']}"))[1]["deleted"] is True


async def test_deleting_a_video_starts_the_next(server: Server) -> None:
    _, long = await send(server, "POST", "/v1/videos", json=GOOD | {"seconds": 20, "size": "1280x720"})
    await until(server, long["id"], "in_progress")
    _, short = await send(server, "POST", "/v1/videos", json=GOOD)
    await send(server, "DELETE", f"/v1/videos/{long['id']}")
    async with asyncio.timeout(60):
        assert (await until(server, short["id"], "completed"))["progress"] == 100


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/content"), ("DELETE", "")])
async def test_an_unknown_video_is_a_404(server: Server, method: str, path: str) -> None:
    status, body = await send(server, method, f"/v1/videos/video_{'0' * 32}{path}")
    assert (status, body["error"]["code"]) == (404, "video_not_found")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"seconds": "0"}, "seconds"),
        ({"seconds": "21"}, "seconds"),
        ({"seconds": 1.5}, "seconds"),
        ({"seconds": True}, "seconds"),
        ({"seconds": "-4"}, "seconds"),
        ({"seconds": "٤"}, "seconds"),
        ({"size": "1x1"}, "size"),
        ({"input_reference": {"image_url": "data:"}}, "input_reference"),
    ],
)
async def test_an_invalid_field_is_a_400_naming_it(server: Server, fields: dict, param: str) -> None:
    status, body = await send(server, "POST", "/v1/videos", json=GOOD | fields)
    assert (status, body["error"]["type"], body["error"]["param"]) == (400, "invalid_request_error", param)


async def test_a_form_is_accepted_like_json(server: Server) -> None:
    status, body = await send(server, "POST", "/v1/videos", data=GOOD)
    assert (status, body["seconds"], body["size"]) == (200, "1", "640x360")
    await until(server, body["id"], "completed")


async def test_a_full_queue_is_a_429_and_shutdown_ends_waiting_videos(tmp_path) -> None:
    server = start(tmp_path)
    body = GOOD | {"seconds": 20, "size": "1280x720"}
    try:
        for _ in range(videos.MAX_QUEUED):
            assert (await send(server, "POST", "/v1/videos", json=body))[0] == 200
        status, refused = await send(server, "POST", "/v1/videos", json=body)
        assert (status, refused["error"]["code"]) == (429, "rate_limit_exceeded")
    finally:
        assert stop(server) == 0


def test_old_videos_are_deleted() -> None:
    kept = videos.Videos(None)  # type: ignore[arg-type]  (nothing is made)
    for number in range(videos.MAX_KEPT + 3):
        video = Video("p", "640x360", 1, id=str(number), status="completed", completed_at=4_000_000_000)
        kept._videos[video.id] = video
    kept._videos["10"].completed_at = 1
    kept._videos["running"] = Video("p", "640x360", 1, id="running", created_at=1)
    kept._forget_old()
    assert set(kept._videos) == {str(number) for number in range(3, videos.MAX_KEPT + 3) if number != 10} | {"running"}
