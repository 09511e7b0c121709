"""The duration of audio files: encoded ones, and files that state a shorter duration or are damaged."""

from __future__ import annotations

import struct

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


def wav(*formats: bytes) -> bytes:
    """Return ten seconds at 8,000 bytes per second, after chunks with `formats`."""
    chunks = b"".join(b"fmt " + len(format).to_bytes(4, "little") + format for format in formats)
    return b"RIFF\0\0\0\0WAVE" + chunks + b"data\0\0\0\0" + bytes(80_000)


SLOW = struct.pack("<HHIIHH", 1, 1, 8_000, 8_000, 1, 8)
FAST = struct.pack("<HHIIHH", 1, 2, 96_000, 384_000, 4, 16)
ADPCM = struct.pack("<HHIIHH", 2, 1, 8_000, 4_000, 256, 4)
EXTENSION = struct.pack("<HHI", 22, 16, 0)
GUID = bytes.fromhex("000000001000800000aa00389b71")


@pytest.mark.parametrize(
    ("formats", "seconds"),
    [
        ([SLOW], 10),
        ([b"\xfe\xff" + SLOW[2:] + EXTENSION + b"\1\0" + GUID], 10),
        ([b"\xfe\xff" + FAST[2:] + EXTENSION + b"\x55\0" + GUID], None),  # MP3
        ([b"\xfe\xff" + FAST[2:] + EXTENSION + b"\1\0" + bytes(14)], None),
        ([SLOW, FAST], None),
        ([ADPCM, FAST], None),
        ([SLOW[:14]], None),  # the sample size would be read from the next chunk
    ],
)
def test_only_one_complete_format_of_plain_samples_in_a_wav_file_is_used(formats: list[bytes], seconds: int | None) -> None:
    assert audio_seconds(wav(*formats)) == seconds


def test_of_two_sample_rates_in_a_flac_file_the_lower_one_counts() -> None:
    data = encode_audio(sound(10), RATE, "flac")
    for rate, seconds in ((8_000, 30), (96_000, 10)):
        stated = data[:18] + (rate << 4 | data[20] & 15).to_bytes(3, "big") + data[21:]
        assert audio_seconds(stated) == seconds


def test_frames_of_mp3_in_a_file_of_another_format_do_not_count() -> None:
    data = encode_audio(sound(10), RATE, "mp3")
    assert audio_seconds(b"\0\0\0\x10ftypM4A \0\0\0\0" + data) is None
    assert audio_seconds(b"\0" + data) is None


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
    data = encode_audio(sound(1), RATE, "mp3")
    assert audio_seconds(b"ID3\4\0\0\0\0\0\0" * 2_000 + data) is None
    assert audio_seconds(b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 2_000 + wav(SLOW)[12:]) is None


HEADS = [b"", b"fLaC", b"RIFF\0\0\0\0WAVE", b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0", b"ID3\4\0\0\0\0\0\1"]


@given(st.sampled_from(HEADS), st.binary(max_size=200))
def test_arbitrary_bytes_are_handled(head: bytes, rest: bytes) -> None:
    seconds = audio_seconds(head + rest)
    assert seconds is None or 0 <= seconds <= MAX_SECONDS
