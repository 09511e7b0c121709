"""API keys: find one by its prefix, its secret or its owner, and revoke it. Digests are never selected for a page."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue

from console import actions
from console.forms import RevokeForm
from console.paging import page_of
from console.views.submission import submit
from console.views.view import View, changes, shows
from shared.clock import now_ms
from shared.errors import NotFound
from shared.keys import MARK, digest, well_formed
from shared.models import Account, ApiKey

_SHOWN = [field for field in ApiKey._meta.sorted_fields if field.name != "digest"]
_PREFIX_LENGTH = len(MARK) + 4


class KeysView(View):
    @shows("/")
    def index(self) -> ResponseReturnValue:
        text = request.args.get("q", "").strip()
        if well_formed(text):  # a whole key was pasted: off the page and out of the address at once
            found = ApiKey.get_or_none(ApiKey.digest == digest(text))
            target = url_for("keys.detail", key_id=found.id) if found else url_for("keys.index", q=text[:_PREFIX_LENGTH])
            return redirect(target, 303)
        query = _select()
        if text.startswith(MARK):
            query = query.where(ApiKey.prefix.startswith(text[:_PREFIX_LENGTH]))
            text = text[:_PREFIX_LENGTH]
        elif text:
            query = query.where(Account.email.startswith(text.lower()))
        page = page_of(query, [ApiKey.id], request.args.get("before"))
        return self.page("keys/list.html", q=text, page=page, now=now_ms())

    @shows("/<uuid:key_id>")
    def detail(self, key_id: UUID) -> ResponseReturnValue:
        return self._page(_find(key_id), RevokeForm())

    @changes("/<uuid:key_id>/revoke", "key.revoke")
    def revoke(self, key_id: UUID) -> ResponseReturnValue:
        key, form = _find(key_id), RevokeForm()
        target = url_for("keys.detail", key_id=key.id)
        done = submit(form, lambda: actions.revoke_key(key, form.confirmation.data), target)
        return done or (self._page(key, form), 422)

    def _page(self, key: ApiKey, form: RevokeForm) -> str:
        return self.page("keys/detail.html", key=key, form=form, now=now_ms())


def _select() -> Any:
    return ApiKey.select(*_SHOWN, Account).join(Account)


def _find(key_id: UUID) -> ApiKey:
    key: ApiKey | None = _select().where(ApiKey.id == key_id).first()
    if key is None:
        raise NotFound(f"No key {key_id}.")
    return key
