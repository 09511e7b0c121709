"""docs/dependencies.md lists every package that is installed at runtime, and each of them is used."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import distribution
from pathlib import Path

from tests.docs.documents import names, read, rows, section
from tests.servers.process import ROOT

TOP_LEVEL = ("console", "edge", "shared", "transport", "workers", "yout")
# Packages that only other packages or programs import; the table says which.
INDIRECT = {"linkify-it-py", "setuptools", "wtf-peewee"}


def listed(file: str) -> set[str]:
    """The names in a requirements file, without extras, versions and markers."""
    found = (re.match(r"[a-z][\w.-]*", line) for line in read(f"requirements/{file}").splitlines())
    return {match[0] for match in found if match}


def imported() -> set[str]:
    """The top-level modules that our code imports, with `backports.zstd` as one module."""
    return {name for folder in TOP_LEVEL for path in (ROOT / folder).rglob("*.py") for name in _imports(path)}


def provided(package: str) -> set[str]:
    """The top-level modules of an installed package."""
    files = distribution(package).files or []
    return {".".join(file.with_suffix("").parts[: 2 if file.parts[0] == "backports" else 1]) for file in files}


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {".".join(name.split(".")[: 2 if name.startswith("backports.") else 1]) for name in found}


def test_the_table_lists_every_package_with_its_reason() -> None:
    table = rows(section("docs/dependencies.md", "## Packages at runtime"))
    assert [names(cells[0])[0] for cells in table] == sorted(listed("runtime.in"), key=lambda name: name.lower())
    assert all(cells[1] and cells[2] for cells in table)


def test_every_runtime_package_is_used() -> None:
    used = imported()
    needed = [package for package in listed("runtime.in") - INDIRECT if sys.version_info < (3, 14) or package != "backports.zstd"]
    assert [package for package in needed if used.isdisjoint(provided(package))] == []


def test_the_table_of_requirements_files() -> None:
    table = rows(read("docs/dependencies.md").split("\n## ")[0])
    assert sorted(names(cells[0])[0] for cells in table) == sorted(path.name for path in (ROOT / "requirements").glob("*.in"))
