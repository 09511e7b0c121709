"""`bin/up`: parts of the installation that it skips."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers.process import ROOT


@pytest.mark.parametrize(("arguments", "choice"), [([], "unset"), (["--procfile", "x"], "unset"), (["--no-local"], "off")])
def test_no_local_does_not_install_the_embedded_models(tmp_path: Path, arguments: list[str], choice: str) -> None:
    for name, program in (("bin/setup", 'echo "setup ${YOUT_LOCAL_MODEL-unset}"'), (".venv/bin/yout", 'echo "yout $*"')):
        file = tmp_path / name
        file.parent.mkdir(parents=True)
        file.write_text(f"#!/bin/sh\n{program}\n")
        file.chmod(0o755)
    shutil.copy(ROOT / "bin/up", tmp_path / "bin/up")
    command = [str(tmp_path / "bin/up"), *arguments]
    done = subprocess.run(command, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines() == [f"setup {choice}", " ".join(["yout", "up", *arguments])]
