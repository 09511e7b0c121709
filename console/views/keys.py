"""API keys: find one by prefix, secret or owner; edit, rotate and revoke. Pages never select digests."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from console.actions import accounts
from console.actions import customers as actions
from console.forms.customers import KeyForm, RevokeManyForm, RotateForm
from console.forms.fields import RevokeForm
from console.paging import fetch_page
from console.views.form_handling import submit_form, submit_with_secret, take_shown_secret
from console.views.view import View, action_route, page_route
from shared.core.clock import now_ms
from shared.core.errors import NotFound
from shared.identity.api_key_format import PREFIX, digest, is_well_formed
from shared.identity.emails import normalize_for_lookup
from shared.models import Account, ApiKey
from shared.operations.key_rotation import MAX_KEYS
from shared.rollup import month_spending
from shared.text.translation import gettext

_SHOWN = [field for field in ApiKey._meta.sorted_fields if field.name != "digest"]
_PREFIX_LENGTH = len(PREFIX) + 4


class KeysView(View):
    @page_route("/")
    def index(self) -> ResponseReturnValue:
        text = request.args.get("q", "").strip()
        if is_well_formed(text):  # a full key was pasted: redirect, so that it leaves the page and the URL
            found = ApiKey.get_or_none(ApiKey.digest == digest(text))
            target = url_for("keys.detail", key_id=found.id) if found else url_for("keys.index", q=text[:_PREFIX_LENGTH])
            return redirect(target, 303)
        text = text[:_PREFIX_LENGTH] if text.startswith(PREFIX) else text
        query = _matching(text)
        page = fetch_page(query, [ApiKey.id], request.args.get("before"))
        return self.page("keys/list.html", q=text, page=page, now=now_ms())

    @page_route("/revoke")
    def several(self) -> ResponseReturnValue:
        """List the active keys that a search matches, before a bulk revocation."""
        return self._several(RevokeManyForm(formdata=None))

    @action_route("/revoke", "key.revoke_many")
    def revoke_several(self) -> ResponseReturnValue:
        form, found = RevokeManyForm(), _working(_searched())
        done = submit_form(
            form, lambda: actions.revoke_keys([key.id for key in found], form.confirmation.data), url_for("keys.index")
        )
        return done or (self._several(form), 422)

    @page_route("/<uuid:key_id>")
    def detail(self, key_id: UUID) -> ResponseReturnValue:
        return self._page(_find(key_id))

    @page_route("/<uuid:key_id>/edit")
    def edit(self, key_id: UUID) -> ResponseReturnValue:
        key = _find(key_id)
        return self.page("keys/edit.html", key=key, form=KeyForm.from_key(key))

    @action_route("/<uuid:key_id>/edit", "key.edit")
    def update(self, key_id: UUID) -> ResponseReturnValue:
        key, form = _find(key_id), KeyForm()
        done = submit_form(form, lambda: actions.update_key(key, form), url_for("keys.detail", key_id=key.id))
        return done or (self.page("keys/edit.html", key=key, form=form), 422)

    @action_route("/<uuid:key_id>/revoke", "key.revoke")
    def revoke(self, key_id: UUID) -> ResponseReturnValue:
        key, form = _find(key_id), RevokeForm()
        target = url_for("keys.detail", key_id=key.id)
        done = submit_form(form, lambda: accounts.revoke_key(key, form.confirmation.data), target)
        return done or (self._page(key, form), 422)

    @action_route("/<uuid:key_id>/rotate", "key.rotate")
    def rotate(self, key_id: UUID) -> ResponseReturnValue:
        key, form = _find(key_id), RotateForm()
        done = submit_with_secret(form, lambda: actions.rotate_key(key, form.grace_hours.required_value()), "keys.made")
        if done is None and form.form_errors:  # the page of an inactive key lacks this form
            flash(" ".join(form.form_errors), "bad")
            return redirect(url_for("keys.detail", key_id=key_id), 303)
        return done or (self._page(key, rotate=form), 422)

    @page_route("/made/<form_id>")
    def made(self, form_id: str) -> ResponseReturnValue:
        ids, secret = take_shown_secret(form_id)
        key, old = (_find(UUID(id)) for id in ids.split())
        if secret is None:
            advice = gettext("If the key was not copied, rotate it again or revoke it.")
            back = url_for("keys.detail", key_id=key.id)
            return self.page("shown.html", what=gettext("The key {prefix}", prefix=key.prefix), advice=advice, back=back)
        return self.page("keys/made.html", key=key, secret=secret, old=old)

    def _page(self, key: ApiKey, form: RevokeForm | None = None, rotate: RotateForm | None = None) -> str:
        return self.page(
            "keys/detail.html",
            key=key,
            form=form or RevokeForm(formdata=None),
            rotate=rotate or RotateForm(formdata=None, grace_hours=24),
            spent=month_spending(key.account.id, now_ms()).get(key.id, 0),
            now=now_ms(),
        )

    def _several(self, form: RevokeManyForm) -> str:
        text = _searched()
        return self.page("keys/revoke.html", q=text, form=form, keys=_working(text), now=now_ms())


def _searched() -> str:
    """Return the search text of the URL. A bulk revocation requires one, so that it never means all keys."""
    return request.args.get("q", "").strip()


def _matching(text: str) -> Any:
    """Select keys whose prefix, or whose owner's email, starts with `text`."""
    query = ApiKey.select(*_SHOWN, Account).join(Account)
    if text.startswith(PREFIX):
        return query.where(ApiKey.prefix.startswith(text[:_PREFIX_LENGTH]))
    return query.where(Account.email.startswith(normalize_for_lookup(text))) if text else query


def _working(text: str) -> list[ApiKey]:
    if not text:
        return []
    working = ApiKey.revoked_at.is_null() & (ApiKey.expires_at.is_null() | (ApiKey.expires_at > now_ms()))
    return list(_matching(text).where(working).order_by(Account.email, ApiKey.id).limit(MAX_KEYS + 1))


def _find(key_id: UUID) -> ApiKey:
    key: ApiKey | None = _matching("").where(ApiKey.id == key_id).first()
    if key is None:
        raise NotFound(gettext("No key {key_id}.", key_id=key_id))
    return key
