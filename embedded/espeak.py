"""ctypes bindings of eSpeak NG: text to samples. The library has global state, so calls are serialized.

Constants have the names and values of its `speak_lib.h`.
"""

import ctypes
import threading
from pathlib import Path

import espeakng_loader
import numpy
from numpy.typing import NDArray

NORMAL_WORDS_PER_MINUTE = 175
MIN_WORDS_PER_MINUTE, MAX_WORDS_PER_MINUTE = 80, 450  # words per minute, the limits of `espeakRATE`
MAX_SECONDS = 1_800

_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_RATE, _PITCH = 1, 3
_POS_CHARACTER = 1
_CONTINUE, _STOP = 0, 1
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class SpeechFailed(Exception):
    """The synthesizer failed. The message says why."""


class ESpeak:
    """The loaded library. Create one per process: instances would share its state."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        folder = Path(espeakng_loader.get_data_path()).parent
        self.rate: int = self._library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, 0, str(folder).encode(), _INITIALIZE_DONT_EXIT
        )
        if self.rate <= 0:
            raise SpeechFailed("eSpeak NG could not be initialized; reinstall espeakng-loader")
        self._samples = bytearray()
        self._callback = _Callback(self._take)  # keep a reference: the library only holds a pointer
        self._library.espeak_SetSynthCallback(self._callback)

    def synthesize(self, text: str, voice: str, speed: float, pitch: int) -> NDArray[numpy.int16]:
        """Return mono samples at `rate` per second. `speed` 1 is normal; `pitch` is 0 to 100, 50 is normal."""
        with self._lock:
            self._samples = bytearray()
            if self._library.espeak_SetVoiceByName(voice.encode()):
                raise SpeechFailed(f"eSpeak NG has no voice {voice}")
            words = round(min(MAX_WORDS_PER_MINUTE, max(MIN_WORDS_PER_MINUTE, NORMAL_WORDS_PER_MINUTE * speed)))
            self._library.espeak_SetParameter(_RATE, words, 0)
            self._library.espeak_SetParameter(_PITCH, pitch, 0)
            raw = text.replace("\0", " ").encode("utf-8", "replace") + b"\0"
            failed = self._library.espeak_Synth(raw, ctypes.c_size_t(len(raw)), 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None)
            if failed:
                raise SpeechFailed("eSpeak NG could not synthesize this text")
            return numpy.frombuffer(bytes(self._samples), numpy.int16)

    def _take(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, _: object) -> int:
        if samples and count > 0:
            self._samples += ctypes.string_at(samples, count * 2)
        return _STOP if len(self._samples) > MAX_SECONDS * self.rate * 2 else _CONTINUE
