"""Finds the texts of pages in the sources: Python, Jinja templates and scripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_file

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("console", "edge", "shared", "workers", "yout")
VENDORED = "vendor"  # folders with third-party libraries
PYTHON = {"gettext": None, "ngettext": (1, 2), "lazy_gettext": None, "lazy_ngettext": (1, 2)}
JINJA = {"_": None, "gettext": None, "ngettext": (1, 2)}
JAVASCRIPT = {"t": None, "tn": (1, 2)}
COMMENT = "Translators:"
OPTIONS = {"trimmed": "true", "silent": "false", "parse_template_string": "true"}


def sources() -> Iterator[Path]:
    """Yield the files that can contain texts of pages."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*")):
            if path.suffix in METHODS and VENDORED not in path.parts:
                yield path


METHODS = {
    ".py": ("python", PYTHON),
    ".html": ("jinja2.ext:babel_extract", JINJA),
    ".js": ("javascript", JAVASCRIPT),
}


def extract() -> Catalog:
    """Return all texts in the sources, without translations."""
    catalog = Catalog(project="yout", charset="utf-8")
    for path in sources():
        method, keywords = METHODS[path.suffix]
        for _, message, comments, context in extract_from_file(
            method, path, keywords, (COMMENT,), OPTIONS, strip_comment_tags=True
        ):
            # Without line numbers: a catalog changes only with its texts.
            catalog.add(message, locations=[(path.relative_to(ROOT).as_posix(), 0)], auto_comments=comments, context=context)
    return catalog
