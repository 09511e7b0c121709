"""Sign-in through an OpenID provider. The flow is kept in Flask's signed session cookie."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Flask, abort, current_app, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from console.security import auth, password_auth
from console.security.client_ip import client_address
from shared.core.errors import OpenIdUnavailable, SignInFailed, SignInQueueFull, TooManyAttempts
from shared.core.settings import Settings
from shared.operations.staff_identities import sign_in_staff
from shared.text.redirects import safe_redirect

if TYPE_CHECKING:
    from shared.openid.sign_in import OpenIdSignIn

FLOW = "openid"  # the flow's key in the session

blueprint = Blueprint("openid", __name__)


def install(app: Flask, settings: Settings) -> None:
    """Add the routes, and the provider if one is configured. Its library is imported only then."""
    app.register_blueprint(blueprint)
    app.jinja_env.globals["openid_name"] = ""
    if settings.staff_oidc_issuer:
        from shared.openid.sign_in import staff_sign_in

        provider = staff_sign_in(settings)
        assert provider is not None  # noqa: S101  (it has an issuer)
        app.extensions["yout_openid"] = provider
        app.jinja_env.globals["openid_name"] = provider.provider_name


@blueprint.get("/login/oidc")
def begin() -> ResponseReturnValue:
    """Redirect to the provider. The page links here, because the content security policy forbids forms that leave this site."""
    provider = _provider()
    target = safe_redirect(request.args.get("next"), "/")
    if current_user.is_authenticated:
        return redirect(target, 303)
    try:
        url, session[FLOW] = provider.begin(_callback(), target)
    except OpenIdUnavailable as error:
        return _failed(error, target)
    return redirect(url, 303)


@blueprint.get("/login/oidc/callback")
def finish() -> ResponseReturnValue:
    """Handle the provider's redirect. Each flow works once."""
    provider, target = _provider(), "/"
    try:
        flow = provider.open(session.pop(FLOW, ""), request.args)
        target = safe_redirect(flow.next, "/")
        with password_auth.count_flow(f"openid {flow.state}") as succeeded:
            identity = provider.finish(flow, request.args, _callback())
            succeeded()
        settings: Settings = current_app.extensions["yout_settings"]
        person = sign_in_staff(identity, settings.staff_oidc_roles, address=client_address())
    except (SignInFailed, OpenIdUnavailable, TooManyAttempts, SignInQueueFull) as error:
        return _failed(error, target)
    return auth.begin_session_or_ask_code(person, target)


def _callback() -> str:
    """Return the redirect address, which must be registered at the provider."""
    scheme = "https" if request.is_secure or current_app.config["SESSION_COOKIE_SECURE"] else "http"
    return url_for("openid.finish", _external=True, _scheme=scheme)


def _provider() -> OpenIdSignIn:
    found: OpenIdSignIn | None = current_app.extensions.get("yout_openid")
    return found if found is not None else abort(404)


def _failed(error: Exception, target: str) -> ResponseReturnValue:
    status, headers = password_auth.error_status(error)
    if isinstance(error, SignInFailed):
        status = 403
    back = url_for("auth.sign_in", next=target if target != "/" else None)
    return render_template("sign_in_failed.html", wrong=str(error), back=back), status, headers
