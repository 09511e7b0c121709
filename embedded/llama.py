"""llama.cpp inside this process: how it is set up, and its own small HTTP server that we talk to.

xllamacpp starts llama.cpp's server on a loopback port of its own. Going through that port, rather than through the
package's Python callbacks, is what makes cancelling work: llama.cpp stops a generation when its connection closes.
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

MOST_THREADS = 4
"""More threads than this do not make a model of this size faster."""

ANSWER_SECONDS = 30
"""Longest wait for the loaded server's first answer, in seconds."""


@dataclass(frozen=True, slots=True)
class Llama:
    """A loaded model. Dropping the last reference to `server` stops its threads and frees its memory."""

    server: Any
    url: str
    key: str


def load(path: Path, slots: int) -> Llama:
    """Load the weights, in about 0.3 s during which no Python runs. Raises ModelUnavailable."""
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
    """Return when the server answers. One that is dropped before it does is deaf to its own end, and the process hangs."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/health")
        connection.getresponse()
    finally:
        connection.close()


def _tune(params: Any, slots: int) -> None:
    """Little memory, quick start, quick cancel."""
    params.n_ctx = CONTEXT_TOKENS * slots
    params.n_parallel = slots
    # llama.cpp looks for cancelled work between batches, and reports progress (see smollm) once a batch.
    params.n_batch = params.n_ubatch = 128
    # Kept prompts of past conversations would take up to 8 GB.
    params.cache_ram_mib = 0
    params.warmup = params.fit_params = params.ui = False
    params.verbosity = 0
    # One core is left to others: llama.cpp's threads wait for each other hundreds of times a token, so one that has to
    # share its core holds all of them up. Measured on two busy cores: 44 tokens a second by one thread, 6 by two.
    threads = max(1, min(MOST_THREADS, (os.cpu_count() or 1) - 1))
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
