"""Your account: the signed-in person's own password, second factor, recovery codes and sessions."""

from __future__ import annotations

from functools import partial
from typing import TypeVar
from uuid import UUID

import segno
from flask import request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from flask_wtf import FlaskForm
from markupsafe import Markup
from wtforms import StringField

from console.actions import staff
from console.forms.fields import ConfirmForm, EnrollForm, OwnPasswordForm, PasskeyForm
from console.paging import fetch_page
from console.security.passkeys import ADD, offer_challenge, site_id, used_site
from console.views.form_handling import run_action, submit_form, submit_with_secret, take_shown_secret
from console.views.view import View, page_route, self_service_route
from shared.identity.passkeys import creation_options
from shared.models import StaffPasskey, StaffSession, StaffUser
from shared.operations.passkeys import STAFF as PASSKEYS
from shared.operations.second_factor import STAFF, new_secret
from shared.operations.staff_identities import NO_PASSWORD, identities_of
from shared.operations.staff_sessions import active_sessions
from shared.text.translation import gettext

F = TypeVar("F", bound=FlaskForm)
PASSKEY = "passkey-"  # prefix of its form's fields, because another form on the page has a password, too
ENROLLING = "enrolling"  # cookie key of the secret offered to the authenticator app, until a code confirms it


class MeView(View):
    """Its forms need no permission, because everyone may manage their own account."""

    def is_visible(self) -> bool:
        """Hide the page from the menu: it is linked from the person's email."""
        return False

    @page_route("/")
    def index(self) -> ResponseReturnValue:
        return self._page()

    @self_service_route("/password")
    def password(self) -> ResponseReturnValue:
        form = _own(OwnPasswordForm())
        change = partial(staff.change_own_password, _typed(form.current), form.new.data, _typed(form.code))
        done = submit_form(form, change, url_for("me.index"))
        return done or (self._page(password=form), 422)

    @self_service_route("/second-factor")
    def enrol(self) -> ResponseReturnValue:
        form = _own(EnrollForm())
        done = submit_with_secret(
            form,
            lambda: staff.enroll_own_second_factor(_pending_secret(), _typed(form.password), form.code.data),
            "me.shown_codes",
        )
        if done is not None:
            session.pop(ENROLLING, None)
        return done or (self._page(enrol=form), 422)

    @self_service_route("/second-factor/off")
    def turn_off(self) -> ResponseReturnValue:
        form = _own(ConfirmForm())
        done = submit_form(
            form, lambda: staff.disable_own_second_factor(_typed(form.password), _typed(form.code)), url_for("me.index")
        )
        return done or (self._page(confirm=form), 422)

    @self_service_route("/recovery-codes")
    def recovery_codes(self) -> ResponseReturnValue:
        form = _own(ConfirmForm())
        done = submit_with_secret(
            form, lambda: staff.replace_own_recovery_codes(_typed(form.password), _typed(form.code)), "me.shown_codes"
        )
        return done or (self._page(confirm=form), 422)

    @page_route("/recovery-codes/<form_id>")
    def shown_codes(self, form_id: str) -> ResponseReturnValue:
        codes = take_shown_secret(form_id).secret
        if codes is None:
            advice = gettext("If you did not copy the codes, create new ones.")
            return self.page("shown.html", what=gettext("The list of recovery codes"), advice=advice, back=url_for("me.index"))
        return self.page("me/recovery_codes.html", codes=codes.split())

    @self_service_route("/passkeys")
    def add_passkey(self) -> ResponseReturnValue:
        form = _own(PasskeyForm(prefix=PASSKEY))

        def add() -> str:
            return staff.add_own_passkey(_typed(form.password), _typed(form.code), form.credential.data or "", used_site(ADD))

        done = submit_form(form, add, url_for("me.index"))
        return done or (self._page(passkey=form), 422)

    @self_service_route("/passkeys/<uuid:passkey_id>/remove")
    def remove_passkey(self, passkey_id: UUID) -> ResponseReturnValue:
        form = _own(PasskeyForm(prefix=PASSKEY))
        removal = partial(staff.remove_own_passkey, _typed(form.password), _typed(form.code), passkey_id)
        done = submit_form(form, removal, url_for("me.index"))
        return done or (self._page(passkey=form), 422)

    @self_service_route("/sessions/<int:began_at>/end")
    def end_session(self, began_at: int) -> ResponseReturnValue:
        """End one's own session that began at `began_at` (ms UTC), because pages show no session digests."""
        return run_action(lambda: staff.end_own_session(began_at), url_for("me.index"))

    @self_service_route("/sessions/end-others")
    def end_others(self) -> ResponseReturnValue:
        return run_action(staff.end_other_own_sessions, url_for("me.index"))

    def _page(
        self,
        password: OwnPasswordForm | None = None,
        enrol: EnrollForm | None = None,
        confirm: ConfirmForm | None = None,
        passkey: PasskeyForm | None = None,
    ) -> str:
        person = current_user.person
        secret = "" if person.sealed_totp else _pending_secret()
        return self.page(
            "me/index.html",
            person=person,
            password=password or _own(OwnPasswordForm(formdata=None)),
            enrol=enrol or _own(EnrollForm(formdata=None)),
            confirm=confirm or _own(ConfirmForm(formdata=None)),
            secret=secret,
            passkey=passkey or _own(PasskeyForm(formdata=None, prefix=PASSKEY)),
            passkeys=(existing := PASSKEYS.list_of(person.id)),
            passkey_options=_passkey_creation(person, existing),
            identities=identities_of(person.id),
            qr_code=_qr_code(person.email, secret) if secret else "",
            codes_left=STAFF.recovery_codes_left(person.id),
            page=fetch_page(active_sessions(person.id), (StaffSession.created_at,), request.args.get("before")),
            this_session=current_user.session.digest,
        )


def _passkey_creation(person: StaffUser, existing: list[StaffPasskey]) -> str | dict[str, object]:
    """Return the options for a new passkey, or "" if they cannot be used here."""
    rp_id = site_id()
    if not rp_id:
        return ""
    return creation_options(rp_id, offer_challenge(ADD), person.id.bytes, person.email, [row.credential for row in existing])


def _own(form: F) -> F:
    """Return a form for the signed-in person, without the fields for a password or a code that they do not have."""
    missing = ["password", "current"] if current_user.person.password_hash == NO_PASSWORD else []
    if not current_user.person.sealed_totp and not isinstance(form, EnrollForm):
        missing.append("code")
    for name in missing:
        if name in form:
            del form[name]
    return form


def _typed(field: StringField | None) -> str:
    """Return the text of a field that `_own` may have removed."""
    return field.data or "" if field is not None else ""


def _pending_secret() -> str:
    """Return the secret that this session offers to an app. It stays the same until used, so that a reload keeps the QR code."""
    secret: str = session.setdefault(ENROLLING, new_secret())
    return secret


def _qr_code(email: str, secret: str) -> Markup:
    """Return the QR code as SVG without a style attribute, which the content security policy forbids."""
    code = segno.make(STAFF.enrollment_url(email, secret), error="m")
    return Markup(code.svg_inline(scale=4, border=2, dark="#1c1b19", light="#ffffff", omitsize=False))  # noqa: S704  (segno's own)
