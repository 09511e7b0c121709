"""Sign-in with a passkey, and the challenges for passkeys, which are kept in Flask's signed session cookie."""

from __future__ import annotations

from flask import Blueprint, Flask, current_app, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from console.security import auth, password_auth
from shared.core.clock import now_ms
from shared.core.errors import SignInQueueFull, TooManyAttempts
from shared.identity.passkeys import new_challenge, origin_of, relying_party, request_options
from shared.models import StaffUser
from shared.operations.passkeys import STAFF, Site
from shared.text.redirects import safe_redirect
from shared.text.translation import gettext

SIGN_IN, ADD = "passkey", "new_passkey"  # keys of the session

blueprint = Blueprint("passkeys", __name__)


def install(app: Flask) -> None:
    """Add the route, and the options of the sign-in page."""
    app.register_blueprint(blueprint)
    app.jinja_env.globals["passkey_request"] = passkey_request


def passkey_request() -> str | dict[str, object]:
    """Return the options of the sign-in page for passkeys, or "" if they cannot be used here."""
    rp_id = site_id()
    if not rp_id or current_app.extensions["yout_settings"].staff_oidc_required:
        return ""
    return request_options(rp_id, offer_challenge(SIGN_IN))


def site_id() -> str:
    """Return the id of this site for passkeys, or "" if browsers offer none here."""
    return relying_party(_url())


def offer_challenge(name: str) -> str:
    """Return a new challenge for a page, which the session keeps under `name`."""
    challenge = new_challenge()
    session[name] = [challenge, now_ms()]
    return challenge


def used_site(name: str) -> Site | None:
    """Return where a passkey was used, with the challenge that the page stored in the session under `name`; it works once."""
    offered, rp_id = session.pop(name, None), site_id()
    return Site(rp_id, origin_of(_url()), *offered) if offered and rp_id else None


@blueprint.post("/login/passkey")
def sign_in() -> ResponseReturnValue:
    target = safe_redirect(request.args.get("next"), "/")
    site = used_site(SIGN_IN)
    found = None
    if site is not None and not current_app.extensions["yout_settings"].staff_oidc_required:
        try:
            with password_auth.count_flow(f"passkey {site.challenge}") as succeeded:
                person = STAFF.verify(request.form.get("credential", ""), site)
                found = StaffUser.get_or_none((StaffUser.id == person) & (StaffUser.status == "active")) if person else None
                if found is not None:
                    succeeded()
        except (TooManyAttempts, SignInQueueFull) as error:
            return _failed(str(error), target, *password_auth.error_status(error))
    if found is None:
        return _failed(gettext("The passkey could not be verified. Try again."), target, 403, {})
    auth.begin_session(found)
    return password_auth.mark_browser_known(redirect(target, 303), found)


def _failed(wrong: str, target: str, status: int, headers: dict[str, str]) -> ResponseReturnValue:
    back = url_for("auth.sign_in", next=target if target != "/" else None)
    return render_template("sign_in_failed.html", wrong=wrong, back=back), status, headers


def _url() -> str:
    """Return the address at which the browser sees this console."""
    scheme = "https" if request.is_secure or current_app.config["SESSION_COOKIE_SECURE"] else "http"
    return f"{scheme}://{request.host}"
