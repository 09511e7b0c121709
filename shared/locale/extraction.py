"""Finds the texts of pages in the sources: Python, Jinja templates and scripts."""

from __future__ import annotations

import ast
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
# Calls whose literals are in the API reference: the positions and names of these arguments.
DESCRIPTIONS: dict[str, tuple[int | str, ...]] = {
    "describe_route": (0, "notes"),
    "admin_route": (4, "description", "notes"),
    "described": (1,),
    "describe_model_call": (0, "notes"),
    "RouteSpec": (0, "notes"),
    "ResponseSpec": (1, "description"),
    "Meta": ("description",),
    "Meaning": (0, "text"),
}
DESCRIPTION_TABLES = ("PARAMETERS",)  # dicts whose values are in the API reference
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
        if path.suffix == ".py":
            for text in descriptions(path.read_text()):
                catalog.add(text, locations=[(path.relative_to(ROOT).as_posix(), 0)])
    return catalog


def descriptions(source: str) -> Iterator[str]:
    """Yield the literals of a module that describe an endpoint or a field of the API."""
    for node in ast.walk(ast.parse(source)):
        values: list[ast.expr] = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            wanted = DESCRIPTIONS.get(node.func.id, ())
            values = [value for index, value in enumerate(node.args) if index in wanted]
            values += [keyword.value for keyword in node.keywords if keyword.arg in wanted]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id in DESCRIPTION_TABLES:
            values = node.value.values if isinstance(node.value, ast.Dict) else []
        for value in values:
            if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value:
                yield value.value
