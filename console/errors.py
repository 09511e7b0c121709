"""Error pages, in the console's layout where possible."""

from __future__ import annotations

import logging
from typing import Any

import peewee
from flask import Flask, Response, current_app, render_template, request
from flask.typing import ResponseReturnValue
from flask_login import current_user
from flask_wtf.csrf import CSRFError
from playhouse.pool import MaxConnectionsExceeded
from werkzeug.exceptions import HTTPException

from console.security.access_control import ENDPOINTS_WITHOUT_DATABASE
from console.security.csrf import rejection_reason
from shared.core.availability import DATABASE
from shared.core.database import drop_connection
from shared.core.database_errors import describe_error, is_temporary
from shared.core.errors import InvalidInput, NotFound, SettingsError
from shared.core.failure_report import describe_failure
from shared.text.translation import gettext, lazy_gettext
from shared.text.words import word

log = logging.getLogger("yout.console")

MESSAGES = {
    403: (
        lazy_gettext("Not allowed"),
        lazy_gettext("Your role does not allow this. Nothing was changed. Ask an owner for access."),
    ),
    404: (
        lazy_gettext("Not found"),
        lazy_gettext("This page does not exist. It may have been removed, or the address is mistyped."),
    ),
    405: (
        lazy_gettext("Method not allowed"),
        lazy_gettext("This address accepts form submissions only. Go back and use the button on the page."),
    ),
    413: (lazy_gettext("Form too large"), lazy_gettext("The form exceeds the size limit. Nothing was changed.")),
    415: (
        lazy_gettext("Compressed form"),
        lazy_gettext("Send forms without Content-Encoding; compressed bodies are not supported. Nothing was changed."),
    ),
}


def install(app: Flask) -> None:
    """Add the error pages to `app`."""
    app.after_request(_note_success)
    app.register_error_handler(CSRFError, _csrf_failed)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(NotFound, _not_found)
    app.register_error_handler(InvalidInput, _invalid)
    app.register_error_handler(SettingsError, _invalid_setting)
    app.register_error_handler(peewee.PeeweeException, _database_failed)
    app.register_error_handler(MaxConnectionsExceeded, _database_failed)
    app.register_error_handler(Exception, _internal_error)


def _note_success(response: Response) -> Response:
    if not DATABASE.is_available and response.status_code < 500 and request.endpoint not in ENDPOINTS_WITHOUT_DATABASE:
        DATABASE.succeeded()
    return response


def _page(status: int, title: str, words: str) -> ResponseReturnValue:
    framed = bool(current_user.is_authenticated)
    return render_template("error.html", status=status, heading=title, words=words, framed=framed), status


def _bare(template: str, **values: Any) -> str:
    """Render a page outside the layout and without loading the signed-in person, because either may have failed."""
    return current_app.jinja_env.get_template(template).render(**values)


def _csrf_failed(_: CSRFError) -> ResponseReturnValue:
    return _page(400, gettext("Form rejected"), rejection_reason())


def _http_error(error: HTTPException) -> ResponseReturnValue:
    if error.code is None or error.code < 400:  # such as a redirect
        return error
    title, words = MESSAGES.get(error.code, (error.name, error.description or ""))
    if error.code == 403 and current_user.is_authenticated:
        words = gettext("You are signed in as {role}. {words}", role=word(current_user.role), words=words)
    return _page(error.code, title, words)


def _not_found(error: NotFound) -> ResponseReturnValue:
    return _page(404, gettext("Not found"), str(error))


def _invalid(error: InvalidInput) -> ResponseReturnValue:
    return _page(400, gettext("Invalid request"), str(error))


def _invalid_setting(error: SettingsError) -> ResponseReturnValue:
    """Show the message to staff: it names a setting or an encrypted column, never a value."""
    log.error("%s: %s", request.endpoint, error)
    return _page(500, gettext("Invalid setting"), str(error))


def _database_failed(error: Exception) -> ResponseReturnValue:
    if not is_temporary(error):
        return _internal_error(error)
    DATABASE.failed(describe_error(error))
    drop_connection(error)
    return _bare("unavailable.html"), 503, {"Retry-After": "5"}


def _internal_error(error: Exception) -> ResponseReturnValue:
    log.error("unhandled error in %s: %s", request.endpoint, describe_failure(error))
    words = gettext("The error was logged. No change was partially saved.")
    return _bare("error.html", status=500, heading=gettext("Internal error"), words=words, framed=False), 500
