"""The duration of audio files: encoded ones, and files that state a shorter duration or are damaged."""

from __future__ import annotations

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded.audio_encoding import encode_audio
from shared.text.audio_duration import MAX_SECONDS, audio_seconds

RATE = 24_000
MEASURED = ("mp3", "flac", "wav")


def sound(seconds: float, *, noise: bool = False) -> numpy.typing.NDArray[numpy.int16]:
    count = int(seconds * RATE)
    return (numpy.random.default_rng(1).standard_normal(count) * 3_000 * noise).astype(numpy.int16)


@pytest.mark.parametrize("format", MEASURED)
@pytest.mark.parametrize("noise", [False, True])
def test_the_duration_of_encoded_audio(format: str, noise: bool) -> None:
    data = encode_audio(sound(30.4, noise=noise), RATE, format)
    assert audio_seconds(data) == 31
    assert audio_seconds(b"ID3\x04\x00\x00\x00\x00\x01\x00" + b"\xff\xf8" * 64 + data) == (31 if format != "wav" else None)
    if noise:
        assert audio_seconds(data + data[len(data) // 2 :]) in (46, 47), "the second half again"


def test_silence_in_flac_has_few_bytes_but_its_full_duration() -> None:
    data = encode_audio(sound(100), RATE, "flac")
    assert len(data) < 300 * 100
    stated = data[:21] + bytes([data[21] & 0xF0]) + (1).to_bytes(4, "big") + data[26:]  # total samples: one
    assert audio_seconds(data) == audio_seconds(stated) == 100


def test_sizes_in_the_header_of_a_wav_file_do_not_count() -> None:
    data = bytearray(encode_audio(sound(5), RATE, "wav"))
    place = data.index(b"data") + 4
    data[place : place + 4] = (10).to_bytes(4, "little")
    assert audio_seconds(bytes(data)) == 5


@pytest.mark.parametrize("format", ["opus", "aac"])
def test_other_formats_are_unknown(format: str) -> None:
    assert audio_seconds(encode_audio(sound(2, noise=True), RATE, format)) is None


def test_a_file_that_is_mostly_something_else_is_unknown() -> None:
    data = encode_audio(sound(2), RATE, "mp3")
    assert audio_seconds(data + b"OggS" + bytes(len(data))) is None
    assert audio_seconds(b"") is audio_seconds(b"RIFF\0\0\0\0WAVE") is audio_seconds(b"fLaC") is None


def test_files_that_are_slow_to_read_are_not_read_to_the_end() -> None:
    assert audio_seconds(b"fLaC" + bytes(38) + b"\xff\xf8" * 200_000) == MAX_SECONDS
    assert audio_seconds(b"\xff" * 200_000) is None


HEADS = [b"", b"fLaC", b"RIFF\0\0\0\0WAVE", b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0", b"ID3\4\0\0\0\0\0\1"]


@given(st.sampled_from(HEADS), st.binary(max_size=200))
def test_arbitrary_bytes_are_handled(head: bytes, rest: bytes) -> None:
    seconds = audio_seconds(head + rest)
    assert seconds is None or 0 <= seconds <= MAX_SECONDS
