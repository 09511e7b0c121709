"""Every command in the documents: the program that it calls accepts it, or its files and modules exist. None is run."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import shlex
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import pytest

from edge.app import ENDPOINTS, create_app
from edge.reference.document import openapi
from shared.core.settings import Settings
from tests.docs.documents import PAGES, Block, blocks, code_names, read
from tests.docs.test_lists import commands
from tests.servers.process import ROOT
from yout.cli import build_parser

# Third-party programs, with the reason why their arguments are not checked here.
FOREIGN = {
    "apt-get": "changes the machine",
    "claude": "not installed",
    "export": "sets a variable: the names are those of Claude Code",
    "jq": "tests/shared/files/test_certificates.py runs the same steps",
    "npm": "downloads packages",
    "openssl": "tests/shared/files/test_certificates.py runs the same steps",
    ".venv/bin/pip": "downloads packages",
    "pg_dump": "tests/yout/test_backup.py runs it",
    "pg_restore": "tests/yout/test_backup.py runs it",
    "DIR/litellm/venv/bin/pip": "downloads packages",
}
# Words in capitals that stand for a value, where the parser wants a number or a choice.
VALUES = {"N": "5", "CREDITS": "5", "ROLE": "viewer", "PERCENT": "5", "DIALECT": "openai", "KIND": "chat"}
PYTHON = re.compile(r"(?:\.venv/bin/)?python3?$")
BIN = re.compile(r"(?:\./)?bin/\w+$")
FIRST = re.compile(r"^(?:yout|python3?|make|honcho|curl|npm|pytest|openssl|\.venv/bin/\w+|(?:\./)?bin/\w+)(?: |$)")
SHELL = ("", "console", "sh")


class Command(NamedTuple):
    """A command of a document, as words."""

    place: str
    words: tuple[str, ...]


def documented() -> Iterator[Command]:
    """Yield every command of the documents, including those in prose."""
    for path in PAGES:
        page = str(path.relative_to(ROOT))
        for block in blocks(page):
            if block.language in SHELL:
                lines = block.text.splitlines()
                shown = [line[2:] for line in lines if line.startswith("$ ")] if block.language == "console" else lines
                yield from (
                    command for line in shown for command in _split(block.place, line) if _is_command(command, block.text)
                )
        for name in code_names(page):
            if FIRST.match(name) and (" " in name or BIN.match(name)):
                yield from _split(page, name)


def _is_command(command: Command, block: str) -> bool:
    """Return whether a line is a command, and not figures, a formula or an assignment."""
    first = command.words[0]
    return bool(FIRST.match(first)) or (first in FOREIGN and "\n" + first in "\n" + block)


def _split(place: str, line: str) -> Iterator[Command]:
    if "`" in line or line.startswith(" "):
        return
    try:
        words = shlex.split(line.replace("[--", "--").replace("]", ""), comments=True)
    except ValueError:  # not a command
        return
    part: list[str] = []
    for word in [*words, "&&"]:
        if word in ("&&", "|", "<", ">"):
            if part and part[-1:] != ["<"]:
                yield Command(place, tuple(part))
            part = []
            if word in ("<", ">"):
                return
        else:
            part.append(word.lstrip("["))


def test_the_documents_have_commands() -> None:
    assert len(set(documented())) > 80


def test_each_section_of_the_runbook_begins_with_a_command() -> None:
    cases = re.split(r"^## ", read("docs/runbook.md"), flags=re.MULTILINE)[1:]
    assert len(cases) >= 9
    assert [case.splitlines()[0] for case in cases if not re.search(r"`yout [a-z]|^yout [a-z]", case, re.MULTILINE)] == []


@pytest.mark.parametrize("command", sorted(set(documented())), ids=lambda command: f"{command.place} {' '.join(command.words)}")
def test_a_command_can_be_run(command: Command) -> None:
    _check(command.words)


def _check(words: tuple[str, ...]) -> None:
    first, rest = words[0], words[1:]
    if PYTHON.match(first):
        _check_module(rest)
    elif first in ("yout", ".venv/bin/yout"):
        _check_yout(rest)
    elif first in ("pytest", ".venv/bin/pytest"):
        _check_paths(rest)
    elif BIN.match(first):
        assert os.access(ROOT / first, os.X_OK)
        _check_paths(rest)
    elif first == "make":
        assert re.search(rf"^{re.escape(rest[0])}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif first == "honcho":
        _check_honcho(rest)
    elif first == "curl":
        _check_curl(rest)
    else:
        assert first in FOREIGN


@cache
def _known_commands() -> dict[str, set[str]]:
    return dict(commands(build_parser()))


@cache
def _api() -> dict[str, dict[str, object]]:
    """Return the paths of the OpenAPI document, each with its methods."""
    settings = Settings.load({"YOUT_DATA_DIR": "/nonexistent"}, dotenv=None)
    paths: dict[str, dict[str, object]] = openapi(create_app(settings), ENDPOINTS, "http://x")["paths"]
    return paths


def _check_yout(words: tuple[str, ...]) -> None:
    known = _known_commands()
    [name] = [name for name in known if f"{' '.join(('yout', *words))} ".startswith(f"{name} ")]
    options = {word.partition("=")[0] for word in words if word.startswith("--")} - {"--json"}
    assert options <= known[name]
    if len(words) == len(name.split()) - 1 or "…" in words or words == ("plan", "change"):
        return  # only the command's name, or an excerpt of it
    values = [VALUES.get(word, word.partition("|")[0]) for word in words]
    build_parser().parse_args(values)


def _check_module(words: tuple[str, ...]) -> None:
    if words[0] != "-m":
        raise AssertionError("run modules with -m")
    module, rest = words[1], words[2:]
    if module == "yout":
        _check_yout(rest)
    elif module == "pytest":
        _check_paths(rest)
    elif module != "venv":
        accepted = _options_of(module)
        assert {word for word in rest if word.startswith("--")} <= accepted, accepted


def _options_of(module: str) -> set[str]:
    """Return the options that a module of this project declares, from its source."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    if spec.submodule_search_locations:
        spec = importlib.util.find_spec(f"{module}.__main__")
    assert spec is not None
    assert spec.origin is not None
    assert spec.origin.startswith(str(ROOT))
    with open(spec.origin) as file:
        tree = ast.parse(file.read())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    declared = [node.args[0] for node in calls if getattr(node.func, "attr", "") == "add_argument" and node.args]
    return {str(value.value) for value in declared if isinstance(value, ast.Constant)}


