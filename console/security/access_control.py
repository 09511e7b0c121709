"""Access control before every view: a signed-in person for every page, a permitted action for every change.

It denies by default: a new view needs no decorator to be protected, and a route that changes something is denied until it
declares its action. A person who must change their password or set up a second factor can open only the page for it.
"""

from __future__ import annotations

from flask import Flask, abort, current_app, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from console.security.roles import is_allowed, is_self_service, view_action
from shared.text.translation import gettext

ENDPOINTS_WITHOUT_DATABASE = frozenset({"static", "shared_static", "healthz", "metrics", "languages.messages"})
PUBLIC_ENDPOINTS = ENDPOINTS_WITHOUT_DATABASE | {
    *("auth.sign_in", "auth.second_factor", "openid.begin", "openid.finish", "passkeys.sign_in", "languages.switch"),
}
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_ALLOWED_DURING_SETUP = frozenset({"auth.sign_out", "me.index", "me.password", "me.enrol"})


def install(app: Flask) -> None:
    """Check every request of `app`."""
    app.before_request(_check)


def _check() -> ResponseReturnValue | None:
    if request.endpoint in PUBLIC_ENDPOINTS:
        return None
    if not current_user.is_authenticated:
        # A form that was submitted without a session is not replayed after sign-in.
        here = request.full_path.rstrip("?") if request.method in SAFE_METHODS else None
        return redirect(url_for("auth.sign_in", next=here if here != "/" else None), 303)
    required = _required_setup()
    if required and request.endpoint not in _ALLOWED_DURING_SETUP:
        flash(required, "bad")
        return redirect(url_for("me.index"), 303)
    if request.endpoint is None or request.method in SAFE_METHODS:
        return None
    view = current_app.view_functions[request.endpoint]
    if is_self_service(view):
        return None
    action = view_action(view)
    if action is None or not is_allowed(current_user.role, action):
        abort(403)
    return None


def _required_setup() -> str:
    """Return a message if the signed-in person must first do something, or ""."""
    if current_user.must_change_password():
        return gettext("Choose a new password before you continue: yours was set by someone else.")
    if current_user.must_set_up_second_factor():
        return gettext("Set up a second factor before you continue: this console requires one.")
    return ""
