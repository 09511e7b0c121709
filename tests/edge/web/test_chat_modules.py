"""The chat's modules that need no page, run by Node."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edge.web.assets import files
from tests.servers.node import NODE
from tests.servers.process import ROOT


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the chat's modules, below those that they import, as browsers see them."""
    folder = tmp_path_factory.mktemp("assets")
    for source in (ROOT / "shared" / "static", ROOT / "edge" / "web" / "static"):
        shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("vendor"))
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.js")} <= set(files())
    return folder / "chat"


@pytest.mark.parametrize("script", ["chat_conversations", "chat_transfer", "chat_tree"])
def test_modules_without_a_page(script: str, modules: Path) -> None:
    command = [str(NODE), str(ROOT / "tests" / "node" / f"{script}.mjs")]
    env = {**os.environ, "CHAT_MODULES": modules.as_uri()}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "ok"), done.stderr
