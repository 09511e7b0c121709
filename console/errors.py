"""What a person sees when something cannot be done: the same frame as every page, and words that say what to do."""

from __future__ import annotations

import logging
from typing import Any

import peewee
from flask import Flask, current_app, render_template, request
from flask.typing import ResponseReturnValue
from flask_login import current_user
from flask_wtf.csrf import CSRFError
from playhouse.pool import MaxConnectionsExceeded
from werkzeug.exceptions import HTTPException

from console.security.origin import why_refused
from shared.core.database import drop_connection
from shared.core.database_errors import describe, may_pass
from shared.core.errors import InvalidInput, NotFound, SettingsError
from shared.core.failure_report import describe_failure

log = logging.getLogger("yout.console")

WORDS = {
    403: ("Not for your role", "Your role doesn't cover this, and nothing was changed. Ask an owner of this console."),
    404: ("Nothing here", "This page or row doesn't exist. It may have been removed, or the address is mistyped."),
    405: ("Not this way", "This address takes forms only. Go back and use the page's own button."),
    413: ("Too much", "The form was larger than the console takes. Nothing was changed."),
    415: (
        "Compressed form",
        "Forms must be sent without Content-Encoding: the console reads no compressed bodies. Nothing was changed.",
    ),
}


def install(app: Flask) -> None:
    """Give `app` its error pages."""
    app.register_error_handler(CSRFError, _form_refused)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(NotFound, _not_found)
    app.register_error_handler(InvalidInput, _invalid)
    app.register_error_handler(SettingsError, _wrong_setting)
    app.register_error_handler(peewee.PeeweeException, _database_failed)
    app.register_error_handler(MaxConnectionsExceeded, _database_failed)
    app.register_error_handler(Exception, _broken)


def _page(status: int, title: str, words: str) -> ResponseReturnValue:
    framed = bool(current_user.is_authenticated)
    return render_template("error.html", status=status, heading=title, words=words, framed=framed), status


def _bare(template: str, **values: Any) -> str:
    """A page without the frame and without asking who is signed in: the database or the frame may be what failed."""
    return current_app.jinja_env.get_template(template).render(**values)


def _form_refused(_: CSRFError) -> ResponseReturnValue:
    return _page(400, "Form refused", why_refused())


def _http_error(error: HTTPException) -> ResponseReturnValue:
    if error.code is None or error.code < 400:  # a redirect
        return error
    title, words = WORDS.get(error.code, (error.name, error.description or ""))
    if error.code == 403 and current_user.is_authenticated:
        words = f"You are signed in as {current_user.role}. {words}"
    return _page(error.code, title, words)


def _not_found(error: NotFound) -> ResponseReturnValue:
    return _page(404, "Nothing here", str(error))


def _invalid(error: InvalidInput) -> ResponseReturnValue:
    return _page(400, "Cannot be read", str(error))


def _wrong_setting(error: SettingsError) -> ResponseReturnValue:
    """Staff may see this message: it names a setting or an encrypted column, never a value."""
    log.error("%s: %s", request.endpoint, error)
    return _page(500, "Invalid setting", str(error))


def _database_failed(error: Exception) -> ResponseReturnValue:
    if not may_pass(error):
        return _broken(error)
    log.error("the database is unavailable: %s", describe(error))
    drop_connection(error)
    return _bare("unavailable.html"), 503, {"Retry-After": "5"}


def _broken(error: Exception) -> ResponseReturnValue:
    log.error("%s failed with an internal error: %s", request.endpoint, describe_failure(error))
    words = "The failure is in the console's log. Nothing was half done: every change is one step."
    return _bare("error.html", status=500, heading="This page failed", words=words, framed=False), 500
