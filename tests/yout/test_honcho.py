"""honcho starts every line of the Procfile at the same time, on a new database."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import httpx

from tests.servers.process import ROOT, Process, free_port, is_free


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code < 400
    except httpx.TransportError:
        return False


def free_base() -> int:
    """A port that is free, as are those 100 and 200 above it: honcho gives them to `release`, `web` and `console`."""
    for _ in range(100):
        base = free_port()
        if is_free(base + 100) and is_free(base + 200):
            return base
    raise AssertionError("100 ports have a used one above them")


def test_honcho_starts_every_line(tmp_path: Path, redis_url: str) -> None:
    base = free_base()
    env = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "YOUT_DATA_DIR": str(tmp_path),
        "SECRET_KEY": "a-secret-key-of-more-than-32-characters",
        "REDIS_URL": redis_url,
    }
    argv = [sys.executable, "-m", "honcho", "-d", str(tmp_path), "-f", str(ROOT / "Procfile"), "start", "-p", str(base)]
    honcho = Process("honcho", argv, env=env, cwd=tmp_path, log=tmp_path / "honcho.log")
    try:
        for port, path in ((base + 100, "/readyz"), (base + 200, "/login")):
            honcho.wait_ready(lambda: answers(f"http://127.0.0.1:{port}{path}"), 60)  # noqa: B023  # called before the next
        assert "release.1 waits until it is stopped" in honcho.output()
        assert "worker.1 stopped" not in honcho.output()
        honcho.terminate()
    finally:
        honcho.kill()
