"""Every text of a page is in the catalogs, and every catalog is complete."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message

from shared.locale.__main__ import updated, written
from shared.locale.extraction import ROOT, descriptions, extract, sources
from shared.text.translation import LANGUAGES, SOURCE_LANGUAGE, catalog_path, read_catalog
from tests.shared.locale.hardcoded_text import (
    error_literals,
    in_python,
    in_script,
    in_template,
    wrong_values_in_python,
    wrong_values_in_template,
)

TARGETS = [language for language in LANGUAGES if language != SOURCE_LANGUAGE]
PLACEHOLDER = re.compile(r"\{\w*(?:![rs])?(?::[^{}]*)?\}|%\(\w+\)s")
TAG = re.compile(r"</?\w+[^>]*>")

# Literals that look like text but are not, and texts that must be in English.
NO_TEXT = {
    # names and values of the API and of programs, in any language
    *("API", "USD", "CSV", "UTC", "Python", "Node", "curl", "yout", "reasoning_effort", "minimal", "low", "medium", "high"),
    *("stop", "tool_choice", "auto", "required", "none", "user", "assistant", "system", "None", "True", "False"),
    # headers, attributes and keys
    *("Lax", "Cookie", "Origin", "Vary", "Server:", "Response", "Bearer …", "noindex, nofollow", "use strict", "Referer"),
    *("nofollow noopener noreferrer", "math display", "Enter", "Escape", "a, video, audio"),
}
IGNORED_CALLS = frozenset({"error", "warning", "info", "debug", "describe_route", "ResponseSpec", "MetricSpec"})
PAGE_ERRORS = {"InvalidInput", "NotFound"}
OPERATOR_ERRORS = {  # shown on the command line, in logs or by the API only
    "shared/core/signing.py",
    "shared/files/certificates.py",
    "shared/files/storage.py",
    "shared/ledger/purge_signature.py",
    "shared/ledger/receipt_proof.py",
    "shared/operations/proof_reports.py",
    "shared/operations/secret_rotation.py",
}
PYTHON_PAGES = ("console", "edge/web", "shared/mail")
ENGLISH = (
    "edge/web/static/playground/snippets.js",  # generates code
    "edge/web/playground.py",  # an example in JSON
    "shared/mail/smtp.py",  # headers, and errors for operators
)
ENGLISH_TEXTS = {
    "edge/web/static/chat/attachments.js": {"Files"},  # a type of the clipboard
    "console/actions/catalog.py": {"console test call"},  # the name of a key, stored
    "console/channel_test.py": {"Say OK."},  # a prompt
    "console/forms/catalog.py": {"Say hello in one sentence."},
    "console/security/request_check.py": {"Invalid Host header.\n"},  # plain text for clients without a page
    "edge/web/docs/reference.py": {"Chat completions", "Responses", "Messages", "Embeddings", "Rerank"},  # names of APIs
    "edge/web/static/docs_search.js": {"input, textarea, select"},  # a selector
    "edge/web/static/receipt.js": {"yout ledger v1"},  # a tag of hashes
    "edge/web/models.py": {
        "Disallow: /account",
        "Disallow: /models?",
        "Disallow: /api/",
        "Disallow: /v1/",
        "Sitemap: …/sitemap.xml",
    },
    "edge/web/password_auth.py": {"verification network …", "password mail … from …", "password mail network …"},  # keys in Redis
    "shared/mail/texts.py": {"Closed", "Alert", "This alert is closed. There is nothing to do."},  # to operators
    "edge/web/share_page.py": {"Not found.", "No such share."},  # JSON
}


@cache
def template() -> Catalog:
    """The texts in the sources, found once for all tests here."""
    return extract()


@cache
def catalog(language: str) -> Catalog:
    return read_catalog(language)


def messages(language: str) -> Iterator[tuple[Message, list[tuple[str, str]]]]:
    """Each message with its pairs of source and translation: one, or one per plural form."""
    for message in catalog(language):
        if message.id:
            ids = [message.id] if isinstance(message.id, str) else [message.id[0], *[message.id[1]] * (len(message.string) - 1)]
            strings = [message.string] if isinstance(message.string, str) else list(message.string)
            yield message, list(zip(ids, strings, strict=True))


def page_files(suffix: str) -> list[Path]:
    return [path for path in sources() if path.suffix == suffix and not path.relative_to(ROOT).as_posix().startswith(ENGLISH)]


def found_outside(path: Path, texts: list[str]) -> list[str]:
    allowed = NO_TEXT | ENGLISH_TEXTS.get(path.relative_to(ROOT).as_posix(), set())
    return [text for text in texts if text.strip() not in allowed and text not in allowed]


@pytest.mark.parametrize("language", TARGETS)
def test_a_catalog_has_exactly_the_texts_of_the_sources(language: str) -> None:
    """If this fails, run `make messages` and translate the new texts."""
    assert written(updated(language, template())).decode() == catalog_path(language).read_text()


@pytest.mark.parametrize("language", TARGETS)
def test_every_text_is_translated(language: str) -> None:
    assert [message.id for message, pairs in messages(language) if message.fuzzy or not all(text for _, text in pairs)] == []


@pytest.mark.parametrize("language", TARGETS)
def test_translations_keep_placeholders_tags_and_edges(language: str) -> None:
    """The singular may leave out the count. Quotes would end an attribute; tags must be those of the source."""
    for message, pairs in messages(language):
        for source, text in pairs:
            allowed = {*PLACEHOLDER.findall(source)}
            assert {*PLACEHOLDER.findall(text)} - allowed == set(), message.id
            assert allowed - {*PLACEHOLDER.findall(text)} <= {"{count}", "{number}"} if message.pluralizable else text, message.id
            if not message.pluralizable:
                assert {*PLACEHOLDER.findall(text)} == allowed, message.id
            assert sorted(TAG.findall(text)) == sorted(TAG.findall(source)), message.id
            assert TAG.sub("", text).count('"') == TAG.sub("", source).count('"'), message.id
            assert text == text.strip(), message.id


def test_descriptions_of_the_api_are_found() -> None:
    source = """
