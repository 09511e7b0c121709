"""The list of benchmarks in bench/README.md."""

from __future__ import annotations

import re

from tests.servers.process import ROOT

README = (ROOT / "bench/README.md").read_text()


def _modules() -> set[str]:
    """Every benchmark: a module of `bench`, or a package that can be run."""
    files = {path.stem for path in (ROOT / "bench").glob("*.py")}
    return files | {path.parent.name for path in (ROOT / "bench").glob("*/__main__.py")}


def test_readme_lists_every_benchmark() -> None:
    assert set(re.findall(r"^\| `-m bench\.(\w+)", README, re.MULTILINE)) == _modules()
