"""Your account: the signed-in person's own password, second factor, recovery codes and sessions."""

from __future__ import annotations

import segno
from flask import request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from markupsafe import Markup

from console.actions import staff
from console.forms.fields import ConfirmForm, EnrolForm, OwnPasswordForm
from console.paging import page_of
from console.views.form_handling import create, perform, shown, submit
from console.views.view import View, changes_oneself, shows
from shared.models import StaffSession
from shared.operations import second_factor
from shared.operations.staff_sessions import living_sessions

ENROLLING = "enrolling"  # cookie key of the secret offered to the authenticator app, until a code confirms it


class MeView(View):
    """Its forms need no permission, because everyone may manage their own account."""

    def is_visible(self) -> bool:
        """Hide the page from the menu: it is linked from the person's email."""
        return False

    @shows("/")
    def index(self) -> ResponseReturnValue:
        return self._page()

    @changes_oneself("/password")
    def password(self) -> ResponseReturnValue:
        form = OwnPasswordForm()
        done = submit(form, lambda: staff.change_own_password(form.current.data, form.new.data), url_for("me.index"))
        return done or (self._page(password=form), 422)

    @changes_oneself("/second-factor")
    def enrol(self) -> ResponseReturnValue:
        form = EnrolForm()
        done = create(
            form, lambda: staff.enrol_own_second_factor(_pending_secret(), form.password.data, form.code.data), "me.shown_codes"
        )
        if done is not None:
            session.pop(ENROLLING, None)
        return done or (self._page(enrol=form), 422)

    @changes_oneself("/second-factor/off")
    def turn_off(self) -> ResponseReturnValue:
        form = ConfirmForm()
        done = submit(form, lambda: staff.turn_off_own_second_factor(form.password.data, form.code.data), url_for("me.index"))
        return done or (self._page(confirm=form), 422)

    @changes_oneself("/recovery-codes")
    def recovery_codes(self) -> ResponseReturnValue:
        form = ConfirmForm()
        done = create(form, lambda: staff.renew_own_recovery_codes(form.password.data, form.code.data), "me.shown_codes")
        return done or (self._page(confirm=form), 422)

    @shows("/recovery-codes/<form_id>")
    def shown_codes(self, form_id: str) -> ResponseReturnValue:
        codes = shown(form_id).secret
        if codes is None:
            advice = "If you did not copy the codes, create new ones."
            return self.page("shown.html", what="The list of recovery codes", advice=advice, back=url_for("me.index"))
        return self.page("me/recovery_codes.html", codes=codes.split())

    @changes_oneself("/sessions/<int:began_at>/end")
    def end_session(self, began_at: int) -> ResponseReturnValue:
        """End one's own session that began at `began_at` (ms UTC), since pages show no session digests."""
        return perform(lambda: staff.end_own_session(began_at), url_for("me.index"))

    @changes_oneself("/sessions/end-others")
    def end_others(self) -> ResponseReturnValue:
        return perform(staff.end_own_other_sessions, url_for("me.index"))

    def _page(
        self, password: OwnPasswordForm | None = None, enrol: EnrolForm | None = None, confirm: ConfirmForm | None = None
    ) -> str:
        person = current_user.person
        secret = "" if person.sealed_totp else _pending_secret()
        return self.page(
            "me/index.html",
            person=person,
            password=password or OwnPasswordForm(formdata=None),
            enrol=enrol or EnrolForm(formdata=None),
            confirm=confirm or ConfirmForm(formdata=None),
            secret=secret,
            qr_code=_qr_code(person.email, secret) if secret else "",
            codes_left=second_factor.recovery_codes_left(person.id),
            page=page_of(living_sessions(person.id), (StaffSession.created_at,), request.args.get("before")),
            this_session=current_user.session.digest,
        )


def _pending_secret() -> str:
    """Return the secret that this session offers to an app. It stays the same until used, so that a reload keeps the QR code."""
    secret: str = session.setdefault(ENROLLING, second_factor.new_secret())
    return secret


def _qr_code(email: str, secret: str) -> Markup:
    """Return the QR code as SVG without a style attribute, which the content security policy forbids."""
    code = segno.make(second_factor.enrolment_address(email, secret), error="m")
    return Markup(code.svg_inline(scale=4, border=2, dark="#1c1b19", light="#ffffff", omitsize=False))  # noqa: S704  (segno's own)
