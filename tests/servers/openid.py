"""OpenID providers: a real one (oidc-provider-mock) as a process, and a scripted one that also sends invalid answers."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import urllib.request
from contextlib import closing
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from tests.servers.process import Process, dies_with_parent, start_on_free_port
from tests.threads import join

CLIENT_ID, CLIENT_SECRET = "yout", "client-secret-of-yout"


class OpenIdProvider:
    """The running provider. Anyone can sign in there; `set_user` sets their claims."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.process, port = start_on_free_port(self._start, lambda _, port: _answers(port))
        self.url = f"http://127.0.0.1:{port}"

    def set_user(self, subject: str, **claims: Any) -> None:
        """Set the claims of a person."""
        request = urllib.request.Request(
            f"{self.url}/users/{subject}", json.dumps(claims).encode(), {"content-type": "application/json"}, method="PUT"
        )
        urllib.request.urlopen(request, timeout=20).close()

    def approve(self, url: str, subject: str) -> str:
        """Sign in at the provider's page `url` as a person; returns the path that the browser is sent back to."""
        address = urlsplit(url)
        with closing(HTTPConnection(address.netloc, timeout=20)) as connection:
            body = urlencode({"sub": subject})
            headers = {"content-type": "application/x-www-form-urlencoded"}
            connection.request("POST", f"{address.path}?{address.query}", body, headers)
            response = connection.getresponse()
            back = urlsplit(response.headers["location"])
        return f"{back.path}?{back.query}"

    def _start(self, port: int) -> Process:
        argv = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port)]
        return Process(
            "openid", dies_with_parent(argv), env=os.environ, cwd=self._folder, log=self._folder / f"openid-{port}.log"
        )


class ScriptedProvider:
    """A provider whose answers the test sets: `configuration`, `token` (the claims), `info` and `statuses` (path → status)."""

    def __init__(self) -> None:
        self.key, self.statuses = RSAKey.generate_key(2048, {"kid": "first"}), dict[str, int]()
        self.algorithm: str = "RS256"
        self.signing_key: RSAKey | OctKey | None = None  # other than the published one
        self.requests: list[tuple[str, dict[str, str]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"provider": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.configuration: dict[str, Any] = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "userinfo_endpoint": f"{self.url}/info",
        }
        self.claims: dict[str, Any] = {}
        self.info: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="openid", daemon=True)
        self._thread.start()

    def id_token(self, nonce: str, **claims: Any) -> None:
        """Set the claims of the next ID tokens; None removes a claim."""
        now = int(time.time())
        usual = {"iss": self.url, "aud": CLIENT_ID, "sub": "ida", "nonce": nonce, "iat": now, "exp": now + 60}
        self.claims = {name: value for name, value in (usual | claims).items() if value is not None}

    def answer(self, path: str) -> dict[str, Any]:
        if path == "/.well-known/openid-configuration":
            return self.configuration
        if path == "/keys":
            return {"keys": [self.key.as_dict(private=False)]}
        if path == "/info":
            return self.info
        key = self.signing_key or self.key
        header = {"alg": self.algorithm, "kid": key.kid}
        token = jwt.encode(header, self.claims, key, algorithms=[self.algorithm]) if self.claims else None
        return {"access_token": "access", "token_type": "Bearer", **({"id_token": token} if token else {})}

    def close(self) -> None:
        self._server.shutdown()
        join(self._thread)
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    provider: ScriptedProvider

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self._answer(dict(parse_qsl(body)) | {"authorization": self.headers.get("authorization", "")})

    def _answer(self, sent: dict[str, str]) -> None:
        self.provider.requests.append((self.path, sent))
        status = self.provider.statuses.get(self.path, 200)
        body = json.dumps(self.provider.answer(self.path) if status == 200 else {"error": "invalid_grant"}).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _answers(port: int) -> bool:
    with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        try:
            connection.request("GET", "/jwks")
            return connection.getresponse().status == 200
        except OSError:
            return False
