"""A client of the administration API."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from uuid import uuid4

from shared.core.errors import InvalidInput, NotFound, SettingsError, YoutError
from yout.remote import KEY_VARIABLE, URL_VARIABLE

TIMEOUT_SECONDS = 60
ATTEMPTS = 3
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_TEMPORARY = (502, 503, 504)
Document = dict[str, Any]


class RemoteFailed(YoutError):
    """The other installation did not answer, or refused the request."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would send the key to another address."""

    def redirect_request(self, *_: Any) -> None:
        return None


class ApiClient:
    """Makes requests with an admin key. Connections that fail are tried again, which is safe: POST requests are repeatable."""

    def __init__(self, url: str, key: str) -> None:
        self._url, self._key = url.rstrip("/") + "/api/admin", key
        self._opener = urllib.request.build_opener(_NoRedirects)

    @classmethod
    def from_environment(cls) -> ApiClient:
        """Return the client for the installation that the environment names. Raises `SettingsError`."""
        url = os.environ.get(URL_VARIABLE, "").strip()
        key = os.environ.get(KEY_VARIABLE, "").strip()
        if not key:
            raise SettingsError(f"{KEY_VARIABLE} must be set with {URL_VARIABLE}; `yout admin-key create` creates a key.")
        _check_url(url)
        return cls(url, key)

    def get(self, path: str, **query: Any) -> Document:
        """Return a resource. Raises like `send`."""
        return self.send("GET", f"{path}?{urlencode(query)}" if query else path)

    def items(self, path: str, name: str, **query: Any) -> Iterator[Document]:
        """Yield the entries of a list, page by page. Raises like `send`."""
        after: Document = {}
        while True:
            page = self.get(path, limit=100, **query, **after)
            yield from page[name]
            if page["next"] is None:
                return
            after = {"after": page["next"]}

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Document:
        """Make a request and return the JSON object of the response.

        Raises `InvalidInput` for a 400, `NotFound` for a 404, and `RemoteFailed` otherwise.
        """
        headers = {"authorization": f"Bearer {self._key}", "idempotency-key": str(uuid4())}
        data = None
        if body is not None:
            data, headers["content-type"] = json.dumps(body).encode(), "application/json"
        request = urllib.request.Request(self._url + path, data, headers, method=method)  # noqa: S310  (checked by `_check_url`)
        for _ in range(ATTEMPTS - 1):
            try:
                return self._open(request)
            except _Temporary:
                continue
        try:
            return self._open(request)
        except _Temporary as error:
            raise RemoteFailed(str(error)) from error

    def _open(self, request: urllib.request.Request) -> Document:
        try:
            with self._opener.open(request, timeout=TIMEOUT_SECONDS) as response:
                answer = response.read()
        except urllib.error.HTTPError as error:
            raise _failure(error) from error
        except (OSError, HTTPException) as error:
            raise _Temporary(f"{self._url} does not answer: {getattr(error, 'reason', error)}.") from error
        try:
            found = json.loads(answer)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise RemoteFailed(f"{self._url} did not answer with JSON. {URL_VARIABLE} must be the address of an edge.")
        return found


class _Temporary(YoutError):
    """A failure after which the request may be repeated."""


def segment(text: str) -> str:
    """Return one segment of a path. Slashes stay, because ids of models contain them."""
    return quote(text.strip(), safe="/@")


def _check_url(url: str) -> None:
    """Raise `SettingsError` unless the key would travel encrypted, or stay on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment or parts.username is not None:
        raise SettingsError(f"{URL_VARIABLE} must be the address of an edge, such as https://api.example.com.")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise SettingsError(f"{URL_VARIABLE} must begin with https://, because requests contain the admin key.")


def _failure(error: urllib.error.HTTPError) -> YoutError:
    try:
        message = str(json.loads(error.read())["error"]["message"])
    except (ValueError, KeyError, TypeError, OSError):
        message = f"The installation answered with HTTP {error.code}. Check {URL_VARIABLE}."
    if error.code in _TEMPORARY:
        return _Temporary(message)
    return {400: InvalidInput, 404: NotFound}.get(error.code, RemoteFailed)(message)