@describe_route("Create a key", callers=KEY, responses={200: ResponseSpec(SCHEMA, "The key.")}, notes="Shown " "once.")
def view() -> None:
    Meta(ge=0, description="Seconds to wait.", extra={"expected": "no text"})
    other("no text", description="no text")
    describe_route(f"no {literal}", notes=CONSTANT)
FIELDS: Mapping[str, Meaning] = {"id": Meaning("Id of the key.", "no text")}
PARAMETERS: Mapping[str, str] = {"no text": "Maximum number of results."}
"""
    assert set(descriptions(source)) == {
        *("Create a key", "The key.", "Shown once.", "Seconds to wait.", "Id of the key.", "Maximum number of results."),
    }


def test_texts_are_not_parts_of_sentences() -> None:
    """A text that begins or ends with a space is a part of a sentence."""
    texts = [message.id if isinstance(message.id, str) else message.id[0] for message in template() if message.id]
    assert [text for text in texts if text != text.strip()] == []


@pytest.mark.parametrize("path", page_files(".html"), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_text_of_a_template_is_outside_the_catalogs(path: Path) -> None:
    assert found_outside(path, in_template(path.read_text())) == []


@pytest.mark.parametrize("path", page_files(".js"), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_text_of_a_script_is_outside_the_catalogs(path: Path) -> None:
    assert found_outside(path, in_script(path.read_text())) == []


@pytest.mark.parametrize("room", PYTHON_PAGES)
def test_no_text_of_a_view_is_outside_the_catalogs(room: str) -> None:
    files = [path for path in page_files(".py") if path.relative_to(ROOT).as_posix().startswith(f"{room}/")]
    outside = {path.name: found_outside(path, in_python(path.read_text(), IGNORED_CALLS)) for path in files}
    assert {name: texts for name, texts in outside.items() if texts} == {}


def test_errors_that_pages_show_are_in_the_catalogs() -> None:
    """Their first argument must be a gettext call, not a literal or an f-string."""
    outside = {}
    for path in sorted((ROOT / "shared").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if name not in OPERATOR_ERRORS and (texts := error_literals(path.read_text(), PAGE_ERRORS)):
            outside[name] = texts
    assert outside == {}


@pytest.mark.parametrize("suffix", [".py", ".html"])
def test_every_placeholder_gets_a_value(suffix: str) -> None:
    check = wrong_values_in_python if suffix == ".py" else wrong_values_in_template
    wrong = {path.relative_to(ROOT).as_posix(): check(path.read_text()) for path in sources() if path.suffix == suffix}
    assert {name: texts for name, texts in wrong.items() if texts} == {}
