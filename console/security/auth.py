"""Sign-in: who may enter the console, and for how long. The session itself is a row that the server can end."""

from __future__ import annotations

from urllib.parse import urlsplit
from uuid import UUID

from flask import Blueprint, Flask, current_app, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user

from console.forms.fields import CodeForm, SignInForm
from console.security import password_auth
from console.security.client_ip import client_address
from console.security.roles import oneself
from shared.core.clock import now_ms
from shared.core.errors import Busy, TooManyAttempts
from shared.core.settings import Settings
from shared.models import StaffSession, StaffUser
from shared.operations.staff_sessions import begin_session, end_session, find_session

PENDING_MS = 5 * 60 * 1000  # from the password to the code of the second factor

blueprint = Blueprint("auth", __name__)


class SignedIn(UserMixin):
    """A member of staff with a living session."""

    def __init__(self, secret: str, row: StaffSession) -> None:
        self.session = row
        self.person: StaffUser = row.staff
        self.email: str = row.staff.email
        self.role: str = row.staff.role
        self._secret = secret

    def get_id(self) -> str:
        """What the cookie holds, signed: the session's secret."""
        return self._secret

    def must_change_password(self) -> bool:
        """Whether somebody else made the password that they came in with."""
        return bool(self.person.must_change_password)

    def must_set_up_second_factor(self) -> bool:
        """Whether this installation asks for a second factor that they don't have yet."""
        return settings().staff_second_factor and not self.person.sealed_totp


def settings() -> Settings:
    """The settings that the console was made with."""
    found: Settings = current_app.extensions["yout_settings"]
    return found


def install(app: Flask) -> None:
    """Add the session handling and the routes of the door to `app`."""
    manager = LoginManager(app)
    manager.user_loader(load)
    app.register_blueprint(blueprint)


def load(secret: str) -> SignedIn | None:
    """The person of a session, or None when it is too old, was ended, or the person is disabled or gone."""
    row = find_session(secret)
    return SignedIn(secret, row) if row is not None else None


@blueprint.route("/login", methods=("GET", "POST"))
def sign_in() -> ResponseReturnValue:
    target = safe_target(request.args.get("next"))
    if current_user.is_authenticated:
        return redirect(target, 303)
    form = SignInForm()
    if not form.validate_on_submit():
        return render_template("sign_in.html", form=form), 422 if form.is_submitted() else 200
    try:
        person = password_auth.prove_password(form.email.data, form.password.data)
    except (TooManyAttempts, Busy) as problem:
        return _refuse("sign_in.html", form, problem)
    if person is None:
        form.form_errors = ["E-mail or password is wrong."]
        return render_template("sign_in.html", form=form), 403
    if person.sealed_totp:
        session.clear()
        session["pending"] = {"staff": person.id.hex, "at": now_ms(), "password": person.password_hash[-16:]}
        return redirect(url_for("auth.second_factor", next=target if target != "/" else None), 303)
    _begin_session(person)
    return password_auth.remember_browser(redirect(target, 303), person)


@blueprint.route("/login/code", methods=("GET", "POST"))
def second_factor() -> ResponseReturnValue:
    """The second step: a code of the app, or a recovery code. Only for who has just given the right password."""
    target = safe_target(request.args.get("next"))
    person = _pending()
    if person is None:
        flash("Give your password again: the code came too late.", "bad")
        return redirect(url_for("auth.sign_in", next=target if target != "/" else None), 303)
    form = CodeForm()
    if not form.validate_on_submit():
        return render_template("second_factor.html", form=form), 422 if form.is_submitted() else 200
    try:
        right = password_auth.prove_code(person, form.code.data)
    except (TooManyAttempts, Busy) as problem:
        return _refuse("second_factor.html", form, problem)
    if not right:
        form.code.errors = ["That code is not right, or was used. Wait for the next one, or use a recovery code."]
        return render_template("second_factor.html", form=form), 403
    _begin_session(person)
    return password_auth.remember_browser(redirect(target, 303), person)


@blueprint.post("/logout")
@oneself
def sign_out() -> ResponseReturnValue:
    if current_user.is_authenticated:
        end_session(current_user.session.digest)
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


def _refuse(template: str, form: SignInForm | CodeForm, problem: TooManyAttempts | Busy) -> ResponseReturnValue:
    form.form_errors = [str(problem)]
    return render_template(template, form=form), *password_auth.status_of(problem)


def _pending() -> StaffUser | None:
    """Who gave the right password a moment ago and owes the code. A password that was changed meanwhile counts no more."""
    pending = session.get("pending")
    if not pending or now_ms() - pending["at"] > PENDING_MS:
        return None
    person: StaffUser | None = StaffUser.get_or_none(StaffUser.id == UUID(pending["staff"]))
    if person is None or person.status != "active" or person.password_hash[-16:] != pending["password"]:
        return None
    return person if person.sealed_totp else None


def _begin_session(person: StaffUser) -> None:
    secret = begin_session(person, address=client_address(), agent=_agent())
    session.clear()  # nothing that was in the cookie before counts for the person
    session.permanent = True
    row = find_session(secret)
    if row is not None:  # None: disabled in this very moment
        login_user(SignedIn(secret, row))


_BROWSERS = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)


def _agent() -> str:
    """The browser and its system in two words: enough to know one's own sessions, and nothing to follow anybody by."""
    sent = request.user_agent.string
    browser = next((name for mark, name in _BROWSERS if mark in sent), "Another program")
    system = next((name for mark, name in _SYSTEMS if mark in sent), "")
    return f"{browser} on {system}" if system else browser
