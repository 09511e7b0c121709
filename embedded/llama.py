"""Runs llama.cpp in this process, through the HTTP server that xllamacpp starts on a loopback port.

Requests use that port instead of the package's Python callbacks, so that they can be cancelled: llama.cpp stops generating
when the connection closes.
"""

import os
import secrets
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from embedded.catalog import CONTEXT_TOKENS
from embedded.model_file import ModelUnavailable

MAX_THREADS = 4
"""A model of this size does not get faster with more threads."""

ANSWER_SECONDS = 30
"""Timeout for the loaded server's first response."""


@dataclass(frozen=True, slots=True)
class Llama:
    """A loaded model. Dropping the last reference to `server` stops its threads and frees its memory."""

    server: Any
    url: str
    key: str


def load(path: Path, slots: int) -> Llama:
    """Load the weights. This blocks Python for about 0.3 s. Raises ModelUnavailable."""
    try:
        import xllamacpp
    except ImportError as error:
        raise ModelUnavailable(f"xllamacpp cannot be loaded ({error}); {_remedy(error)}") from error
    key = secrets.token_urlsafe(24)
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [key]
    _tune(params, slots)
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        raise ModelUnavailable(f"llama.cpp cannot load {path.name}: {error}") from error
    _wait_for_answer(server.listening_address)
    return Llama(server, server.listening_address, key)


def _remedy(error: ImportError) -> str:
    if isinstance(error, ModuleNotFoundError):
        return "run bin/setup, which installs it"
    if "libgomp" in str(error):
        return "install the system library libgomp.so.1 (Debian, Ubuntu: apt-get install libgomp1) and start again"
    return "install the system library that it names and start again"


def _wait_for_answer(url: str) -> None:
    """Wait until the server responds: if the last reference is dropped earlier, the server ignores the shutdown and the process
    hangs."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/health")
        connection.getresponse()
    finally:
        connection.close()


def _tune(params: Any, slots: int) -> None:
    """Configure for low memory, fast start and fast cancellation."""
    params.n_ctx = CONTEXT_TOKENS * slots
    params.n_parallel = slots
    # llama.cpp checks for cancellation and reports progress (see smollm) once per batch.
    params.n_batch = params.n_ubatch = 128
    # Cached prompts of past conversations would use up to 8 GB.
    params.cache_ram_mib = 0
    params.warmup = params.fit_params = params.ui = False
    params.verbosity = 0
    # Leave one core free: llama.cpp's threads synchronize hundreds of times per token, so one that shares its core
    # delays all. Measured on two busy cores: 44 tokens/s with one thread, 6 with two.
    threads = max(1, min(MAX_THREADS, (os.cpu_count() or 1) - 1))
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
