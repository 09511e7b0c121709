"""Python libraries that need an older openai package than ours, in a separate environment from `requirements/sdks.txt`."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.servers.process import INSTALL_SECONDS, ROOT

_REQUIREMENTS = ROOT / "requirements" / "sdks.txt"
_CACHE = ROOT / "var" / "test-sdks"


@dataclass(frozen=True, slots=True)
class PythonSdks:
    """`binary` is the environment's Python."""

    binary: Path

    def run(self, script: Path, env: dict[str, str], seconds: float = 180) -> subprocess.CompletedProcess[str]:
        """Run a script; returns its exit code and output."""
        command = [str(self.binary), "-I", str(script)]
        return subprocess.run(command, cwd=_CACHE, env=env, capture_output=True, text=True, timeout=seconds, check=False)


def install_python_sdks() -> PythonSdks:
    """Create the environment unless an earlier run did, and return it. Safe in parallel processes."""
    folder = _CACHE / hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()[:16]
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "install.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _install(folder)
    return PythonSdks(folder / "bin" / "python")


def _install(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(folder)])
    python, locked = str(folder / "bin" / "python"), ["--require-hashes", "-r", str(_REQUIREMENTS)]
    uv = Path(sys.executable).with_name("uv")
    # Like `bin/setup`: use uv if installed, and pip if uv is missing or cannot reach the index.
    if not uv.exists() or _run([str(uv), "pip", "install", "--quiet", "--python", python, *locked], must=False):
        _run([python, "-m", "pip", "install", "--quiet", *locked])
    (folder / "complete").touch()


def _run(command: list[str], *, must: bool = True) -> int:
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if done.returncode and must:
        raise AssertionError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.returncode
