"""The videos of demo-video: the landscape of a prompt, moving, encoded for browsers."""

import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy
from av.video.stream import VideoStream
from numpy.typing import NDArray

from embedded.image_label import caption
from embedded.procedural_image import draw, scene_of

FRAMES_PER_SECOND = 24
DRAWN_PIXELS = 480 * 270
"""About how large each frame is drawn; it is then enlarged, as nothing in it is sharp but the caption."""
# Those that an encoder may be built with, best first; Chromium, Firefox and Safari play each of them in MP4.
_ENCODERS = {
    "libx264": {"preset": "veryfast", "crf": "23"},
    "libopenh264": {},
    "libvpx-vp9": {"deadline": "realtime"},
    "libsvtav1": {},
}


def shoot(prompt: str, width: int, height: int, seconds: int, told: Callable[[int, int], None]) -> bytes:
    """An MP4 file. `told(done, of)` hears of each frame and may raise, which ends the work."""
    count = seconds * FRAMES_PER_SECOND
    encoder = next(name for name in _ENCODERS if name in av.codecs_available)
    with tempfile.TemporaryDirectory(prefix="yout-video-") as folder:
        path = Path(folder) / "video.mp4"
        # The index goes to the front of the file, so that a browser begins to play before it has the whole.
        with av.open(str(path), "w", options={"movflags": "+faststart"}) as file:
            stream = cast(VideoStream, file.add_stream(encoder, rate=FRAMES_PER_SECOND, options=_ENCODERS[encoder]))
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.codec_context.time_base = Fraction(1, FRAMES_PER_SECOND)
            stream.codec_context.thread_count = 1
            for number, colours in enumerate(_frames(prompt, width, height, count)):
                frame = av.VideoFrame.from_ndarray(colours, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, FRAMES_PER_SECOND)
                file.mux(stream.encode(frame))
                told(number + 1, count)
            file.mux(stream.encode(None))
        return path.read_bytes()


def _frames(prompt: str, width: int, height: int, count: int) -> Iterator[NDArray[numpy.uint8]]:
    scale = min(1.0, (DRAWN_PIXELS / (width * height)) ** 0.5)
    small = (round(width * scale), round(height * scale))
    scene, words = scene_of(prompt, 0), numpy.asarray(caption(prompt, width, height), numpy.uint16)
    rows = numpy.flatnonzero(words[:, :, 3].any(axis=1))  # those that have something of the caption
    cover = words[rows, :, 3:]
    colours = words[rows, :, :3] * cover
    for number in range(count):
        drawn = numpy.clip(draw(scene, *small, number / FRAMES_PER_SECOND), 0, 255).astype(numpy.uint8)
        frame = av.VideoFrame.from_ndarray(drawn, format="rgb24")
        enlarged = cast(NDArray[numpy.uint8], frame.reformat(width, height, interpolation="BICUBIC").to_ndarray())
        enlarged[rows] = (enlarged[rows] * (255 - cover) + colours) // 255
        yield enlarged