def _check_paths(words: tuple[str, ...]) -> None:
    for word in words:
        if word.startswith("tests/"):
            assert (ROOT / word).exists()


def _check_honcho(words: tuple[str, ...]) -> None:
    if words[0] == "run":
        _check(words[1:])
        return
    processes = re.findall(r"^(\w+):", (ROOT / "Procfile").read_text(), re.MULTILINE)
    assert words[0] == "start"
    assert set(words[1:]) <= set(processes)


def _check_curl(words: tuple[str, ...]) -> None:
    [url] = [word for word in words if word.startswith("$EDGE/")]
    method = words[words.index("-X") + 1] if "-X" in words else "POST" if "-d" in words else "GET"
    path = re.sub(r"[0-9a-f]+…", "{id}", url.removeprefix("$EDGE"))
    assert method.lower() in _api()[path]


@pytest.mark.parametrize(
    "block",
    [block for path in PAGES for block in blocks(str(path.relative_to(ROOT))) if block.language == "python"],
    ids=lambda block: block.place,
)
def test_a_python_example_is_valid_and_imports_what_exists(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def _anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", read(page), flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_leads_to_a_page_and_a_heading() -> None:
    broken = []
    for path in PAGES:
        page = str(path.relative_to(ROOT))
        for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([\w-]+))?\)", read(page)):
            found = (path.parent / target).resolve() if target else path
            if not found.exists() or (anchor and anchor not in _anchors(str(found.relative_to(ROOT)))):
                broken.append((page, target, anchor))
    assert broken == []


def test_every_path_that_is_named_exists() -> None:
    folders = tuple(f"{path.name}/" for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
    missing = []
    for path in PAGES:
        page = str(path.relative_to(ROOT))
        for name in code_names(page):
            if name.startswith(folders) and " " not in name and not re.search(r"[A-Z<…]{2}|^var/", name):
                found = list(ROOT.glob(name.rstrip("/")) if "*" in name else [ROOT / name])
                if not any(one.exists() or one.with_suffix(".py").exists() for one in found):
                    missing.append((page, name))
    assert missing == []
