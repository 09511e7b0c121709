"""Finds texts of pages that are not in the catalogs: in templates, scripts and Python code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from html.parser import HTMLParser

from jinja2 import Environment, nodes

from shared.text.words import WORDS

SHOWN_ATTRIBUTES = {"title", "aria-label", "aria-description", "placeholder", "alt", "label"}
CODE = {"code", "pre", "script", "style", "kbd", "samp"}
VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
WORD = re.compile(r"[^\W\d_]{2,}")
SENTENCE = re.compile(r"^[A-Z][a-z]+(?:[ .,:;!?…)]|$)|^[A-Za-z]+,? [a-z]+(?:[ .,:;!?…]|$)")
"""What a literal looks like if it is a text: "Sign in", "Email" or "of your plan", but not "m-1", "text/html" or "GET"."""

THREE_WORDS = re.compile(r"^An? [A-Za-z]+|[A-Za-z…,]+ [a-z]+ [a-z]+|… [a-z]+[.,]? ")
"""Three words, of which the first may be a value."""
BRAND = re.compile(r"\byout( console)?\b")
GETTEXT = {"_", "gettext", "ngettext", "lazy_gettext", "lazy_ngettext"}
CLASS_BLOCKS = {"look"}  # blocks that fill a class attribute
HOLE = "\ue000"  # in the place of an expression


def in_template(source: str, ignored: frozenset[str] = frozenset()) -> list[str]:
    """Return the texts of a template outside `_()` and `{% trans %}`, in its order."""
    environment = Environment(extensions=["jinja2.ext.i18n"], trim_blocks=True, lstrip_blocks=True)
    tree = environment.parse(source)
    parser = _Page()
    parser.feed("".join(_html(tree)))
    parser.close()
    return [text for text in (*parser.texts, *_literals(tree)) if text not in ignored]


def _html(node: nodes.Node) -> Iterator[str]:
    """Yield the HTML of a template, with a hole for each expression."""
    for child in node.iter_child_nodes():
        if isinstance(child, nodes.TemplateData):
            yield child.data
        elif isinstance(child, nodes.Expr):
            yield HOLE
        elif isinstance(child, nodes.Block) and child.name in CLASS_BLOCKS:
            continue
        else:
            yield from _html(child)


class _Page(HTMLParser):
    """Collects the visible text and the visible attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._quiet: list[str] = []  # open elements below one whose text is code or marked translate="no"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        quiet = self._quiet or values.get("translate") == "no"
        self.texts += [text for name in SHOWN_ATTRIBUTES if not quiet and WORD.search(text := values.get(name) or "")]
        if tag not in VOID and (self._quiet or tag in CODE or values.get("translate") == "no"):
            self._quiet.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._quiet:
            while self._quiet.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if not self._quiet and WORD.search(BRAND.sub("", data)):
            self.texts.append(" ".join(data.replace(HOLE, " … ").split()))


def _literals(node: nodes.Node) -> Iterator[str]:
    """Yield the literals in expressions that look like a text and are not an argument of a gettext function."""
    for child in node.iter_child_nodes():
        if isinstance(child, nodes.Call) and isinstance(child.node, nodes.Name) and child.node.name in GETTEXT:
            yield from (text for value in child.kwargs for text in _literals(value))
        elif isinstance(child, nodes.Compare | nodes.Extends | nodes.Include | nodes.FromImport | nodes.Getitem):
            continue
        elif isinstance(child, nodes.Const):
            if isinstance(child.value, str) and SENTENCE.search(child.value) and child.value not in WORDS:
                yield child.value
        else:
            yield from _literals(child)


