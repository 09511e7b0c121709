"""Lists the packages that have no wheel, by platform: those that need a compiler, or cannot be installed at all.

    python -m bench.wheels [--files runtime,local]

uv resolves the pinned requirements for each Python version and platform, using only wheels and without downloading
them. The output is the table in docs/dependencies.md.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = {
    "Linux x86-64": "x86_64-manylinux_2_28",
    "Linux arm64": "aarch64-manylinux_2_28",
    "musl x86-64": "x86_64-unknown-linux-musl",
    "musl arm64": "aarch64-unknown-linux-musl",
    "macOS 14 arm64": "aarch64-apple-darwin",
}
SECONDS = 300
_NO_WHEEL = re.compile(r"Because ([\w.-]+?)(?:\{[^}]*\})?==\S+ has no (?:usable )?wheels")


def main() -> int:
    """Print a table for each requirements file. Returns 1 if uv fails for any reason other than a missing wheel."""
    parser = argparse.ArgumentParser(prog="python -m bench.wheels", description=__doc__.partition("\n")[0])
    parser.add_argument("--files", default="runtime,local", help="names in requirements/ (default: %(default)s)")
    for file in parser.parse_args().files.split(","):
        print(f"| `{file}.txt` | {' | '.join(f'Python {version}' for version in PYTHONS)} |\n|{' --- |' * (len(PYTHONS) + 1)}")
        for name, platform in PLATFORMS.items():
            cells = [_cell(missing(file, version, platform)) for version in PYTHONS]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
        print()
    return 0


def _cell(packages: list[str]) -> str:
    return "all wheels" if not packages else "without " + ", ".join(f"`{name}`" for name in packages)


def missing(file: str, version: str, platform: str) -> list[str]:
    """Return the packages of a requirements file that have no wheel. Raises `RuntimeError` if uv fails for another reason."""
    blocks = re.split(r"\n(?=[a-z0-9])", (ROOT / f"requirements/{file}.txt").read_text())
    found: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        while True:
            wanted = Path(folder, "requirements.txt")
            wanted.write_text("\n".join(block for block in blocks if block.partition("==")[0] not in found))
            problem = _resolve(wanted, version, platform)
            if not problem:
                return found
            match = _NO_WHEEL.search(" ".join(problem.split()))
            if match is None or match[1] in found:
                raise RuntimeError(f"{file}.txt, Python {version}, {platform}:\n{problem}")
            found.append(match[1])


def _resolve(file: Path, version: str, platform: str) -> str:
    """Return uv's error message, or "" if every package has a wheel."""
    uv = Path(sys.executable).with_name("uv")
    options = [
        "--python-version",
        version,
        "--python-platform",
        platform,
        "--only-binary",
        ":all:",
        "--no-deps",
        "--require-hashes",
    ]
    command = [str(uv), "pip", "install", "--dry-run", "--target", str(file.parent / "target"), *options, "-r", str(file)]
    environment = {**os.environ, "NO_COLOR": "1", "MACOSX_DEPLOYMENT_TARGET": "14.0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    return done.stderr if done.returncode else ""


if __name__ == "__main__":
    sys.exit(main())
