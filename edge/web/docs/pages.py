"""The routes of the documentation: chapters of the guide, sections of the reference, and the index of the search."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson
from quart import Blueprint, Response, current_app, render_template, request

from edge.http.public_url import edge_url
from edge.reference.document import openapi
from edge.reference.field_meanings import stream_sample
from edge.reference.sdk_examples import sdk_examples
from edge.request_context import services
from edge.web.docs.error_advice import error_rows
from edge.web.docs.reference import Section, sections
from edge.web.docs.search_index import as_rows, chapter_entries, section_entries
from edge.web.models import priced_models
from edge.web.pages import page
from shared.core.errors import NotFound
from shared.core.formats import breakable, code_spans
from shared.text.translation import LANGUAGES, SOURCE_LANGUAGE, current_language, lazy_gettext, set_language, translated

docs = Blueprint("docs", __name__)
_FORMATS = {"codes": code_spans, "breakable": breakable}
MAX_CACHED_URLS = 4  # an installation has one public URL; without a setting it is the Host header


class Chapter(NamedTuple):
    """A chapter of the guide. Its template is `docs/<slug>.html`."""

    slug: str
    title: str
    summary: str

    @property
    def url(self) -> str:
        """The path of the chapter; the first one is `/docs` itself."""
        return "/docs" if self is CHAPTERS[0] else f"/docs/{self.slug}"


CHAPTERS = (
    Chapter(
        "first-call", lazy_gettext("First call"), lazy_gettext("Create a key and make your first call in curl, Python or Node.")
    ),
    Chapter(
        "streaming", lazy_gettext("Streaming"), lazy_gettext("Server-sent events, usage and cost at the end, errors in a stream.")
    ),
    Chapter("errors", lazy_gettext("Errors"), lazy_gettext("The error format, what to do about each code, and safe retries.")),
    Chapter(
        "limits", lazy_gettext("Limits"), lazy_gettext("Requests and tokens per minute, concurrent requests, and limits of keys.")
    ),
    Chapter(
        "credits",
        lazy_gettext("Credits"),
        lazy_gettext("What a call costs, holds and charges, receipts, quotes, and spending limits."),
    ),
    Chapter(
        "media",
        lazy_gettext("Images, speech, video"),
        lazy_gettext("Media calls as jobs: submission, progress, download, and callbacks."),
    ),
    Chapter(
        "privacy",
        lazy_gettext("Privacy"),
        lazy_gettext("What is stored and for how long, what providers see, and how to delete your data."),
    ),
    Chapter(
        "sdks",
        lazy_gettext("SDKs and tools"),
        lazy_gettext("The base URL of every SDK and agent, and code for OpenAI's and Anthropic's SDKs."),
    ),
)


@docs.get("/docs")
async def show_guide() -> Response:
    return await _chapter_page(CHAPTERS[0])


@docs.get("/docs/<chapter>")
async def show_chapter(chapter: str) -> Response:
    found = next((one for one in CHAPTERS[1:] if one.slug == chapter), None)
    if found is None:
        raise NotFound(lazy_gettext("Page not found."))
    return await _chapter_page(found)


@docs.get("/docs/reference")
async def show_reference() -> Response:
    return await page("docs/reference.html", **_frame("/docs/reference"))


@docs.get("/docs/reference/<section>")
async def show_section(section: str) -> Response:
    found = next((one for one in _sections() if one.slug == section), None)
    if found is None:
        raise NotFound(lazy_gettext("Page not found."))
    return await page("docs/section.html", section=found, **_frame(f"/docs/reference/{section}"))


@docs.get("/docs/search.json")
async def show_search_index() -> Response:
    """Return the index of the search in `?language=`, for the page's script. It is the same for everyone."""
    chosen = request.args.get("language", "")
    set_language(chosen if chosen in LANGUAGES else SOURCE_LANGUAGE)
    cache = current_app.extensions.setdefault("docs_index", {})
    key = (edge_url(), current_language())
    if key not in cache:
        entries = []
        for chapter in CHAPTERS:
            html = await render_template("docs/chapter_text.html", chapter=chapter.slug, **_FORMATS, **_facts())
            entries += chapter_entries(chapter.url, translated(chapter.title), html)
        for section in _sections():
            entries += section_entries(f"/docs/reference/{section.slug}", section)
        if len(cache) >= MAX_CACHED_URLS * len(LANGUAGES):
            cache.clear()
        cache[key] = orjson.dumps(as_rows(entries))
    response = Response(cache[key], content_type="application/json")
    response.headers["cache-control"] = "public, max-age=300"
    return response


async def _chapter_page(chapter: Chapter) -> Response:
    number = CHAPTERS.index(chapter)
    return await page(
        "docs/chapter.html",
        chapter=chapter,
        previous=CHAPTERS[number - 1] if number else None,
        following=CHAPTERS[number + 1] if number + 1 < len(CHAPTERS) else None,
        **_facts(),
        **_frame(chapter.url),
    )


def _frame(url: str) -> dict[str, Any]:
    """Return what the menu shows."""
    return {"chapters": CHAPTERS, "menu": _sections(), "url": url, "canonical": edge_url() + url, **_FORMATS}


def _facts() -> dict[str, Any]:
    """Return the values that the chapters mention."""
    url, settings = edge_url(), services().settings
    model = _models().get("chat", "a-chat-model")
    return {
        "edge": url,
        "model": model,
        "settings": settings,
        "errors": error_rows(),
        "chat_code": sdk_examples("chat", model, f"{url}/v1"),
        "chat_stream": stream_sample("post_v1_chat_completions"),
    }


def _models() -> dict[str, str]:
    """Return one model per kind, for the examples; a free one if there is any."""
    models = sorted((model for model, _ in priced_models()), key=lambda model: (not model.is_free, model.id), reverse=True)
    return {model.kind: model.id for model in models}


def _sections() -> list[Section]:
    """Return the reference in the language of the request, built once for each public URL and list of models."""
    cache: dict[tuple[str, str], tuple[dict[str, str], list[Section]]]
    cache = current_app.extensions.setdefault("docs_sections", {})
    key, models = (edge_url(), current_language()), _models()
    if key not in cache or cache[key][0] != models:
        if len(cache) >= MAX_CACHED_URLS * len(LANGUAGES):
            cache.clear()
        cache[key] = (models, sections(_document(), models))
    return cache[key][1]


def _document() -> dict[str, Any]:
    """Return the OpenAPI document, built once for each public URL."""
    cache: dict[str, dict[str, Any]] = current_app.extensions.setdefault("docs_document", {})
    url = edge_url()
    if url not in cache:
        if len(cache) >= MAX_CACHED_URLS:
            cache.clear()
        cache[url] = openapi(current_app, current_app.extensions["endpoints"], url)
    return cache[url]
