"""The gate before every view: a signed-in member of staff for every page, and a role for every change.

It refuses by default: a new view needs no decorator to be protected, and a new route that changes something is closed until
it names its action.
"""

from __future__ import annotations

from flask import Flask, abort, current_app, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from console.roles import action_of, allowed

WITHOUT_DATABASE = frozenset({"static", "shared_static", "healthz"})
PUBLIC = WITHOUT_DATABASE | {"auth.sign_in"}
CHANGES_OWN_SESSION_ONLY = frozenset({"auth.sign_out"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def install(app: Flask) -> None:
    """Put the gate in front of every request of `app`."""
    app.before_request(_check)


def _check() -> ResponseReturnValue | None:
    if request.endpoint in PUBLIC:
        return None
    if not current_user.is_authenticated:
        # What a stranger wanted to send is not kept: after signing in they start from the page.
        here = request.full_path.rstrip("?") if request.method in SAFE_METHODS else None
        return redirect(url_for("auth.sign_in", next=here if here != "/" else None), 303)
    if request.endpoint is None or request.method in SAFE_METHODS or request.endpoint in CHANGES_OWN_SESSION_ONLY:
        return None
    action = action_of(current_app.view_functions[request.endpoint])
    if action is None or not allowed(current_user.role, action):
        abort(403)
    return None
