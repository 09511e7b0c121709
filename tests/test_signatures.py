"""No function has more than eight parameters: values that belong together are passed as one object."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("console", "edge", "embedded", "shared", "transport", "workers", "yout")
MAX_PARAMETERS = 8


def long_signatures(source: str) -> Iterator[str]:
    """Yield `line: function(parameters)` for each function with more parameters; `self` and `cls` do not count."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = node.args
            listed = (*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg)
            names = [entry.arg for entry in listed if entry is not None and entry.arg not in ("self", "cls")]
            if len(names) > MAX_PARAMETERS:
                yield f"{node.lineno}: {node.name}({', '.join(names)})"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_function_has_more_than_eight_parameters(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    found = [f"{path.relative_to(ROOT)}:{entry}" for path in files for entry in long_signatures(path.read_text())]
    assert not found, "pass values that belong together as one value:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f(a, b, c, d, e, f, g, h): ...", []),
        ("def f(a, b, c, d, e, f, g, h, i): ...", ["1: f(a, b, c, d, e, f, g, h, i)"]),
        ("async def f(a, /, b, *, c, d, e, f, g, h, **i): ...", ["1: f(a, b, c, d, e, f, g, h, i)"]),
        ("class C:\n    def f(self, a, b, c, d, e, f, g, h): ...", []),
        ("class C:\n    def f(self, a, b, c, d, e, f, g, *h, i): ...", ["2: f(a, b, c, d, e, f, g, h, i)"]),
    ],
)
def test_parameters_of_every_kind_count(source: str, found: list[str]) -> None:
    assert list(long_signatures(source)) == found
