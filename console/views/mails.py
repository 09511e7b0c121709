"""The emails of an installation without a mail server, if `yout up` shows them here. Their links work."""

from __future__ import annotations

from uuid import UUID

from flask import Response, abort, request
from flask.typing import ResponseReturnValue
from flask_login import current_user

from console.actions.origin import origin
from console.paging import fetch_page
from console.security.auth import settings
from console.security.roles import is_allowed
from console.views.view import View, page_route
from shared.mail.texts import MailText
from shared.mail_composing import compose
from shared.models import OutgoingMail
from shared.operations.export_audit import record_mail_read

# The email has inline styles, and a link that must leave the sandbox.
HTML_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox allow-top-navigation-by-user-activation"
)


class MailsView(View):
    """Its pages need the permission to create password links, because emails contain such links."""

    def is_visible(self) -> bool:
        """Hide the page from the menu if emails are not shown here, and from those who may not read them."""
        return settings().mails_in_console and _is_reader()

    @page_route("/")
    def index(self) -> ResponseReturnValue:
        _require_reader()
        page = fetch_page(OutgoingMail.select(), (OutgoingMail.id,), request.args.get("before"))
        return self.page("mails/list.html", page=page)

    @page_route("/<uuid:mail_id>")
    def detail(self, mail_id: UUID) -> ResponseReturnValue:
        mail, text = _find(mail_id)
        return self.page("mails/detail.html", mail=mail, text=text)

    @page_route("/<uuid:mail_id>/html")
    def html(self, mail_id: UUID) -> ResponseReturnValue:
        """Return the HTML version of an email alone, as a mail program would show it."""
        _, text = _find(mail_id)
        if text is None:
            abort(404)
        return Response(text.html, headers={"Content-Security-Policy": HTML_POLICY})


def _is_reader() -> bool:
    return is_allowed(current_user.role, "account.password")


def _require_reader() -> None:
    if not settings().mails_in_console:
        abort(404)
    if not _is_reader():
        abort(403)


def _find(mail_id: UUID) -> tuple[OutgoingMail, MailText | None]:
    """Return an email, and its text unless it is no longer needed. Reading a text is recorded in the audit log."""
    _require_reader()
    mail: OutgoingMail | None = OutgoingMail.get_or_none(OutgoingMail.id == mail_id)
    if mail is None:
        abort(404)
    text = compose(mail.__data__["account"], mail, settings())
    if text is not None:
        record_mail_read(mail, origin=origin())
    return mail, text
