"""Samples to a file, in each of the formats of POST /v1/audio/speech."""

import io
from typing import NamedTuple, cast

import av
import numpy
from av.audio.stream import AudioStream
from numpy.typing import NDArray

PCM_RATE = 24_000  # what OpenAI's `pcm` is: 16-bit little-endian samples, one channel, no header


class Encoding(NamedTuple):
    """How PyAV makes a format: its container, codec, sample format and rate."""

    container: str
    codec: str
    samples: str
    rate: int
    bit_rate: int | None


ENCODINGS = {
    "mp3": Encoding("mp3", "libmp3lame", "s16p", PCM_RATE, 64_000),
    "opus": Encoding("ogg", "libopus", "s16", 48_000, 32_000),
    "aac": Encoding("adts", "aac", "fltp", PCM_RATE, 64_000),
    "flac": Encoding("flac", "flac", "s16", PCM_RATE, None),
    "wav": Encoding("wav", "pcm_s16le", "s16", PCM_RATE, None),
}


def encode(samples: NDArray[numpy.int16], rate: int, format: str) -> bytes:
    """One channel of samples as a file of that format, or as bare samples for `pcm`."""
    if not len(samples):
        samples = numpy.zeros(rate // 10, numpy.int16)  # a text of signs alone is not spoken; a player wants something
    source = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
    source.sample_rate = rate
    if format == "pcm":
        resampler = av.AudioResampler("s16", "mono", PCM_RATE)
        frames = [*resampler.resample(source), *resampler.resample(None)]
        return b"".join(frame.to_ndarray().astype("<i2").tobytes() for frame in frames)
    how = ENCODINGS[format]
    file = io.BytesIO()
    with av.open(file, "w", format=how.container) as output:
        stream = cast(AudioStream, output.add_stream(how.codec, rate=how.rate, layout="mono", format=how.samples))
        if how.bit_rate:
            stream.bit_rate = how.bit_rate
        resampler = av.AudioResampler(how.samples, "mono", how.rate, frame_size=stream.codec_context.frame_size or 0)
        for frame in (*resampler.resample(source), *resampler.resample(None)):
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()
