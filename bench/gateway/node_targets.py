"""Targets that run on Node.js: a plain relay, which shows the minimum cost of a proxy on Node, and Portkey's gateway."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.gateway.targets import Gateway, Place, Target, killed, launch
from tests.servers.process import free_port

_SOURCES = Path(__file__).parent
PORTKEY_KEY = "sk-upstream"  # Portkey checks no keys; it passes the provider's on


class NodeRelay(Target):
    """`http-proxy` with kept-alive connections: no authentication, no accounting."""

    name = "node"

    def __init__(self, place: Place, peers: Path | None) -> None:
        self._place = place
        self._modules = peers.absolute() / "node/node_modules" if peers else None

    def missing(self) -> str | None:
        return _missing(self._modules, "http-proxy")

    @contextmanager
    def started(self) -> Iterator[Gateway]:
        port = free_port()
        argv = ["node", str(_SOURCES / "node_relay.cjs"), str(port), self._place.upstream]
        with killed(launch(self.name, argv, port, self._place, environ={"NODE_PATH": str(self._modules)})) as gateway:
            yield gateway


class Portkey(Target):
    """Portkey's open-source gateway: it routes and retries, but checks no keys and keeps no accounts."""

    name = "portkey"

    def __init__(self, place: Place, peers: Path | None) -> None:
        self._place = place
        self._modules = peers.absolute() / "portkey/node_modules" if peers else None

    def missing(self) -> str | None:
        return _missing(self._modules, "@portkey-ai/gateway")

    @contextmanager
    def started(self) -> Iterator[Gateway]:
        port = free_port()
        server = f"{self._modules}/@portkey-ai/gateway/build/start-server.js"
        argv = ["node", "--require", str(_SOURCES / "keep_response.cjs"), server, f"--port={port}", "--headless"]
        headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"http://{self._place.upstream}/v1"}
        with killed(launch(self.name, argv, port, self._place, PORTKEY_KEY, headers=headers)) as gateway:
            yield gateway


def _missing(modules: Path | None, package: str) -> str | None:
    if modules is None:
        return "no --peers folder was given"
    if not shutil.which("node"):
        return "node is not installed; run `apt-get install nodejs`"
    found = modules / package
    return None if found.exists() else f"{found} does not exist; bench/README.md says how to install it"
