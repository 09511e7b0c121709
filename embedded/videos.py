"""The video endpoints: POST /v1/videos, GET and DELETE /v1/videos/{id}, GET /v1/videos/{id}/content."""

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from embedded.catalog import DEMO_VIDEO
from embedded.errors import ApiError, invalid_request
from embedded.json_http import decode_json, json_response, optional_choice, require_model, required_string
from embedded.model_loader import ModelLoader

log = logging.getLogger(__name__)

SIZES = ("720x1280", "1280x720", "360x640", "640x360")
MAX_PROMPT_CHARACTERS = 32_000
DEFAULT_SECONDS, MAX_SECONDS = 4, 20
MAX_QUEUED = 20
MAX_KEPT = 50
KEPT_SECONDS = 3_600
"""How long a finished video can be fetched."""


class VideoCancelled(Exception):
    """The video was cancelled."""


@dataclass(slots=True)
class Video:
    """A video. The encoding thread sets `frames`; the event loop sets everything else."""

    prompt: str
    size: str
    seconds: int
    id: str = field(default_factory=lambda: f"video_{secrets.token_hex(16)}")
    status: str = "queued"
    created_at: int = field(default_factory=lambda: int(time.time()))
    completed_at: int | None = None
    frames: tuple[int, int] = (0, 1)
    cancelled: bool = False
    content: bytes | None = None
    failure: str | None = None

    @property
    def ended(self) -> bool:
        return self.status in ("completed", "failed")

    def report_progress(self, done: int, total: int) -> None:
        """Record progress after a frame. Raises `VideoCancelled` to abort the encoding."""
        if self.cancelled:
            raise VideoCancelled
        self.frames = (done, total)

    def body(self) -> dict[str, Any]:
        """Return OpenAI's video object."""
        return {
            "id": self.id,
            "object": "video",
            "model": DEMO_VIDEO.id,
            "status": self.status,
            "progress": 100 if self.status == "completed" else self.frames[0] * 99 // self.frames[1],
            "created_at": self.created_at,
            "completed_at": self.completed_at,
            "expires_at": None if self.completed_at is None else self.completed_at + KEPT_SECONDS,
            "prompt": self.prompt,
            "size": self.size,
            "seconds": str(self.seconds),
            "remixed_from_video_id": None,
            "error": None if self.failure is None else {"code": "video_generation_failed", "message": self.failure},
        }


class Videos:
    """The endpoints and their videos, which are kept in memory for an hour or until a restart."""

    def __init__(self, offer: ModelLoader) -> None:
        self._offer = offer
        self._videos: OrderedDict[str, Video] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/videos", self._create),
            web.get("/v1/videos/{id}", self._show),
            web.delete("/v1/videos/{id}", self._delete),
            web.get("/v1/videos/{id}/content", self._content),
        ]

    def stop(self) -> None:
        """Abort all videos, each within one frame."""
        for video in self._videos.values():
            video.cancelled = True
        for task in self._tasks:
            task.cancel()

    async def _create(self, http: web.Request) -> web.Response:
        video = read_video_request(await _fields(http))
        self._offer.require_available()
        self._forget_old()
        if sum(not kept.ended for kept in self._videos.values()) >= MAX_QUEUED:
            message = f"{MAX_QUEUED} videos are already queued. Try again later."
            raise ApiError(429, message, type="rate_limit_error", code="rate_limit_exceeded", headers={"Retry-After": "5"})
        self._videos[video.id] = video
        task = asyncio.create_task(self._make(video))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return json_response(video.body())

    async def _show(self, http: web.Request) -> web.Response:
        return json_response(self._found(http).body())

    async def _delete(self, http: web.Request) -> web.Response:
        """Delete a video and abort it if it is in progress."""
        video = self._found(http)
        video.cancelled = True
        del self._videos[video.id]
        return json_response({"id": video.id, "object": "video.deleted", "deleted": True})

    async def _content(self, http: web.Request) -> web.Response:
        video = self._found(http)
        if http.query.get("variant", "video") != "video":
            raise invalid_request("variant", f"'variant' must be 'video' for {DEMO_VIDEO.id}.")
        if video.content is None:
            raise invalid_request(
                None, f"The video is {video.status}. Its content is available once it is completed.", "video_not_ready"
            )
        return web.Response(body=video.content, content_type="video/mp4")

    async def _make(self, video: Video) -> None:
        try:
            video.content = await self._offer.run(_generate, video)
            video.status = "completed"
        except (VideoCancelled, asyncio.CancelledError):
            video.failure = "The video was cancelled."
            video.status = "failed"
        except Exception:  # any encoder error fails the video; the log has the reason
            log.exception("video generation failed")
            video.failure = "Video generation failed. See the log of the embedded provider."
            video.status = "failed"
        video.completed_at = int(time.time())

    def _found(self, http: web.Request) -> Video:
        self._forget_old()
        video = self._videos.get(http.match_info["id"])
        if video is None:
            raise ApiError(404, "This video does not exist or has expired.", param="id", code="video_not_found")
        return video

    def _forget_old(self) -> None:
        ended = [video for video in self._videos.values() if video.ended]
        surplus = max(0, len(ended) - MAX_KEPT)
        for place, video in enumerate(ended):
            if place < surplus or time.time() > (video.completed_at or 0) + KEPT_SECONDS:
                del self._videos[video.id]


def read_video_request(body: dict[str, Any]) -> Video:
    """Validate the fields. Raises ApiError 400."""
    require_model(body, DEMO_VIDEO)
    if body.get("input_reference") is not None:
        raise invalid_request("input_reference", f"'input_reference' is not supported by {DEMO_VIDEO.id}.")
    prompt = required_string(body, "prompt", MAX_PROMPT_CHARACTERS)
    return Video(prompt, optional_choice(body, "size", SIZES, SIZES[0]), _seconds(body.get("seconds")))


def _generate(video: Video) -> bytes:
    from embedded.video_encoder import render_video  # loads PyAV and NumPy on first use

    video.report_progress(0, 1)
    video.status = "in_progress"
    width, height = map(int, video.size.split("x"))
    return render_video(video.prompt, width, height, video.seconds, video.report_progress)


def _seconds(given: Any) -> int:
    """Parse the duration. OpenAI uses strings ("4", "8", "12"); numbers are accepted as well."""
    if given is None:
        return DEFAULT_SECONDS
    text = str(given) if isinstance(given, int) and not isinstance(given, bool) else given
    if not (isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 4 and 1 <= int(text) <= MAX_SECONDS):
        raise invalid_request("seconds", f"'seconds' must be a whole number from 1 to {MAX_SECONDS}.")
    return int(text)


async def _fields(http: web.Request) -> dict[str, Any]:
    """Read the body as JSON or as a form: SDKs send either."""
    if http.content_type in ("multipart/form-data", "application/x-www-form-urlencoded"):
        return dict(await http.post())
    body = decode_json(await http.read())
    if not isinstance(body, dict):
        raise invalid_request(None, "The request body must be a JSON object or a form.")
    return body
