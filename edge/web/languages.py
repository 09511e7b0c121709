"""The language of pages: from the reader's choice, kept in a cookie, or else the browser's `Accept-Language`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import cache, partial
from typing import cast

from quart import Blueprint, Quart, Response, request

from edge.http.headers import Scope
from edge.http.web_headers import cookie_value, read_web_headers
from edge.request_context import services, write
from edge.web.assets import asset_url, files, script_messages_name
from edge.web.page_request import API, PROBES
from shared.core.errors import DatabaseUnavailable, InvalidSession
from shared.operations.accounts import remember_language
from shared.text import translation
from shared.text.redirects import referring_path, safe_redirect
from shared.text.words import agent_name, word

languages = Blueprint("languages", __name__)


def install(app: Quart) -> None:
    """Set the language before each request, and make it available to templates."""
    translation.install(app.jinja_env)
    app.jinja_env.filters.update(word=word, agent_name=agent_name)
    app.jinja_env.globals["messages_url"] = messages_url
    app.before_request(choose_language)


async def choose_language() -> None:
    """Set the language of a page. The API is always in English."""
    if request.path.startswith((*API, *PROBES)):
        translation.set_language(translation.SOURCE_LANGUAGE)
        return
    if not _load.cache_info().currsize:
        await asyncio.to_thread(_load)
    chosen = request.cookies.get(translation.COOKIE)
    if chosen not in translation.LANGUAGES:
        chosen = translation.best_language(request.accept_languages)
    translation.set_language(chosen)


@cache
def _load() -> None:
    """Load what only pages need, at the first page: 7 MB, which takes 0.1 s. Streams do not wait for it in a thread."""
    translation.load()
    files()


@languages.post("/language")
async def switch_language() -> Response:
    """Remember the language, also for the account's emails, and return to the page.

    The form needs no CSRF token. A submission from another site can change only the language cookie, not the account, because
    session cookies are `SameSite=Lax`.

    The page to return to is read from the `Referer`, so that no page has to contain its own URL, which an attacker may have
    crafted. Shares send no `Referer`, so their form contains their path.
    """
    form = await request.form
    target = safe_redirect(form.get("next"), referring_path(request.headers.get("referer", ""), request.host))
    response = Response("", 303, {"location": target})
    chosen = form.get("language")
    if chosen in translation.LANGUAGES:
        await _remember_for_account(chosen)
        response.set_cookie(
            translation.COOKIE,
            chosen,
            max_age=translation.COOKIE_SECONDS,
            path="/",
            secure=services().sessions.secure,
            httponly=True,
            samesite="Lax",
        )
    return response


async def _remember_for_account(language: str) -> None:
    """Set the language of the emails of the signed-in account, if any. Without a database, only the page's language changes."""
    secret = cookie_value(read_web_headers(cast(Scope, request.scope)).cookie, services().sessions.cookie)
    if not secret:
        return
    with suppress(InvalidSession, DatabaseUnavailable):
        session = await services().sessions.look_up(secret)
        await write(partial(remember_language, session.account, language))


def vary_by_language(response: Response) -> Response:
    """Declare that a page depends on the language, and on the session, for caches."""
    response.vary.update(("Accept-Language", "Cookie"))
    return response


def messages_url() -> str:
    """Return the URL of the translations of scripts, or "" for English."""
    language = translation.current_language()
    return "" if language == translation.SOURCE_LANGUAGE else asset_url(script_messages_name(language))
