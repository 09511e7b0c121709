"""What targets have in common, and three of them: the mock itself, nginx as the lower bound of any proxy, and LiteLLM."""

from __future__ import annotations

import http.client
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from bench.load import COMPLETIONS_PATH, JSON_BODY, MODEL, NO_HEADERS, MockUpstream, call
from tests.servers.process import Process, StartFailed, dies_with_parent, free_port

START_SECONDS = 120
POLL_SECONDS = 0.01
NGINX_CONFIG = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {folder}/client_body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 10000000;
    upstream mock {{
        server {upstream};
        keepalive 2048;
        keepalive_requests 10000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://mock;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 300s;
        }}
    }}
}}
"""
LITELLM_KEY = "sk-benchmark-key"
LITELLM_CONFIG = """\
model_list:
  - model_name: {model}
    litellm_params:
      model: openai/{model}
      api_base: http://{upstream}/v1
      api_key: sk-upstream
litellm_settings:
  num_retries: 0
  request_timeout: 300
  set_verbose: false
  json_logs: false
general_settings:
  master_key: {key}
"""


class Gateway(NamedTuple):
    """A running target. `process` is None for the mock itself; the CPU of `database`, a server, is reported separately."""

    port: int
    key: str = ""
    process: Process | None = None
    database: Process | None = None
    start_seconds: float | None = None
    headers: Mapping[str, str] = NO_HEADERS  # of every call, besides the key


class Books(NamedTuple):
    """The result of a target's ledger after it has stopped. `problems` must be empty; `charges` counts the charged calls."""

    problems: tuple[str, ...]
    charges: int
    open_holds: int


class Target(Protocol):
    """A server that answers chat calls. `started()` runs it for the duration of a `with` block."""

    name: str

    def missing(self) -> str | None:
        """Return why it cannot be measured here, or None."""
        return None

    def started(self) -> AbstractContextManager[Gateway]: ...

    def books(self) -> Books | None:
        """Return the ledger of the last run, for a target that has one. Call it after the target has stopped."""
        return None


class Place(NamedTuple):
    """Where targets run: the upstream, a folder for their files, and their core."""

    mock: MockUpstream
    folder: Path
    core: int

    @property
    def upstream(self) -> str:
        return f"127.0.0.1:{self.mock.port}"


def inherited() -> dict[str, str]:
    """Return the environment that a target gets besides its own variables, without the operator's settings."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}


def launch(
    name: str,
    argv: Sequence[str],
    port: int,
    place: Place,
    key: str = "",
    environ: Mapping[str, str] | None = None,
    headers: Mapping[str, str] = NO_HEADERS,
) -> Gateway:
    """Start a gateway on its core and wait for its first good chat answer. Raises `StartFailed`."""
    pinned = dies_with_parent(["taskset", "-c", str(place.core), *argv])
    began = time.monotonic()
    env = {**inherited(), **(environ or {})}
    process = Process(name, pinned, env=env, cwd=place.folder, log=place.folder / f"{name}.log")
    try:
        while not _answers(port, key, headers):
            if process.returncode is not None:
                raise StartFailed(f"{name} exited with {process.returncode}:\n{process.output()}")
            if time.monotonic() - began > START_SECONDS:
                raise StartFailed(f"{name} gave no good answer within {START_SECONDS} s:\n{process.output()}")
            time.sleep(POLL_SECONDS)
    except BaseException:
        process.kill()
        raise
    return Gateway(port, key, process, start_seconds=time.monotonic() - began, headers=headers)


def _answers(port: int, key: str, headers: Mapping[str, str]) -> bool:
    try:
        return call(port, "POST", COMPLETIONS_PATH, JSON_BODY, key, more_headers=headers)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


class Direct(Target):
    """No gateway: the limits of the mock and the load client themselves."""

    name = "direct"

    def __init__(self, place: Place) -> None:
        self._place = place

    @contextmanager
    def started(self) -> Iterator[Gateway]:
        yield Gateway(self._place.mock.port)


class Nginx(Target):
    """Debian's nginx with one worker as a plain proxy: no authentication, no accounting."""

    name = "nginx"

    def __init__(self, place: Place) -> None:
        self._place = place

    def missing(self) -> str | None:
        return None if _nginx() else "nginx is not installed; run `apt-get install nginx`"

    @contextmanager
    def started(self) -> Iterator[Gateway]:
        port, folder = free_port(), self._place.folder / "nginx"
        folder.mkdir(exist_ok=True)
        config = folder / "nginx.conf"
        config.write_text(NGINX_CONFIG.format(folder=folder, port=port, upstream=self._place.upstream))
        with killed(launch(self.name, [str(_nginx()), "-c", str(config)], port, self._place)) as gateway:
            yield gateway


class LiteLLM(Target):
    """LiteLLM's proxy with its documented production settings and without a database: no accounts, no spend."""

    name = "litellm"

    def __init__(self, place: Place, peers: Path | None) -> None:
        self._place = place
        self._program = peers.absolute() / "litellm/venv/bin/litellm" if peers else None

    def missing(self) -> str | None:
        if self._program is None:
            return "no --peers folder was given"
        return None if self._program.exists() else f"{self._program} does not exist; bench/README.md says how to install it"

    @contextmanager
    def started(self) -> Iterator[Gateway]:
        port = free_port()
        config = self._place.folder / "litellm.yaml"
        config.write_text(LITELLM_CONFIG.format(model=MODEL, key=LITELLM_KEY, upstream=self._place.upstream))
        argv = [str(self._program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        environ = {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
        }  # the first setting avoids a download at startup
        with killed(launch(self.name, argv, port, self._place, LITELLM_KEY, environ)) as gateway:
            yield gateway


@contextmanager
def killed(gateway: Gateway) -> Iterator[Gateway]:
    """Kill a gateway that has no state to lose at the end of the block."""
    try:
        yield gateway
    finally:
        if gateway.process is not None:
            gateway.process.kill()


def _nginx() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
