"""Reads the Markdown documents: tables, code names and fenced blocks."""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.servers.process import ROOT

_TOP = ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "bench/README.md")
PAGES = sorted(
    [
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "bench/README.md")),
    ]
)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")


class Block(NamedTuple):
    """A fenced block: the page and line where it begins, its language and its text."""

    place: str
    language: str
    text: str


def read(page: str) -> str:
    """Return the text of a page, such as `docs/api.md`."""
    return (ROOT / page).read_text()


def section(page: str, heading: str) -> str:
    """Return the text below a heading, such as `## Errors`, up to the next heading of the same or a higher level."""
    level = heading.index(" ")
    _, found, rest = read(page).partition(f"\n{heading}\n")
    assert found, f"{page} has no heading {heading!r}"
    return re.split(rf"^#{{1,{level}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """Return the cells of every table row in `text`, without heads and rules."""
    lines = text.splitlines()
    found = []
    for number, line in enumerate(lines):
        if line.startswith("|") and not re.fullmatch(r"[|\s:-]+", line):
            after = lines[number + 1] if number + 1 < len(lines) else ""
            if not re.fullmatch(r"\|[|\s:-]+", after):
                found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def names(cell: str) -> list[str]:
    """Return the code names in a cell."""
    return _CODE.findall(cell)


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page."""
    text = read(page)
    return [Block(f"{page}:{text.count(chr(10), 0, match.start()) + 1}", match[1], match[2]) for match in _FENCE.finditer(text)]


def code_names(page: str) -> list[str]:
    """Return every code name in the prose and tables of a page."""
    return _CODE.findall(_FENCE.sub("", read(page)))
