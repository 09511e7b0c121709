"""Encodes the videos of demo-video: an animated landscape, as an MP4 that browsers can play."""

import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy
from av.video.stream import VideoStream
from numpy.typing import NDArray

from embedded.image_label import draw_caption
from embedded.procedural_image import build_scene, render_scene

FRAMES_PER_SECOND = 24
DRAWN_PIXELS = 480 * 270
"""Approximate size at which frames are pixels before scaling up: only the caption needs full resolution."""
# Encoders that PyAV may be built with, best first. Chromium, Firefox and Safari play all of them in MP4.
_ENCODERS = {
    "libx264": {"preset": "veryfast", "crf": "23"},
    "libopenh264": {},
    "libvpx-vp9": {"deadline": "realtime"},
    "libsvtav1": {},
}


def render_video(prompt: str, width: int, height: int, seconds: int, on_frame: Callable[[int, int], None]) -> bytes:
    """Return an MP4 file. `on_frame(done, count)` is called after each frame; an exception from it aborts the encoding."""
    count = seconds * FRAMES_PER_SECOND
    encoder = next(name for name in _ENCODERS if name in av.codecs_available)
    with tempfile.TemporaryDirectory(prefix="yout-video-") as folder:
        path = Path(folder) / "video.mp4"
        # faststart puts the index first, so that browsers can play the file while it downloads.
        with av.open(str(path), "w", options={"movflags": "+faststart"}) as file:
            stream = cast(VideoStream, file.add_stream(encoder, rate=FRAMES_PER_SECOND, options=_ENCODERS[encoder]))
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.codec_context.time_base = Fraction(1, FRAMES_PER_SECOND)
            stream.codec_context.thread_count = 1
            for number, colors in enumerate(_frames(prompt, width, height, count)):
                frame = av.VideoFrame.from_ndarray(colors, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, FRAMES_PER_SECOND)
                file.mux(stream.encode(frame))
                on_frame(number + 1, count)
            file.mux(stream.encode(None))
        return path.read_bytes()


def _frames(prompt: str, width: int, height: int, count: int) -> Iterator[NDArray[numpy.uint8]]:
    scale = min(1.0, (DRAWN_PIXELS / (width * height)) ** 0.5)
    small = (round(width * scale), round(height * scale))
    scene, words = build_scene(prompt, 0), numpy.asarray(draw_caption(prompt, width, height), numpy.uint16)
    rows = numpy.flatnonzero(words[:, :, 3].any(axis=1))  # the pixel rows that contain the caption
    alpha = words[rows, :, 3:]
    colors = words[rows, :, :3] * alpha
    for number in range(count):
        pixels = numpy.clip(render_scene(scene, *small, number / FRAMES_PER_SECOND), 0, 255).astype(numpy.uint8)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        enlarged = cast(NDArray[numpy.uint8], frame.reformat(width, height, interpolation="BICUBIC").to_ndarray())
        enlarged[rows] = (enlarged[rows] * (255 - alpha) + colors) // 255
        yield enlarged
