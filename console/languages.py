"""The language of pages: from the reader's choice, kept in a cookie, or else the browser's `Accept-Language`."""

from __future__ import annotations

import hashlib

from flask import Blueprint, Flask, Response, abort, current_app, redirect, request, url_for
from flask.typing import ResponseReturnValue

from shared.text import translation
from shared.text.redirects import referring_path
from shared.text.words import agent_name, word

blueprint = Blueprint("languages", __name__)


def install(app: Flask) -> None:
    """Set the language before each request, and make it available to templates."""
    translation.load()
    translation.install(app.jinja_env)
    app.jinja_env.filters.update(word=word, agent_name=agent_name)
    app.jinja_env.globals["messages_url"] = messages_url
    app.config["WTF_I18N_ENABLED"] = False  # WTForms' own translations, in the language that forms name
    app.before_request(_choose)
    app.after_request(_vary)
    app.register_blueprint(blueprint)


def messages_url() -> str:
    """Return the URL of the translations of scripts, or "" for English."""
    language = translation.current_language()
    if language == translation.SOURCE_LANGUAGE:
        return ""
    version = hashlib.sha256(translation.script_messages(language)).hexdigest()[:12]
    return url_for("languages.messages", language=language, v=version)


@blueprint.post("/language")
def switch() -> ResponseReturnValue:
    """Remember the language, and return to the page."""
    response = redirect(referring_path(request.headers.get("Referer", ""), request.host), 303)
    chosen = request.form.get("language")
    if chosen in translation.LANGUAGES:
        response.set_cookie(
            translation.COOKIE,
            chosen,
            max_age=translation.COOKIE_SECONDS,
            secure=current_app.config["SESSION_COOKIE_SECURE"],
            httponly=True,
            samesite="Lax",
        )
    return response


@blueprint.get("/messages/<language>.json")
def messages(language: str) -> Response:
    """Return the translations of scripts. The URL contains their version."""
    if language not in translation.LANGUAGES:
        abort(404)
    response = Response(translation.script_messages(language) or b"{}", content_type="application/json")
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response


def _choose() -> None:
    chosen = request.cookies.get(translation.COOKIE)
    if chosen not in translation.LANGUAGES:
        chosen = translation.best_language(request.accept_languages)
    translation.set_language(chosen)


def _vary(response: Response) -> Response:
    response.vary.update(("Accept-Language", "Cookie"))
    return response
