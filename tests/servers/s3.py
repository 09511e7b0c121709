"""An S3-compatible server on a free port: Moto, in memory."""

from __future__ import annotations

import http.client
import os
import secrets
import sys
from pathlib import Path
from typing import Any

from tests.servers.process import Process, dies_with_parent, start_on_free_port


class S3Server:
    """Buckets in memory. The log goes to `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process, self.port = start_on_free_port(self._start, lambda _, port: _answers(port))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settings_of_new_bucket(self) -> dict[str, Any]:
        """Create an empty bucket; returns the `Settings` fields that store media in it."""
        bucket = f"media-{secrets.token_hex(6)}"
        status = self.request("PUT", f"/{bucket}")[0]
        assert status == 200
        return {
            "media_url": f"s3://{bucket}/outputs",
            "media_endpoint": self.url,
            "media_access_key": "test-id",
            "media_secret_key": "test-secret",
        }

    def request(self, method: str, path: str) -> tuple[int, bytes]:
        """A plain HTTP request that bypasses the library under test."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, headers={"host": f"127.0.0.1:{self.port}"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def stop(self) -> None:
        self._process.kill()

    def _start(self, port: int) -> Process:
        argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        return Process("s3", dies_with_parent(argv), env=os.environ, cwd=self._folder, log=self._folder / f"s3-{port}.log")


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/moto-api/data.json")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
