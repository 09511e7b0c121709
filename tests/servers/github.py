"""A GitHub Enterprise server as far as sign-in uses it: authorization, access tokens, and the API of users and their addresses.

It checks client, secret, redirect address, PKCE, and that each code is used once, and answers errors with status 200 like GitHub.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.threads import join

CLIENT_ID, CLIENT_SECRET = "yout-at-github", "secret-of-yout-at-github"


class GitHubServer:
    """The running server. `set_user` adds someone; `down` makes it answer 503."""

    def __init__(self) -> None:
        self.down = False
        self._users: dict[int, tuple[str, list[dict[str, Any]]]] = {}
        self._codes: dict[str, tuple[int, dict[str, str]]] = {}
        self._tokens: dict[str, int] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"github": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="github", daemon=True)
        self._thread.start()

    def set_user(self, id: int, login: str, *emails: tuple[str, bool, bool]) -> None:
        """Set someone's name and addresses: (address, primary, verified)."""
        rows = [{"email": email, "primary": primary, "verified": verified} for email, primary, verified in emails]
        self._users[id] = (login, rows)

    def approve(self, url: str, id: int) -> str:
        """Authorize the application at the page `url` as a person; returns the path that the browser is sent back to."""
        parts = urlsplit(url)
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{self.url}/login/oauth/authorize"
        asked = dict(parse_qsl(parts.query))
        assert (asked["client_id"], asked["scope"], asked["code_challenge_method"]) == (CLIENT_ID, "user:email", "S256")
        code = secrets.token_hex(10)
        self._codes[code] = (id, asked)
        return f"{urlsplit(asked['redirect_uri']).path}?code={code}&state={asked['state']}"

    def token(self, sent: dict[str, str]) -> dict[str, str]:
        """Exchange a code."""
        if (sent.get("client_id"), sent.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return {"error": "incorrect_client_credentials"}
        id, asked = self._codes.pop(sent.get("code", ""), (0, {}))
        digest = hashlib.sha256(sent.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if not asked or (asked["redirect_uri"], asked["code_challenge"]) != (sent.get("redirect_uri"), challenge):
            return {"error": "bad_verification_code"}
        token = f"gho_{secrets.token_hex(18)}"
        self._tokens[token] = id
        return {"access_token": token, "token_type": "bearer", "scope": "user:email"}

    def read(self, path: str, authorization: str) -> Any:
        """Answer the API, or return None without a valid token."""
        id = self._tokens.get(authorization.removeprefix("Bearer "))
        if id is None:
            return None
        login, emails = self._users[id]
        return {"/api/v3/user": {"id": id, "login": login, "email": None}, "/api/v3/user/emails": emails}.get(path)

    def close(self) -> None:
        self._server.shutdown()
        join(self._thread)
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    github: GitHubServer

    def do_GET(self) -> None:
        if not self.headers.get("user-agent"):  # GitHub refuses such requests
            self._send(403, {})
            return
        found = self.github.read(self.path, self.headers.get("authorization", ""))
        self._send(200 if found is not None else 401, found or {})

    def do_POST(self) -> None:
        sent = dict(parse_qsl(self.rfile.read(int(self.headers["content-length"])).decode()))
        assert self.path == "/login/oauth/access_token"
        self._send(200, self.github.token(sent))

    def _send(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(503 if self.github.down else status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""
