"""Sign-in and sign-out. A session is a row that the server can end at any time."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, Flask, current_app, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user

from console.forms.fields import CodeForm, SignInForm
from console.security import password_auth
from console.security.client_ip import client_address
from console.security.roles import self_service
from shared.core.clock import now_ms
from shared.core.errors import SignInQueueFull, TooManyAttempts
from shared.core.settings import Settings
from shared.identity.web_sessions import agent_label
from shared.models import StaffSession, StaffUser
from shared.operations.staff_sessions import create_session, end_session, find_session
from shared.text.redirects import safe_redirect
from shared.text.translation import gettext

PENDING_MS = 5 * 60 * 1000  # time allowed between the password and the second-factor code

blueprint = Blueprint("auth", __name__)


class StaffSessionUser(UserMixin):
    """A staff member with an active session, as Flask-Login's `current_user`."""

    def __init__(self, secret: str, row: StaffSession) -> None:
        self.session = row
        self.person: StaffUser = row.staff
        self.email: str = row.staff.email
        self.role: str = row.staff.role
        self._secret = secret

    def get_id(self) -> str:
        """Return the session's secret, which Flask stores in its signed cookie."""
        return self._secret

    def must_change_password(self) -> bool:
        """Return whether the current password was set by someone else."""
        return bool(self.person.must_change_password)

    def must_set_up_second_factor(self) -> bool:
        """Return whether this installation requires a second factor and the person has none yet."""
        return settings().staff_second_factor and not self.person.sealed_totp


def settings() -> Settings:
    """Return the settings that the app was created with."""
    found: Settings = current_app.extensions["yout_settings"]
    return found


def install(app: Flask) -> None:
    """Add session handling and the sign-in routes to `app`."""
    manager = LoginManager(app)
    manager.user_loader(load_session_user)
    app.register_blueprint(blueprint)


def load_session_user(secret: str) -> StaffSessionUser | None:
    """Return the person of a session, or None if it has expired or ended or the person is disabled or deleted."""
    row = find_session(secret)
    return StaffSessionUser(secret, row) if row is not None else None


@blueprint.route("/login", methods=("GET", "POST"))
def sign_in() -> ResponseReturnValue:
    target = safe_redirect(request.args.get("next"), "/")
    if current_user.is_authenticated:
        return redirect(target, 303)
    form = SignInForm()
    if settings().staff_oidc_required:
        return _sign_in_page(form, 403 if form.is_submitted() else 200)
    if not form.validate_on_submit():
        return _sign_in_page(form, 422 if form.is_submitted() else 200)
    try:
        person = password_auth.verify_password_attempt(form.email.data, form.password.data)
    except (TooManyAttempts, SignInQueueFull) as error:
        form.form_errors = [str(error)]
        status, headers = password_auth.error_status(error)
        return _sign_in_page(form, status, headers)
    if person is None:
        form.form_errors = [gettext("Incorrect email or password.")]
        return _sign_in_page(form, 403)
    return begin_session_or_ask_code(person, target)


def begin_session_or_ask_code(person: StaffUser, target: str) -> ResponseReturnValue:
    """Sign in a person who proved who they are, after a code if they have a second factor, and redirect to `target`."""
    if person.sealed_totp:
        session.clear()
        session["pending"] = {"staff": person.id.hex, "at": now_ms(), "password": person.password_hash[-16:]}
        return redirect(url_for("auth.second_factor", next=target if target != "/" else None), 303)
    begin_session(person)
    return password_auth.mark_browser_known(redirect(target, 303), person)


@blueprint.route("/login/code", methods=("GET", "POST"))
def second_factor() -> ResponseReturnValue:
    """The second step, after a correct password: a code from the app, or a recovery code."""
    target = safe_redirect(request.args.get("next"), "/")
    person = _pending()
    if person is None:
        flash(gettext("Your sign-in timed out. Sign in again."), "bad")
        return redirect(url_for("auth.sign_in", next=target if target != "/" else None), 303)
    form = CodeForm()
    if not form.validate_on_submit():
        return render_template("second_factor.html", form=form), 422 if form.is_submitted() else 200
    try:
        valid = password_auth.verify_code(person, form.code.data)
    except (TooManyAttempts, SignInQueueFull) as error:
        form.form_errors = [str(error)]
        return render_template("second_factor.html", form=form), *password_auth.error_status(error)
    if not valid:
        form.code.errors = [gettext("The code is incorrect or was already used. Wait for the next one, or use a recovery code.")]
        return render_template("second_factor.html", form=form), 403
    begin_session(person)
    return password_auth.mark_browser_known(redirect(target, 303), person)


@blueprint.post("/logout")
@self_service
def sign_out() -> ResponseReturnValue:
    if current_user.is_authenticated:
        end_session(current_user.session.digest)
    logout_user()
    session.clear()
    flash(gettext("You have signed out."), "good")
    return redirect(url_for("auth.sign_in"), 303)


def _sign_in_page(form: SignInForm, status: int, headers: dict[str, str] | None = None) -> ResponseReturnValue:
    allowed = not settings().staff_oidc_required
    return render_template("sign_in.html", form=form, password_allowed=allowed), status, headers or {}


def _pending() -> StaffUser | None:
    """Return the person who has entered a correct password and still has to enter a code, or None.

    Returns None as well if the password was changed in the meantime.
    """
    pending = session.get("pending")
    if not pending or now_ms() - pending["at"] > PENDING_MS:
        return None
    person: StaffUser | None = StaffUser.get_or_none(StaffUser.id == UUID(pending["staff"]))
    if person is None or person.status != "active" or person.password_hash[-16:] != pending["password"]:
        return None
    return person if person.sealed_totp else None


def begin_session(person: StaffUser) -> None:
    """Create a session for a person who proved who they are."""
    secret = create_session(person, address=client_address(), agent=agent_label(request.user_agent.string))
    session.clear()  # discard the cookie's content from before the sign-in
    session.permanent = True
    row = find_session(secret)
    if row is not None:  # None if the person was disabled meanwhile
        login_user(StaffSessionUser(secret, row))
