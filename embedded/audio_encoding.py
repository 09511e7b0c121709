"""Encodes samples in the formats of POST /v1/audio/speech."""

import io
from typing import NamedTuple, cast

import av
import numpy
from av.audio.stream import AudioStream
from numpy.typing import NDArray

PCM_RATE = 24_000  # OpenAI's `pcm`: 16-bit little-endian samples, mono, no header


class Encoding(NamedTuple):
    """The PyAV parameters of a format: container, codec, sample format, and rates in Hz and bit/s."""

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


def encode_audio(samples: NDArray[numpy.int16], rate: int, format: str) -> bytes:
    """Encode mono samples in that format; `pcm` is raw samples."""
    if not len(samples):
        samples = numpy.zeros(rate // 10, numpy.int16)  # text without words has no samples, but players need some
    source = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
    source.sample_rate = rate
    if format == "pcm":
        resampler = av.AudioResampler("s16", "mono", PCM_RATE)
        frames = [*resampler.resample(source), *resampler.resample(None)]
        return b"".join(frame.to_ndarray().astype("<i2").tobytes() for frame in frames)
    encoding = ENCODINGS[format]
    file = io.BytesIO()
    with av.open(file, "w", format=encoding.container) as output:
        stream = cast(AudioStream, output.add_stream(encoding.codec, rate=encoding.rate, layout="mono", format=encoding.samples))
        if encoding.bit_rate:
            stream.bit_rate = encoding.bit_rate
        resampler = av.AudioResampler(encoding.samples, "mono", encoding.rate, frame_size=stream.codec_context.frame_size or 0)
        for frame in (*resampler.resample(source), *resampler.resample(None)):
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()
