"""The search in the page header: finds a row by its exact id, email address, key prefix, request id, payment or name."""

from __future__ import annotations

from flask import redirect, request
from flask.typing import ResponseReturnValue

from console.search import find
from console.views.view import View, page_route, self_service_route

MAX_TEXT = 300


class SearchView(View):
    def is_visible(self) -> bool:
        return False  # it is in the header of every page

    @page_route("/")
    def index(self) -> ResponseReturnValue:
        return self._search(request.args.get("q", ""))

    @self_service_route("/find")
    def find(self) -> ResponseReturnValue:
        """The form of the header: what is pasted into it may be a secret, which must not be part of a URL."""
        return self._search(request.form.get("q", ""))

    def _search(self, typed: str) -> ResponseReturnValue:
        text = typed.strip()[:MAX_TEXT]
        found = find(text) if text else []
        if len(found) == 1:
            return redirect(found[0].url, 303)
        return self.page("search.html", text=text, found=found)
