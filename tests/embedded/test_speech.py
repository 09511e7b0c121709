"""Demo speech: audio in every format, with a length that fits the text."""

from __future__ import annotations

import io

import av
import numpy
import openai
import pytest

from embedded.audio_encoding import encode_audio
from embedded.speech import FORMATS, MEDIA_TYPES, VOICES
from shared.text.media_types import HEAD_BYTES, detect_media_type
from tests.embedded.embedded_server import Server, send

MODEL = "demo-speech"
GOOD = {"model": MODEL, "voice": "alloy", "input": "Good morning, this is a test of the speech synthesiser."}


def speak(client: openai.OpenAI, **options: object) -> bytes:
    return client.audio.speech.create(**(GOOD | options)).content


def samples(sound: bytes) -> tuple[numpy.ndarray, int]:
    with av.open(io.BytesIO(sound)) as file:
        stream = file.streams.audio[0]
        resampler = av.AudioResampler("flt", "mono", stream.rate)
        frames = [made.to_ndarray() for frame in file.decode(stream) for made in resampler.resample(frame)]
        return numpy.concatenate(frames, axis=1)[0], stream.rate


def seconds(sound: bytes) -> float:
    heard, rate = samples(sound)
    return len(heard) / rate


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "pcm"])
def test_formats(client: openai.OpenAI, format: str) -> None:
    sound = speak(client, response_format=format)
    assert detect_media_type(sound[:HEAD_BYTES]) == MEDIA_TYPES[format]
    heard, rate = samples(sound)
    assert 2.5 < len(heard) / rate < 5
    assert numpy.abs(heard).max() > 0.05


def test_pcm_is_24_khz_of_one_channel(client: openai.OpenAI) -> None:
    sound = numpy.frombuffer(speak(client, response_format="pcm"), "<i2")
    assert 2.5 < len(sound) / 24_000 < 5
    assert numpy.abs(sound.astype(int)).max() > 1_500


def test_every_format_contains_the_same_samples() -> None:
    tone = (numpy.sin(numpy.arange(22_050) * 0.1) * 8_000).astype(numpy.int16)
    bare = numpy.frombuffer(encode_audio(tone, 22_050, "pcm"), "<i2")
    assert abs(len(bare) - 24_000) < 50
    for format in ("wav", "flac"):
        heard, rate = samples(encode_audio(tone, 22_050, format))
        assert rate == 24_000
        assert numpy.allclose(heard, bare / 32_768, atol=1e-4)
    for format in ("mp3", "opus", "aac"):
        heard, rate = samples(encode_audio(tone, 22_050, format))
        assert 0.95 < len(heard) / rate < 1.2
        assert abs(numpy.sqrt((heard**2).mean()) - 8_000 / 32_768 / 2**0.5) < 0.04


def test_empty_text_is_a_short_silence() -> None:
    assert seconds(encode_audio(numpy.zeros(0, numpy.int16), 22_050, "wav")) == pytest.approx(0.1, abs=0.01)


def test_the_default_is_mp3(client: openai.OpenAI) -> None:
    assert detect_media_type(speak(client)[:HEAD_BYTES]) == "audio/mpeg"


def test_speed(client: openai.OpenAI) -> None:
    slow, normal, fast = (seconds(speak(client, speed=speed, response_format="wav")) for speed in (0.5, 1, 2))
    assert slow > 1.5 * normal > 2 * fast


def test_voices_differ(client: openai.OpenAI) -> None:
    sounds = {voice: speak(client, voice=voice, response_format="pcm", input="Hello, world.") for voice in VOICES}
    assert all(len(sound) > 12_000 for sound in sounds.values())
    assert len(set(sounds.values())) == len(VOICES)


@pytest.mark.parametrize("text", ["…", "?!", "\x01", "日本", "a\0b", "<speak>hello</speak>", "[[h@l'oU]]", "x" * 4096, "🎉"])
def test_unusual_texts_produce_audio(client: openai.OpenAI, text: str) -> None:
    assert detect_media_type(speak(client, input=text)[:HEAD_BYTES]) == "audio/mpeg"


def test_more_text_is_longer(client: openai.OpenAI) -> None:
    text = "One sentence after another. "
    assert seconds(speak(client, input=text * 20)) > 15 * seconds(speak(client, input=text))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": ""}, "model"),
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": "x" * 4097}, "input"),
        ({"voice": None}, "voice"),
        ({"voice": "darth"}, "voice"),
        ({"voice": ["alloy"]}, "voice"),
        ({"speed": 0.1}, "speed"),
        ({"speed": 5}, "speed"),
        ({"speed": "1"}, "speed"),
        ({"response_format": "ogg"}, "response_format"),
        ({"stream_format": "sse"}, "stream_format"),
    ],
)
async def test_an_invalid_field_is_a_400_naming_it(server: Server, fields: dict, param: str) -> None:
    status, body = await send(server, "POST", "/v1/audio/speech", json=GOOD | fields)
    assert (status, body["error"]["type"], body["error"]["param"]) == (400, "invalid_request_error", param)
