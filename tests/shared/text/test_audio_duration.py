"""The duration of audio files: encoded ones, and files that state a shorter duration or are damaged."""

from __future__ import annotations

import struct
from contextlib import suppress
from functools import cache
from io import BytesIO
from typing import Any
from unittest.mock import patch

import av
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedded.audio_encoding import encode_audio
from shared.text import matroska_duration
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


def test_the_lower_of_two_sample_rates_in_a_flac_file_counts() -> None:
    data = encode_audio(sound(10), RATE, "flac")
    for rate, seconds in ((8_000, 30), (96_000, 10)):
        stated = data[:18] + (rate << 4 | data[20] & 15).to_bytes(3, "big") + data[21:]
        assert audio_seconds(stated) == seconds


def test_frames_of_mp3_in_a_file_of_another_format_do_not_count() -> None:
    data = encode_audio(sound(10), RATE, "mp3")
    assert audio_seconds(b"\0\0\0\x10ftypM4A \0\0\0\0" + data) is None
    assert audio_seconds(b"\0" + data) is None


def test_other_formats_are_unknown() -> None:
    assert audio_seconds(encode_audio(sound(2, noise=True), RATE, "aac")) is None
    assert audio_seconds(contained("mp4", "aac", 1)) is None


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


# Containers: Ogg, and WebM as recorders in browsers write it


@cache
def contained(format: str, codec: str, seconds: float, live: bool = False) -> bytes:
    """Encode silence. `live`: like a recorder, which does not know sizes and durations in advance."""
    file = BytesIO()
    options = {"live": "1", "cluster_time_limit": "500"} if live else {}
    with av.open(file, "w", format=format, options=options) as output:
        stream: Any = output.add_stream(codec, rate=48_000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(numpy.zeros((1, int(seconds * 48_000)), numpy.int16), format="s16", layout="mono")
        frame.sample_rate = 48_000
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=48_000)
        for part in (*resampler.resample(frame), None):
            output.mux(stream.encode(part))
    return file.getvalue()


def decoded_seconds(data: bytes) -> float:
    """Return the seconds that FFmpeg decodes, up to the first error."""
    seconds = 0.0
    with suppress(av.error.FFmpegError, IndexError), av.open(BytesIO(data)) as file:
        for frame in file.decode(file.streams.audio[0]):
            seconds += frame.samples / frame.sample_rate
    return seconds


OPUS = [("ogg", False), ("webm", False), ("webm", True), ("matroska", False)]


@pytest.mark.parametrize(("format", "live"), OPUS)
def test_opus_in_containers(format: str, live: bool) -> None:
    assert audio_seconds(contained(format, "libopus", 10.4, live)) == 11


def test_the_aac_frames_in_one_sample_of_mp4_have_no_bound() -> None:
    """This is why the duration of MP4 files is not computed."""
    with av.open(BytesIO(contained("mp4", "aac", 2))) as file:
        packets = [bytes(packet) for packet in file.demux(audio=0) if packet.size]
        decoder = av.CodecContext.create("aac", "r")
        decoder.extradata = file.streams.audio[0].codec_context.extradata
    frames = decoder.decode(av.Packet(b"".join(packets[:20])))
    assert len(frames) > 1


def ogg_page(serial: int, packets: list[bytes], *, granule: int = -1, flags: int = 0, crc: int = 0) -> bytes:
    laces = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
    head = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, granule, serial, 0, crc, len(laces))
    return head + laces + b"".join(packets)


OPUS_HEAD = b"OpusHead\1\1" + struct.pack("<HIhB", 312, 48_000, 0, 0)
DTX = b"\x18"  # 60 ms in one byte


def vorbis_head(rate: int, blocks: int = 0xB8) -> bytes:
    return b"\x01vorbis" + struct.pack("<IBIiiiBB", 0, 1, rate, 0, 0, 0, blocks, 1)


@pytest.mark.parametrize(
    ("pages", "seconds"),
    [
        ([ogg_page(1, [OPUS_HEAD]), ogg_page(1, [DTX] * 100)], 6),
        ([ogg_page(1, [OPUS_HEAD], granule=0), ogg_page(1, [DTX] * 100, granule=5)], 6),  # the stated duration is too short
        ([ogg_page(1, [OPUS_HEAD], granule=0), ogg_page(1, [DTX], granule=48_000 * 9)], 9),
        ([ogg_page(1, [OPUS_HEAD]), *[ogg_page(1, [DTX] * 50)] * 2, ogg_page(2, [OPUS_HEAD]), ogg_page(2, [DTX] * 100)], 12),
        ([ogg_page(1, [OPUS_HEAD, b"OpusTags"]), ogg_page(1, [b"OpusTags"] * 50)], 6),  # packets that look like a header
        ([ogg_page(1, [OPUS_HEAD]), ogg_page(1, [b"\x1b\x3f", b""] * 50)], 12),  # more frames than a packet may have, and none
        ([ogg_page(1, [OPUS_HEAD]), ogg_page(1, [ogg_page(1, [DTX] * 60)])], 4),  # a page in a page that a reader may reject
        ([ogg_page(1, [vorbis_head(16_000)]), ogg_page(1, [b"\x03", b"\x05"]), ogg_page(1, [b"\0"] * 100)], 7),
        ([ogg_page(1, [vorbis_head(48_000)]), ogg_page(1, [b"\0"] * 100), ogg_page(1, [vorbis_head(16_000)])], 7),
        ([ogg_page(1, [vorbis_head(0)]), ogg_page(1, [b"\0"] * 100)], None),
        ([ogg_page(1, [b"Speex   "]), ogg_page(1, [b"\0"] * 100)], None),
        ([ogg_page(1, [OPUS_HEAD]), ogg_page(2, [b"\x80theora"])], None),
    ],
)
def test_all_packets_of_ogg_files_count(pages: list[bytes], seconds: int | None) -> None:
    assert audio_seconds(b"".join(pages)) == seconds