JS_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)|(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|(?P<template>`)"""
    r"""|(?P<regex>/(?![/*])(?:\\.|\[(?:\\.|[^\]\\])*\]|[^/\\\n\[])+/[a-z]*)|(?P<name>[\w$]+)|(?P<operator>===|!==|=>|.)""",
    re.DOTALL,
)


def _js_tokens(source: str, position: int = 0, closing: str = "") -> tuple[list[str], int]:
    """Return the tokens of a script, and where it ended: at its end, or at the `}` of a template's `${`.

    Comments and regular expressions are left out. A template literal is one token with a hole for each expression, followed by
    the tokens of its expressions.
    """
    tokens: list[str] = []
    depth = 0
    while position < len(source):
        found = JS_TOKEN.match(source, position)
        assert found is not None
        kind, text = found.lastgroup, found.group()
        if kind == "regex" and tokens and re.match(r"[\w$)\]}\"'`]", tokens[-1][-1]) and tokens[-1] not in ("return", "case"):
            kind, text = "operator", "/"  # a division
        position += len(text)
        if kind == "template":
            parts, inner, position = _js_template(source, position)
            tokens += [parts, ";", *inner]
        elif kind not in ("space", "regex"):
            depth += {"{": 1, "}": -1}.get(text, 0)
            if closing and depth < 0:
                return tokens, position
            tokens.append(text)
    return tokens, position


def _js_template(source: str, position: int) -> tuple[str, list[str], int]:
    text, inner = "`", []
    while source[position] != "`":
        if source.startswith("${", position):
            found, position = _js_tokens(source, position + 2, "}")
            text, inner = text + HOLE, [*inner, *found, ";"]
        else:
            step = 2 if source[position] == "\\" else 1
            text, position = text + source[position : position + step], position + step
    return text + "`", inner, position + 1


def in_script(source: str) -> list[str]:
    """Return the literals of a script that look like a text and are neither in `t()` or `tn()`, compared, nor an error's."""
    tokens, _ = _js_tokens(source)
    found = []
    for index, token in enumerate(tokens):
        if token[0] not in "\"'`":
            continue
        before = [tokens[index - back] if index >= back else "" for back in range(1, 5)]
        after = tokens[index + 1] if index + 1 < len(tokens) else ""
        translated = before[0] == "(" and before[1] in ("t", "tn")
        plural = before[0] == "," and before[2] == "(" and before[3] == "tn"
        error = before[0] == "(" and before[1].endswith("Error")
        compared = before[0] in ("===", "!==", "case") or after in ("===", "!==")
        key = after == ":" and before[0] in ("{", ",")
        start = next((back for back in range(index - 1, -1, -1) if tokens[back] in ("{", ",", "(", ";")), -1)
        css = tokens[start + 1] in ("class", "className") or ".className" in "".join(tokens[start + 1 : index])
        text = token[1:-1]
        if not (translated or plural or error or compared or key or css) and SENTENCE.search(text.replace(HOLE, "").strip()):
            found.append(text.replace(HOLE, "…"))
    return found


def in_python(source: str, quiet: frozenset[str] = frozenset()) -> list[str]:
    """Return the literals of a module that are sentences, outside gettext functions and the calls named in `quiet`."""
    return list(_python_literals(ast.parse(source), GETTEXT | quiet))


def _python_literals(node: ast.AST, quiet: frozenset[str] | set[str]) -> Iterator[str]:
    body = getattr(node, "body", None)
    for child in ast.iter_child_nodes(node):
        docstring = isinstance(body, list) and isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
        if docstring or isinstance(child, ast.Compare):
            continue
        if isinstance(child, ast.Call) and _name(child.func) in quiet:
            continue
        if isinstance(child, ast.JoinedStr):
            text = "".join(part.value if isinstance(part, ast.Constant) else "…" for part in child.values)
            if _is_sentence(text):
                yield text
        elif isinstance(child, ast.Constant) and isinstance(child.value, str):
            if _is_sentence(child.value):
                yield child.value
        else:
            yield from _python_literals(child, quiet)


def _name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _is_sentence(text: str) -> bool:
    return text not in WORDS and bool(SENTENCE.search(text) or THREE_WORDS.search(text))


def error_literals(source: str, errors: set[str]) -> list[str]:
    """Return the first arguments of errors with these names that are literals or f-strings, as source code."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and _name(node.func) in errors)
    texts = (call.args[0] for call in calls if call.args)
    return [ast.unparse(text) for text in texts if isinstance(text, ast.JoinedStr | ast.Constant)]


PLACEHOLDER = re.compile(r"\{(\w+)")


def wrong_values_in_python(source: str) -> list[str]:
    """Return the texts of a module whose placeholders are not the names of the values that the call gives."""
    wrong = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _name(node.func) in GETTEXT and node.keywords:
            texts = [value.value for value in node.args if isinstance(value, ast.Constant) and isinstance(value.value, str)]
            names = {word.arg for word in node.keywords}
            if None not in names and texts and _differ(texts, {name for name in names if name}):
                wrong.append(texts[0])
    return wrong


def wrong_values_in_template(source: str) -> list[str]:
    """Return the texts of a template whose placeholders are not the names of the values that the call gives."""
    tree = Environment(extensions=["jinja2.ext.i18n"]).parse(source)
    wrong = []
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Name) and call.node.name in ("_", "ngettext"):
            texts = [value.value for value in call.args if isinstance(value, nodes.Const) and isinstance(value.value, str)]
            if texts and _differ(texts, {word.key for word in call.kwargs}):
                wrong.append(texts[0])
    return wrong


def _differ(texts: list[str], names: set[str]) -> bool:
    found = {name for text in texts for name in PLACEHOLDER.findall(text)}
    return found - {"count"} != names - {"count"} if len(texts) > 1 else found != names
