"""nginx and haproxy with the configuration in `deploy/`, in front of edges on other ports."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from tests.servers.process import ROOT, Process, dies_with_parent, free_port, start_on_free_port

_NGINX_MAIN = """\
daemon off;
user {user};
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{site}
}}
"""


def missing_proxies() -> list[str]:
    """The proxies that are not installed; `bin/setup dev` installs Debian's."""
    return [name for name in ("nginx", "haproxy") if not _program(name)]


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin")


class ReverseProxy:
    """A proxy with TLS on `port` of 127.0.0.1, and without TLS on `plain_port`. `certificate` is a PEM file with its key.

    The configuration has two edges; haproxy accepts more.
    """

    def __init__(self, name: str, folder: Path, edges: Sequence[int], certificate: Path) -> None:
        self.name = name
        self._folder = folder / name
        self._folder.mkdir()
        self._edges, self._certificate = edges, certificate
        self.plain_port = free_port()
        start = {"nginx": self._start_nginx, "haproxy": self._start_haproxy}[name]
        self.process, self.port = start_on_free_port(start, lambda _, port: _accepts(port))

    def _start_nginx(self, port: int) -> Process:
        site = _replaced(
            "deploy/nginx.conf",
            {
                "    listen [::]:80;\n": "",
                "    listen [::]:443 ssl http2;\n": "",
                "listen 80;": f"listen 127.0.0.1:{self.plain_port};",
                "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
                "/etc/letsencrypt/live/api.example.com/fullchain.pem": str(self._certificate),
                "/etc/letsencrypt/live/api.example.com/privkey.pem": str(self._certificate),
                **self._edge_addresses(),
            },
        )
        user = "root" if os.geteuid() == 0 else "nobody"  # only its owner can read the folder
        config = self._folder / "nginx.conf"
        config.write_text(_NGINX_MAIN.format(user=user, folder=self._folder, site=site))
        return self._started(port, "nginx", "-c", str(config), "-e", "stderr")

    def _start_haproxy(self, port: int) -> Process:
        config = self._folder / "haproxy.cfg"
        config.write_text(
            _replaced(
                "deploy/haproxy.cfg",
                {
                    "    log /dev/log local0\n    user haproxy\n    group haproxy\n": "",
                    "    log global\n": "",
                    "maxconn 20000": "maxconn 1000",  # the limit of open files is lower for this user
                    "bind :80\n": f"bind 127.0.0.1:{self.plain_port}\n",
                    "bind :443 ssl": f"bind 127.0.0.1:{port} ssl",
                    "/etc/haproxy/api.example.com.pem": str(self._certificate),
                    **self._edge_addresses(),
                },
            )
            + "".join(
                f"    server edge-{port} 127.0.0.1:{port}\n    server unready-{port} 127.0.0.1:{port} backup no-check\n"
                for port in self._edges[2:]
            )
        )
        return self._started(port, "haproxy", "-db", "-f", str(config))

    def _edge_addresses(self) -> dict[str, str]:
        return {f"127.0.0.1:{name}": f"127.0.0.1:{port}" for name, port in zip((8000, 8010), self._edges[:2], strict=True)}

    def _started(self, port: int, program: str, *arguments: str) -> Process:
        argv = dies_with_parent([str(_program(program)), *arguments])
        return Process(program, argv, env=os.environ, cwd=self._folder, log=self._folder / f"{port}.log")


def _replaced(file: str, changes: dict[str, str]) -> str:
    """The text of a file with its addresses and paths replaced by those of this test."""
    text = (ROOT / file).read_text()
    for old, new in changes.items():
        assert old in text, f"{file} no longer contains {old!r}"
        text = text.replace(old, new)
    return text


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False
