"""Texts in the language of the reader, with values, plurals and HTML."""

from __future__ import annotations

import contextvars
import copy
import json
from collections.abc import Iterator
from gettext import GNUTranslations
from io import BytesIO

import orjson
import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from jinja2 import Environment
from markupsafe import Markup
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

from shared.core.errors import InvalidInput
from shared.text import translation
from shared.text.translation import best_language, gettext, lazy_gettext, lazy_ngettext, ngettext, set_language

GERMAN = {
    "Sign in": "Anmelden",
    "{name} was created.": "{name} wurde erstellt.",
    "<b>{name}</b> was created.": "<b>{name}</b> wurde erstellt.",
    "Hello %(name)s": "Hallo %(name)s",
    ("{count} key", "{count} keys"): ("{count} Schlüssel", "{count} Schlüssel insgesamt"),
}


@pytest.fixture(autouse=True)
def german(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    catalog = Catalog(locale="de")
    for source, target in GERMAN.items():
        catalog.add(source, target)
    file = BytesIO()
    write_mo(file, catalog)
    file.seek(0)
    known = {"en": translation._translations("en"), "de": GNUTranslations(file)}
    monkeypatch.setattr(translation, "_translations", known.__getitem__)
    set_language("de")
    yield
    set_language("en")


def render(source: str, **values: object) -> str:
    environment = Environment(autoescape=True)
    translation.install(environment)
    return environment.from_string(source).render(**values)


def test_the_language_is_that_of_the_request() -> None:
    assert gettext("Sign in") == "Anmelden"
    assert contextvars.Context().run(gettext, "Sign in") == "Sign in"


def test_an_unknown_text_stays_english() -> None:
    assert gettext("No such text, {name}", name="x") == "No such text, x"


@pytest.mark.parametrize(("count", "expected"), [(0, "0 Schlüssel insgesamt"), (1, "1 Schlüssel"), (2, "2 Schlüssel insgesamt")])
def test_plurals(count: int, expected: str) -> None:
    assert ngettext("{count} key", "{count} keys", count) == expected
    assert lazy_ngettext("{count} key", "{count} keys", count).translated() == expected
    assert render('{{ ngettext("{count} key", "{count} keys", count) }}', count=count) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('{{ _("Sign in") }}', "Anmelden"),
        ('{{ _("<b>{name}</b> was created.", name=name) }}', "<b>&lt;i&gt;</b> wurde erstellt."),
        ("{% trans %}Hello {{ name }}{% endtrans %}", "Hallo &lt;i&gt;"),
        ("{% trans %}\n  Sign\n  in\n{% endtrans %}", "Anmelden"),
        ("{{ lazy }}", "&lt;i&gt; wurde erstellt."),
        ('<p title="{{ lazy }}">', '<p title="&lt;i&gt; wurde erstellt.">'),
        ('{{ _("100 % {name}", name=name) }}', "100 % &lt;i&gt;"),
    ],
)
def test_templates(source: str, expected: str) -> None:
    assert render(source, name="<i>", lazy=lazy_gettext("{name} was created.", name="<i>")) == expected


def test_a_lazy_text_is_english_until_it_is_shown() -> None:
    lazy = lazy_gettext("{name} was created.", name="x")
    assert lazy == "x was created."
    assert orjson.loads(orjson.dumps([lazy])) == json.loads(json.dumps([lazy])) == ["x was created."]
    assert Markup("<p>{}</p>").format(lazy) == "<p>x wurde erstellt.</p>"


def test_an_error_keeps_its_translation() -> None:
    error = InvalidInput(lazy_gettext("Sign in"))
    assert str(error) == "Sign in"
    assert f"{error}" == "Sign in"
    assert translation.translated(str(error)) == "Anmelden"
    assert translation.translated(copy.deepcopy(str(error))) == "Anmelden"


def test_a_lazy_value_is_translated_too() -> None:
    lazy = lazy_gettext("{name} was created.", name=lazy_gettext("Sign in"))
    assert lazy == "Sign in was created."
    assert lazy.translated() == "Anmelden wurde erstellt."


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("de-AT,en;q=0.4", "de"),
        ("en-GB,de;q=0.9", "en"),
        ("en;q=0.5,DE-ch;q=0.8", "de"),
        ("fr,de;q=0.1", "de"),
        ("de;q=0,fr", "en"),
        ("*", "en"),
        ("", "en"),
    ],
)
def test_the_order_of_the_browser_counts_whatever_the_region(header: str, language: str) -> None:
    assert best_language(parse_accept_header(header, LanguageAccept)) == language
