"""The endpoint POST /v1/audio/speech."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from aiohttp import web

from embedded.catalog import DEMO_SPEECH
from embedded.errors import invalid_request, server_error
from embedded.json_fields import number
from embedded.json_http import optional_choice, read_object, require_model, required_string
from embedded.model_loader import ModelLoader

if TYPE_CHECKING:
    from embedded.espeak import ESpeak

MAX_INPUT_CHARACTERS = 4096  # characters, OpenAI's limit
FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")
MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
# OpenAI's voice names, so that client defaults work, then languages. Values: (eSpeak voice, pitch; 50 is normal).
VOICES = {
    "alloy": ("en-us", 50),
    "ash": ("en-us+m3", 40),
    "ballad": ("en-gb-x-rp+m1", 45),
    "cedar": ("en-us+m7", 35),
    "coral": ("en-us+f3", 60),
    "echo": ("en-us+m1", 45),
    "fable": ("en-gb-scotland", 50),
    "marin": ("en-us+f2", 55),
    "nova": ("en-us+f4", 60),
    "onyx": ("en-us+m5", 25),
    "sage": ("en-gb-x-rp+f2", 50),
    "shimmer": ("en-us+f5", 65),
    "verse": ("en-gb-x-rp", 50),
    "de": ("de", 50),
    "es": ("es", 50),
    "fr": ("fr", 50),
    "it": ("it", 50),
    "nl": ("nl", 50),
    "pl": ("pl", 50),
    "pt": ("pt", 50),
}


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    text: str
    voice: str
    speed: float
    format: str


class Speech:
    """The endpoint and its synthesizer, which is loaded on first use."""

    def __init__(self, offer: ModelLoader) -> None:
        self._offer = offer

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/audio/speech", self._create)]

    async def _create(self, http: web.Request) -> web.Response:
        request = read_speech_request(await read_object(http))
        self._offer.require_available()
        audio = await self._offer.run(self._synthesize, request)
        return web.Response(body=audio, content_type=MEDIA_TYPES[request.format])

    def _synthesize(self, request: SpeechRequest) -> bytes:
        from embedded.audio_encoding import encode_audio
        from embedded.espeak import SpeechFailed

        voice, pitch = VOICES[request.voice]
        try:
            samples = self._espeak.synthesize(request.text, voice, request.speed, pitch)
        except SpeechFailed as error:
            raise server_error(f"{error}.") from error
        return encode_audio(samples, self._espeak.rate, request.format)

    @cached_property
    def _espeak(self) -> "ESpeak":
        from embedded.espeak import ESpeak

        return ESpeak()


def read_speech_request(body: dict[str, Any]) -> SpeechRequest:
    """Validate the body. `instructions` is ignored: the synthesizer does not support it. Raises ApiError 400."""
    require_model(body, DEMO_SPEECH)
    optional_choice(body, "stream_format", ("audio",), "audio")
    voice = body.get("voice")
    if not isinstance(voice, str) or voice not in VOICES:
        raise invalid_request("voice", f"'voice' must be one of: {', '.join(VOICES)}.")
    speed = number(body, "speed", 0.25, 4)
    return SpeechRequest(
        text=required_string(body, "input", MAX_INPUT_CHARACTERS),
        voice=voice,
        speed=1.0 if speed is None else speed,
        format=optional_choice(body, "response_format", FORMATS, "mp3"),
    )
