"""Media type detection: real files of every supported type, and files that only resemble one."""

from __future__ import annotations

import io

import av
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shared.text.media_types import HEAD_BYTES, detect_media_type

IMAGE_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}
SOUNDS = [
    ("mp3", "libmp3lame", "audio/mpeg"),
    ("wav", "pcm_s16le", "audio/wav"),
    ("ogg", "libopus", "audio/ogg"),
    ("flac", "flac", "audio/flac"),
    ("adts", "aac", "audio/aac"),
]
VIDEOS = [("mp4", "libx264", "video/mp4"), ("webm", "libvpx-vp9", "video/webm")]


@pytest.mark.parametrize("kind", IMAGE_TYPES)
def test_images(kind: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(file, kind)
    assert detect_media_type(file.getvalue()[:HEAD_BYTES]) == IMAGE_TYPES[kind]


@pytest.mark.parametrize(("container", "codec", "expected"), SOUNDS)
def test_audio(container: str, codec: str, expected: str) -> None:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(numpy.zeros((1, 4_800), numpy.int16), "s16", "mono")
        frame.sample_rate = 48_000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    assert detect_media_type(file.getvalue()[:HEAD_BYTES]) == expected


def test_mp3_without_an_id3_tag() -> None:
    assert detect_media_type(bytes.fromhex("fffb90c4") + bytes(60)) == "audio/mpeg"
    assert detect_media_type(bytes.fromhex("fff3e0c4") + bytes(60)) == "audio/mpeg"


@pytest.mark.parametrize(("container", "codec", "expected"), VIDEOS)
def test_videos(container: str, codec: str, expected: str) -> None:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(3):
            output.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        output.mux(stream.encode(None))
    assert detect_media_type(file.getvalue()[:HEAD_BYTES]) == expected


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"<",
        b"<!doctype html><script>alert(1)</script>",
        b"<html>",
        b'<svg xmlns="http://www.w3.org/2000/svg">',
        b'<?xml version="1.0"?><svg>',
        b"\xef\xbb\xbf<svg>",
        b'{"error": {"message": "no"}}',
        b"%PDF-1.7",
        b"PK\x03\x04",
        b"MZ",
        b"\x00\x00\x00\x18ftypheic",
        b"\x00\x00\x00\x18ftyp",
        b"RIFF\x00\x00\x00\x00AVI ",
        b"RIFF",
        b"\x1aE\xdf\xa3\x93B\x82\x88matroska",
        b"\xff\xfe<\x00s\x00v\x00g\x00",  # UTF-16 markup, whose byte order mark resembles an MP3 frame
        b"\xff\xff\xff\xff",
        b"\xff\xfb",
        b" \x89PNG\r\n\x1a\n",
        b"Content-Type: image/png\r\n\r\n",
    ],
)
def test_other_content_has_no_type(head: bytes) -> None:
    assert detect_media_type(head) is None


@given(st.binary(max_size=HEAD_BYTES))
def test_no_bytes_raise(head: bytes) -> None:
    found = detect_media_type(head)
    assert found is None or found.split("/")[0] in {"image", "audio", "video"}
