"""The gate before every view: a signed-in member of staff for every page, and a role for every change.

It refuses by default: a new view needs no decorator to be protected, and a new route that changes something is closed until
it names its action. Who still owes a password of their own or a second factor sees nothing but the page where they make it.
"""

from __future__ import annotations

from flask import Flask, abort, current_app, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from console.security.roles import action_of, allowed, of_oneself

WITHOUT_DATABASE = frozenset({"static", "shared_static", "healthz"})
PUBLIC = WITHOUT_DATABASE | {"auth.sign_in", "auth.second_factor"}
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_WHILE_OWING = frozenset({"auth.sign_out", "me.index", "me.password", "me.enrol"})


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
    owed = _owed()
    if owed and request.endpoint not in _WHILE_OWING:
        flash(owed, "bad")
        return redirect(url_for("me.index"), 303)
    if request.endpoint is None or request.method in SAFE_METHODS:
        return None
    view = current_app.view_functions[request.endpoint]
    if of_oneself(view):
        return None
    action = action_of(view)
    if action is None or not allowed(current_user.role, action):
        abort(403)
    return None


def _owed() -> str:
    """What the signed-in person must do before anything else; "" when nothing."""
    if current_user.must_change_password():
        return "Choose a password of your own first: the one that you came in with was made for you."
    if current_user.must_set_up_second_factor():
        return "Set up a second factor first: this console asks for one."
    return ""
