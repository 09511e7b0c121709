"""Translates the texts of pages. English is the source; the catalogs are in `shared/locale`. Pure, apart from reading them.

The language is that of the current request: each web app calls `set_language` first. Emails are composed `in_language` of their
account. Everywhere else it is English, which is also the language of the API.
"""

from __future__ import annotations

import gettext as standard
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from babel.messages.catalog import Catalog

LANGUAGES = {"en": "English", "de": "Deutsch"}  # each in its own language, as the switch shows it
SOURCE_LANGUAGE = "en"
COOKIE = "yout_language"
COOKIE_SECONDS = 365 * 24 * 3600
LOCALE = Path(__file__).parents[1] / "locale"

_language: ContextVar[str] = ContextVar("language", default=SOURCE_LANGUAGE)


def set_language(language: str) -> None:
    """Set the language of the current request. It must be a key of `LANGUAGES`."""
    _language.set(language)


def best_language(accepted: Iterable[tuple[str, float]]) -> str:
    """Return the language of the first accepted tag for which there is one, of any region; English if there is none.

    `accepted` are the tags and qualities of `Accept-Language`, the best first. Source: RFC 4647, section 3.4.
    """
    tags = (tag.lower().partition("-")[0] for tag, quality in accepted if quality > 0)
    return next((tag for tag in tags if tag in LANGUAGES), SOURCE_LANGUAGE)


@contextmanager
def in_language(language: str) -> Iterator[None]:
    """Use a language in this block; English if it is not in `LANGUAGES`, for example because it was removed."""
    token = _language.set(language if language in LANGUAGES else SOURCE_LANGUAGE)
    try:
        yield
    finally:
        _language.reset(token)


def current_language() -> str:
    """Return the language of the current request, such as `de`."""
    return _language.get()


def gettext(message: str, /, **values: object) -> str:
    """Return `message` in the language of the request, with `values` in place of its `{names}`."""
    text = _translations(_language.get()).gettext(message)
    return text.format(**_translated(values)) if values else text


def ngettext(one: str, many: str, count: int, /, **values: object) -> str:
    """Return `one` or `many`, as `count` requires, in the language of the request. `{count}` is among the values unless given."""
    return _translations(_language.get()).ngettext(one, many, count).format(**_translated({"count": count, **values}))


class LazyText(str):
    """An English text that a page shows in the language of its reader.

    As a `str`, and in JSON, it is English; Jinja and WTForms translate it when they escape it. It can therefore be a constant, a
    form's label or the message of an error that was raised in another thread.
    """

    __slots__ = ("_parts",)
    _parts: tuple[str, str | None, int, dict[str, Any]]

    def __new__(cls, one: str, many: str | None = None, count: int = 1, values: dict[str, Any] | None = None) -> LazyText:
        """Create the text of `one`, or of `many` for other counts than 1."""
        template = one if many is None or count == 1 else many
        text = super().__new__(cls, template.format(**values) if values else template)
        text._parts = (one, many, count, values or {})
        return text

    def __str__(self) -> str:
        """Return itself, so that `str(error)` can still be translated."""
        return self

    def __html__(self) -> str:
        return escape(self.translated())

    def translated(self) -> str:
        """Return the text in the language of the request."""
        one, many, count, values = self._parts
        return gettext(one, **values) if many is None else ngettext(one, many, count, **values)


def lazy_gettext(message: str, /, **values: object) -> LazyText:
    """Return `message` as a text that is translated when it is shown."""
    return LazyText(message, None, 1, values)


def lazy_ngettext(one: str, many: str, count: int, /, **values: object) -> LazyText:
    """Like `lazy_gettext`, for a text that depends on `count`."""
    return LazyText(one, many, count, {"count": count, **values})


def translated(text: str) -> str:
    """Return `text` in the language of the request if it is a lazy text, else unchanged."""
    return text.translated() if isinstance(text, LazyText) else text


def markup_gettext(message: str, /, **values: object) -> Markup:
    """`gettext` for templates, as `_`: the message may contain HTML, and the values are escaped."""
    text = Markup(gettext(message))  # noqa: S704  (from the catalog)
    return text.format(**values) if values else text


def markup_ngettext(one: str, many: str, count: int, /, **values: object) -> Markup:
    """`ngettext` for templates: the messages may contain HTML, and the values are escaped."""
    text = _translations(_language.get()).ngettext(one, many, count)
    return Markup(text).format(**{"count": count, **values})  # noqa: S704  (from the catalog)


def install(environment: Any) -> None:
    """Add `_`, `ngettext` and `{% trans %}` to a Jinja environment, and `language` and `languages` for the layout."""
    environment.add_extension("jinja2.ext.i18n")
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_callables(gettext, _plain_ngettext, newstyle=True)
    environment.globals.update(
        _=markup_gettext,
        ngettext=markup_ngettext,
        language=current_language,
        languages=LANGUAGES,
        script_messages=script_messages,
    )


@cache
def script_messages(language: str) -> bytes:
    """Return the messages of scripts as JSON, for `static/i18n.js`: English text → translation, or a list of plural forms.

    Empty for English, whose texts are in the scripts.
    """
    if language == SOURCE_LANGUAGE:
        return b""
    found = {}
    for message in read_catalog(language):
        if message.id and message.string and any(name.endswith(".js") for name, _ in message.locations):
            key = message.id if isinstance(message.id, str) else message.id[0]
            found[key] = message.string if isinstance(message.string, str) else list(message.string)
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def read_catalog(language: str) -> Catalog:
    """Return the catalog of a language. Raises `OSError` if it cannot be read."""
    from babel.messages.pofile import read_po  # here, because most processes translate nothing

    with catalog_path(language).open("rb") as file:
        return read_po(file, locale=language)


def catalog_path(language: str) -> Path:
    """Return the path of a language's catalog."""
    return LOCALE / language / "LC_MESSAGES" / "messages.po"


def load(languages: Iterable[str] = LANGUAGES) -> None:
    """Read the catalogs now, so that no request waits for them."""
    for language in languages:
        _translations(language)


def _translated(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value.translated() if isinstance(value, LazyText) else value for name, value in values.items()}


@cache
def _translations(language: str) -> standard.NullTranslations:
    if language == SOURCE_LANGUAGE:
        return standard.NullTranslations()
    from babel.messages.mofile import write_mo

    compiled = BytesIO()
    write_mo(compiled, read_catalog(language))
    compiled.seek(0)
    return standard.GNUTranslations(compiled)


def _plain_ngettext(one: str, many: str, count: int, /) -> str:
    """`ngettext` for `{% trans %}`, which fills in the values itself."""
    return _translations(_language.get()).ngettext(one, many, count)
