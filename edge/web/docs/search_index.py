"""The index of the documentation's search: headings with their texts. The search itself runs in the browser. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from html.parser import HTMLParser
from typing import NamedTuple

from edge.web.docs.reference import Entry, Section
from shared.text.translation import translated

_HEADINGS = ("h1", "h2")
_SKIPPED = ("script", "style", "nav", "pre", "header", "footer")


class IndexEntry(NamedTuple):
    """A heading: its title, the page it is on, its URL, and the text below it."""

    title: str
    page: str
    url: str
    text: str


def chapter_entries(url: str, title: str, html: str) -> list[IndexEntry]:
    """Return an entry for each heading in the `<main>` of a page. Code is left out."""
    reader = _Reader()
    reader.feed(html)
    return [
        IndexEntry(heading, title, f"{url}#{id}" if id else url, " ".join(words.split()))
        for heading, id, words in reader.found
        if heading
    ]


def section_entries(url: str, section: Section) -> list[IndexEntry]:
    """Return an entry for each operation of a section of the reference."""
    return [
        IndexEntry(entry.summary, translated(section.title), f"{url}#{entry.anchor}", _text(entry)) for entry in section.entries
    ]


def _text(entry: Entry) -> str:
    fields = (f"{field.name} {field.description}" for field in (*entry.parameters, *entry.fields))
    codes = (code for answer in entry.answers for code in answer.codes)
    return " ".join((f"{entry.method} {entry.path}", entry.description, *fields, *codes)).replace("`", "")


def as_rows(entries: Iterable[IndexEntry]) -> list[list[str]]:
    """Return the entries as JSON arrays, in the order of the fields of `IndexEntry`."""
    return [list(entry) for entry in entries]


class _Reader(HTMLParser):
    """Collects headings as [text, id, text below]."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[list[str]] = []
        self._inside_main = False
        self._heading = False
        self._skipped = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "main":
            self._inside_main = True
        elif tag in _SKIPPED:
            self._skipped += 1
        elif tag in _HEADINGS and self._inside_main:
            self._heading = True
            self.found.append(["", dict(attrs).get("id") or "", ""])

    def handle_endtag(self, tag: str) -> None:
        if tag == "main":
            self._inside_main = False
        elif tag in _SKIPPED:
            self._skipped -= 1
        elif tag in _HEADINGS:
            self._heading = False

    def handle_data(self, data: str) -> None:
        if self.found and self._inside_main and not self._skipped:
            self.found[-1][0 if self._heading else 2] += data if self._heading else f" {data}"
