"""The console's Flask app."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from flask import Flask, Response, jsonify, request
from flask_admin import Admin
from flask_admin.theme import Bootstrap4Theme
from flask_wtf import CSRFProtect
from jinja2 import StrictUndefined

from console import compression, errors, formats, languages, metrics, static_files, timing
from console.metrics import ConsoleMetrics
from console.security import access_control, auth, csrf, headers, openid, passkeys, password_auth, request_check
from console.views import home_view, views
from shared.core.database import database
from shared.core.secrets import derive_key
from shared.core.settings import Settings
from shared.operations.staff_sessions import MAX_LIFETIME_MS

MAX_FORM_BYTES = 64_000


def create_app(settings: Settings, counted: ConsoleMetrics | None = None) -> Flask:
    """Create the console's WSGI app. The database must already be bound to the models (`shared.core.database.bind_database`).

    The access check is installed before the CSRF check and the views, so that unauthenticated requests are read no further.
    """
    app = Flask("console", root_path=str(Path(__file__).resolve().parent), static_folder=None)
    app.config.update(_flask_settings(settings))
    app.extensions["yout_settings"] = settings
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.teardown_request(_close_connection)
    metrics.install(app, counted or ConsoleMetrics())
    timing.install(app)
    compression.install(app)
    languages.install(app)
    headers.install(app)
    auth.install(app)
    password_auth.install(app, settings)
    openid.install(app, settings)
    passkeys.install(app)
    request_check.install(app)
    access_control.install(app)
    csrf.install(app)
    CSRFProtect(app)
    formats.install(app, settings)
    errors.install(app)
    static_files.install(app)
    _add_public_routes(app)
    admin = Admin(app, name="yout", index_view=home_view(), theme=Bootstrap4Theme(base_template="base.html"))
    admin.add_views(*views())
    return app


def _flask_settings(settings: Settings) -> dict[str, object]:
    prefix = "__Host-" if settings.production else ""  # requires Secure, Path=/ and no Domain
    return {
        "SECRET_KEY": derive_key(settings.secret_key, "console-session"),
        "SESSION_COOKIE_NAME": f"{prefix}yout_console",  # cookies are shared by all ports of a host, so not "session"
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_COOKIE_SECURE": settings.production,
        "PERMANENT_SESSION_LIFETIME": timedelta(milliseconds=MAX_LIFETIME_MS),
        "MAX_CONTENT_LENGTH": MAX_FORM_BYTES,
        "WTF_CSRF_TIME_LIMIT": None,  # the token lives as long as its session
    }


def _add_public_routes(app: Flask) -> None:
    @app.get("/healthz")
    def healthz() -> Response:
        """Liveness probe. It does not query the database: a restart would not fix a database outage."""
        return jsonify(status="ok")


def _close_connection(_: BaseException | None) -> None:
    """Release the thread's connection: closed on SQLite, back to the pool on PostgreSQL. Peewee opens one on first use."""
    if request.endpoint not in access_control.ENDPOINTS_WITHOUT_DATABASE and not database.is_closed():
        database.close()
