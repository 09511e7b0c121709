"""Sign-in: who may enter the console, and for how long."""

from __future__ import annotations

from urllib.parse import urlsplit
from uuid import UUID

from flask import Blueprint, Flask, current_app, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user

from console.address import client_address, network_of
from console.forms import SignInForm
from console.throttle import Throttle
from shared.clock import now_ms
from shared.models import StaffUser
from shared.operations.sign_ins import record_sign_in
from shared.operations.staff import verify_password

SESSION_SECONDS = 12 * 3600  # from the sign-in on, however busy the session is
FAILURES_A_PERSON = 10
FAILURES_AN_ADDRESS = 30

blueprint = Blueprint("auth", __name__)


class SignedIn(UserMixin):
    """A member of staff with a session. The session names the epoch in which it began; a raised epoch ends it."""

    def __init__(self, person: StaffUser) -> None:
        self.email: str = person.email
        self.role: str = person.role
        self._id = f"{person.id.hex}.{person.session_epoch}"

    def get_id(self) -> str:
        return self._id


def install(app: Flask) -> None:
    """Add the session handling and the two routes to `app`."""
    manager = LoginManager(app)
    manager.user_loader(load)
    app.extensions["yout_throttle"] = Throttle()
    app.register_blueprint(blueprint)


def load(session_id: str) -> SignedIn | None:
    """The person of a session, or None when it is too old, was ended, or the person is disabled or gone."""
    person_id, _, epoch = session_id.partition(".")
    if now_ms() - session.get("signed_in_at", 0) > SESSION_SECONDS * 1000:
        return None
    person = StaffUser.get_or_none(StaffUser.id == UUID(person_id))
    if person is None or person.status != "active" or str(person.session_epoch) != epoch:
        return None
    return SignedIn(person)


@blueprint.route("/login", methods=("GET", "POST"))
def sign_in() -> ResponseReturnValue:
    target = safe_target(request.args.get("next"))
    if current_user.is_authenticated:
        return redirect(target, 303)
    form = SignInForm()
    if not form.validate_on_submit():
        return render_template("sign_in.html", form=form), 422 if form.is_submitted() else 200
    wait_ms, person = _prove(form.email.data, form.password.data)
    if wait_ms:
        minutes = -(-wait_ms // 60_000)
        form.form_errors = [f"Too many failed sign-ins. Try again in {minutes} minute{'s' if minutes > 1 else ''}."]
        return render_template("sign_in.html", form=form), 429, {"Retry-After": str(-(-wait_ms // 1000))}
    if person is None:
        form.form_errors = ["E-mail or password is wrong."]
        return render_template("sign_in.html", form=form), 403
    _begin_session(person)
    return redirect(target, 303)


@blueprint.post("/logout")
def sign_out() -> ResponseReturnValue:
    logout_user()
    session.clear()
    flash("You are signed out.", "good")
    return redirect(url_for("auth.sign_in"), 303)


def safe_target(text: str | None) -> str:
    """Where to go after the sign-in: `text` if it is a path of this console, else its first page.

    Browsers read a backslash as a slash and drop control characters, so `/\\evil.example` and `/<tab>/evil.example` would leave.
    """
    if not text or not text.startswith("/") or text.startswith("//") or "\\" in text or not text.isprintable():
        return "/"
    parts = urlsplit(text)
    return "/" if parts.scheme or parts.netloc else text


def _prove(email: str, password: str) -> tuple[int, StaffUser | None]:
    """(milliseconds to wait, None) when throttled, else (0, the person or None)."""
    throttle: Throttle = current_app.extensions["yout_throttle"]
    who, where = "email " + email.strip().lower(), "address " + network_of(client_address())
    wait_ms = throttle.begin({who: FAILURES_A_PERSON, where: FAILURES_AN_ADDRESS}, now_ms())
    if wait_ms:
        return wait_ms, None
    person = verify_password(email, password)
    if person is not None:
        throttle.forgive(who, where)
    return 0, person


def _begin_session(person: StaffUser) -> None:
    record_sign_in(person, address=client_address())
    session.clear()  # nothing that was in the cookie before counts for the person
    session.permanent = True
    session["signed_in_at"] = now_ms()
    login_user(SignedIn(person))
