"""A customer who calls a reverse proxy over TLS."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from contextlib import ExitStack, closing
from typing import Any

from tests.edge.http_calls import chat_body
from tests.servers.reverse_proxy import ReverseProxy

HOST = "api.example.com"


class Customer:
    """Calls a proxy over TLS from a loopback address of its own. `stack` closes its connections."""

    def __init__(
        self, proxy: ReverseProxy, context: ssl.SSLContext, secret: str, stack: ExitStack, address: str = "127.0.0.1"
    ) -> None:
        self._proxy, self._context, self._secret, self._stack, self._address = proxy, context, secret, stack, address

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> http.client.HTTPResponse:
        """Send a request on a new connection; the response is not read yet."""
        connection = self._stack.enter_context(closing(_Https(self._proxy.port, self._context, self._address)))
        data = json.dumps(body).encode() if body is not None else None
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"authorization": f"Bearer {self._secret}", "content-type": "application/json", **named}
        connection.request(method, path, data, sent)
        return self._stack.enter_context(connection.getresponse())

    def chat(self, **fields: Any) -> http.client.HTTPResponse:
        return self.send("POST", "/v1/chat/completions", chat_body(**fields))


class _Https(http.client.HTTPSConnection):
    """Connects to 127.0.0.1, but expects the certificate of `HOST`."""

    def __init__(self, port: int, context: ssl.SSLContext, source: str) -> None:
        super().__init__(HOST, port, timeout=20, context=context)
        self._source = source

    def connect(self) -> None:
        plain = socket.create_connection(("127.0.0.1", self.port), 20, source_address=(self._source, 0))
        self.sock = self._context.wrap_socket(plain, server_hostname=HOST)
