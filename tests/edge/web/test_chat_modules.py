"""The chat's modules that need no page, run by Node."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.servers.node import NODE
from tests.servers.process import ROOT


@pytest.mark.parametrize("script", ["chat_transfer", "chat_tree"])
def test_modules_without_a_page(script: str) -> None:
    modules = (ROOT / "edge" / "web" / "static" / "chat").as_uri()
    command = [str(NODE), str(ROOT / "tests" / "node" / f"{script}.mjs")]
    env = {**os.environ, "CHAT_MODULES": modules}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "ok"), done.stderr