def element(id: str, content: bytes, size: int | None = None) -> bytes:
    """Return an EBML element, optionally with another size; -1 is an unknown one."""
    size = len(content) if size is None else size
    return bytes.fromhex(id) + (b"\x01" + b"\xff" * 7 if size < 0 else (1 << 56 | size).to_bytes(8, "big")) + content


def track(codec: bytes = b"A_OPUS", more: bytes = b"") -> bytes:
    return element("ae", element("d7", b"\1") + element("83", b"\2") + element("86", codec) + more)


def cluster(packets: int, time: int = 0, size: int | None = None) -> bytes:
    block = element("a3", b"\x81\0\0\x80" + DTX)
    return element("1f43b675", element("e7", time.to_bytes(4, "big")) + block * packets, size)


EBML = element("1a45dfa3", element("4282", b"webm"))
INFO = element("1549a966", element("2ad7b1", (1_000_000).to_bytes(3, "big")))
TRACKS = element("1654ae6b", track())
FILE = [INFO, TRACKS, cluster(100)]
HIDDEN = cluster(100)
SEEK = element("114d9b74", element("4dbb", element("53ab", bytes.fromhex("1654ae6b")) + element("53ac", bytes([len(INFO) + 40]))))


@pytest.mark.parametrize(
    ("parts", "seconds"),
    [
        (FILE, 6),
        ([INFO, TRACKS, cluster(50, size=-1), cluster(50, 3_000, size=-1)], 6),
        ([*FILE[:2], cluster(50, size=3), cluster(50, size=10**6)], 6),  # wrong sizes
        ([*FILE, cluster(1, 60_000)], 61),  # silence between the blocks
        ([*FILE[:2], element("1f43b675", element("a0", element("a1", b"\x81\0\0\0" + DTX) + element("9b", b"\1")) * 50)], 3),
        ([*FILE[:2], element("1f43b675", element("a3", b"\x81\0\0\x02\x31" + DTX * 50))], 6),  # laced: 50 packets
        ([INFO, TRACKS, element("ec", bytes(9)), cluster(100)], 6),
        ([*FILE, element("ec", HIDDEN)], None),  # a reader that searches for clusters would find it
        ([*FILE, element("1254c367", b"\xff" + HIDDEN)], None),
        ([*FILE, element("ec", TRACKS)], None),
        ([*FILE, element("ec", bytes.fromhex("53ab84") + TRACKS)], None),
        ([SEEK, *FILE], None),  # it refers to something other than the tracks
        ([*FILE, element("bb", b"")], None),
        ([INFO, element("1654ae6b", track(b"A_AAC")), cluster(100)], None),
        ([INFO, element("1654ae6b", track(more=element("6d80", b""))), cluster(100)], None),  # packets without their first bytes
        ([INFO, cluster(100), TRACKS], None),
        ([INFO, element("1654ae6b", b"\xec\x80" * 1_000 + track()), cluster(100)], None),  # slow to read
        ([INFO, TRACKS, TRACKS, cluster(100)], None),
        ([INFO, TRACKS], None),
        ([*FILE[:2], cluster(100)[:-3]], None),
        ([element("1549a966", element("2ad7b1", b"\xff" * 1_000)), TRACKS, cluster(100), cluster(100, 1)], None),  # long integers
        ([*FILE[:2], element("1f43b675", element("e7", b"\xff" * 1_000) + element("a3", b"\x81\0\0\x80" + DTX))], None),
    ],
)
def test_all_blocks_of_matroska_files_count(parts: list[bytes], seconds: int | None) -> None:
    assert audio_seconds(EBML + element("18538067", b"".join(parts), -1)) == seconds


def test_containers_that_are_slow_to_read_are_not_read_to_the_end() -> None:
    many = ogg_page(1, [b""] * 255) * 3_000
    assert audio_seconds(ogg_page(1, [OPUS_HEAD]) + many) == MAX_SECONDS
    with patch.object(matroska_duration, "_MAX_ELEMENTS", 200):
        assert audio_seconds(EBML + element("18538067", b"".join(FILE), -1)) == 6
        assert audio_seconds(EBML + element("18538067", b"".join([*FILE[:2], b"\xec\x80" * 100, *FILE[2:]]), -1)) is None


@given(st.sampled_from(OPUS), st.data())
@settings(max_examples=60, deadline=None)
def test_a_decoder_never_finds_more_than_the_duration(kind: tuple[str, bool], data: st.DataObject) -> None:
    """Parts of a file are changed, removed and repeated."""
    file = bytearray(contained(kind[0], "libopus", 3, kind[1]))
    for _ in range(data.draw(st.integers(0, 4))):
        start = data.draw(st.integers(0, len(file)))
        end = data.draw(st.integers(start, min(start + 400, len(file))))
        piece = bytes(file[start:end])
        file[start:end] = data.draw(st.sampled_from([b"", piece * 2, piece * 20, data.draw(st.binary(max_size=8))]))
    seconds = audio_seconds(bytes(file))
    assert seconds is None or seconds >= decoded_seconds(bytes(file)) - 0.001
