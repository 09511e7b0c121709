"""Lists of small tables, with search, sorting, filters, bulk actions and CSV export by Flask-Admin's Peewee `ModelView`.

Only its list is used: our own forms and operations, which write the audit log, create and change rows. Pages are numbered, which
is fine for hundreds of rows. Large tables use `console.paging`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast
from uuid import UUID

from flask import flash, redirect, request
from flask.typing import ResponseReturnValue
from flask_admin.actions import action
from flask_admin.contrib.peewee import ModelView
from flask_admin.contrib.peewee.filters import FilterEqual
from flask_login import current_user
from peewee import UUIDField
from wtforms import Form

from console.actions.origin import origin
from console.security.roles import is_allowed, view_action
from console.views.filters import Chip
from console.views.view import View, action_route, page_route
from shared.core.errors import InvalidInput, NotFound
from shared.operations.export_audit import record_export
from shared.text.csv_rows import escape_formula
from shared.text.translation import gettext, ngettext

MAX_PAGE = 1_000_000
_V = TypeVar("_V", bound="ListView")
Choices = Iterable[tuple[str, str]]


class Filter(FilterEqual):
    """A filter with a fixed or computed list of (value, label). In the URL it is `flt0_NAME=value`."""

    def __init__(self, column: Any, label: str, choices: Choices | Callable[[], Choices]) -> None:
        super().__init__(column, label)
        self._choices = choices

    def choices(self) -> dict[str, str]:
        """Return the label of each value. The library would read computed ones only once, when the process starts."""
        return dict(self._choices() if callable(self._choices) else self._choices)

    def validate(self, value: str) -> bool:
        """Return whether `value` is one of the choices, or "", which means all."""
        return not value or value in self.choices()


class YesNoFilter(Filter):
    """A filter of a boolean column."""

    def __init__(self, column: Any, label: str) -> None:
        super().__init__(column, label, (("yes", "yes"), ("no", "no")))

    def apply(self, query: Any, value: str) -> Any:
        return query.where(self.column if value == "yes" else ~self.column)


def bulk_action(
    name: str, permission: str, label: str, button: Callable[[int], str], effect: str
) -> Callable[[Callable[[_V, Any], object]], Callable[[_V], ResponseReturnValue]]:
    """Declare a method that changes one row as a bulk action, for the action `permission` of `console.security.roles`.

    `label` is on the list; `button(count)` and `effect` are on the page that asks for confirmation.
    """

    def declare(change: Callable[[_V, Any], object]) -> Callable[[_V], ResponseReturnValue]:
        @functools.wraps(change)
        def apply(view: _V) -> ResponseReturnValue:
            return view.change_selected(functools.partial(change, view))

        apply.bulk_button = button  # type: ignore[attr-defined]  # read by `selected`
        listed = cast(Callable[[_V], ResponseReturnValue], action(name, label, effect)(apply))
        return action_route(f"/selected/{name}", permission)(listed)

    return declare


class ListView(ModelView, View):
    """A list of the rows of `model`. Subclasses set Flask-Admin's `column_…` attributes, and templates for cells."""

    model: Any  # the table; the pages of one row are the subclass's own
    list_template = "lists/list.html"
    bulk_template = "lists/selected.html"
    row_name: str  # the column that names a row in the confirmation of bulk actions
    has_aside = False  # whether the template has a block `aside`
    right_columns: frozenset[str] = frozenset()  # figures
    clipped_columns: frozenset[str] = frozenset()  # text that may be long
    wide_columns: frozenset[str] = frozenset()  # text that may wrap
    page_size = 100
    column_display_pk = True
    column_formatters_export: dict[str, Any] = {}
    can_export = True
    can_create = can_edit = can_delete = False
    # The library's own pages for rows, which are not served.
    index_view = create_view = edit_view = details_view = delete_view = action_view = export = ajax_lookup = ajax_update = None
    action_delete = None  # the library's own bulk action

    def __init__(self, **options: Any) -> None:
        super().__init__(self.model, **options)

    @page_route("/")
    def index(self) -> ResponseReturnValue:
        return self.list_page()

    @page_route("/export.csv")
    def export_csv(self) -> ResponseReturnValue:
        filters = {name: value for name, value in request.args.items() if value}
        record_export(self.endpoint, filters, origin=origin())
        return cast(ResponseReturnValue, ModelView.export(self, "csv"))

    @page_route("/selected")
    def selected(self) -> ResponseReturnValue:
        """Ask for confirmation of a bulk action, with the rows that it changes."""
        name = request.args.get("action", "")
        if name not in self._actions_data or not self.is_action_allowed(name):
            raise NotFound(gettext("There is no such action."))
        handler, label, effect = self._actions_data[name]
        try:
            rows = self.bulk_rows(name, self.selected_rows(request.args.getlist("rowid")))
        except NotFound as error:
            flash(str(error), "bad")
            return redirect(self.get_url(".index"), 303)
        context = {"action": name, "label": label, "effect": effect, "rows": rows, "button": handler.bulk_button(len(rows))}
        return self.page(self.bulk_template, row_name=self.row_name, get_pk_value=self.get_pk_value, **context)

    def bulk_rows(self, action: str, rows: list[Any]) -> list[Any]:  # noqa: ARG002  (for subclasses)
        """Return the selected rows that the action can change. Raises `NotFound` if there are none."""
        return rows

    def list_page(self, **context: Any) -> str:
        """Render the list. `context` is added for the template."""
        self._template_args.update(context)
        return cast(str, ModelView.index_view(self))

    def change_selected(self, change: Callable[[Any], object]) -> ResponseReturnValue:
        """Change the submitted rows one by one, and report how many were changed and why others were not."""
        failures = []
        rows = self.selected_rows(request.form.getlist("rowid"))
        for row in rows:
            try:
                change(row)
            except (InvalidInput, NotFound) as error:
                failures.append(f"{getattr(row, self.row_name)}: {error}")
        changed = len(rows) - len(failures)
        if changed:
            flash(ngettext("{count} row changed.", "{count} rows changed.", changed), "good")
        for failure in failures:
            flash(failure, "bad")
        return redirect(self.get_url(".index"), 303)

    def selected_rows(self, ids: list[str]) -> list[Any]:
        """Return the rows with these ids. Raises `NotFound` if there are none."""
        key = self.model._meta.primary_key
        try:
            values = [UUID(id) for id in ids] if isinstance(key, UUIDField) else ids
        except ValueError:
            values = []
        rows = list(self.get_query().where(key.in_(values)).order_by(key)) if values else []
        if not rows:
            raise NotFound(gettext("Select at least one row."))
        self.add_details(rows)
        return rows

    def is_off(self, row: Any) -> bool:
        """Return whether to show a row as inactive."""
        return bool(row.status != "active")

    def add_details(self, rows: list[Any]) -> None:
        """Set attributes of `rows` that columns show and the table lacks."""

    def get_list(self, *arguments: Any, **options: Any) -> tuple[int, list[Any]]:
        """Return the number of matching rows, and those of the page."""
        count, rows = super().get_list(*arguments, **options)
        self.add_details(rows)
        return count, rows

    def render(self, template: str, **context: Any) -> str:
        """Render a template. The list also gets its chips and the URL of the export."""
        if template == self.list_template:
            context["chips"] = self._chips()
            context["chosen"] = {index: value for index, _, value in context["active_filters"] or ()}
            context["export_url"] = self.get_url(".export_csv", **request.args.to_dict())
        return cast(str, super().render(template, **context))

    def is_action_allowed(self, name: str) -> bool:
        """Return whether the signed-in person's role allows a bulk action."""
        handler = self._actions_data.get(name)
        permission = view_action(handler[0]) if handler else None
        return permission is not None and is_allowed(current_user.role, permission)

    def get_url(self, endpoint: str, **values: Any) -> str:
        """Return a URL. The library knows the list as `index_view`."""
        return cast(str, super().get_url(".index" if endpoint == ".index_view" else endpoint, **values))

    def get_filter_arg(self, index: int, flt: Any) -> str:  # noqa: ARG002  (how the library calls it)
        """Return a filter's name in URLs."""
        return str(flt.column.name)

    def get_export_name(self, export_type: str = "csv") -> str:
        """Return the name of the exported file."""
        return f"{self.endpoint}.{export_type}"

    def get_export_value(self, model: Any, name: str) -> Any:
        """Return a cell of the export. Text cannot run as a formula."""
        value = super().get_export_value(model, name)
        return escape_formula(value) if isinstance(value, str) else value

    def scaffold_form(self) -> Any:
        """Return an empty form: the library's form of all columns, secrets included, is not used."""
        return Form

    def _order_by(self, query: Any, joins: Any, order: list[tuple[Any, Any]]) -> Any:
        """Sort by the primary key as well, so that no row is on two pages."""
        return super()._order_by(query, joins, [*order, (self._primary_key, False)])

    def _get_list_extra_args(self) -> Any:
        """Return the arguments of the URL. The database refuses negative and huge offsets."""
        found = super()._get_list_extra_args()
        found.page = min(max(found.page, 0), MAX_PAGE)
        return found

    def _get_list_filter_args(self) -> list[Any]:
        """Return the active filters. Those that are set to "all" are left out."""
        return [one for one in super()._get_list_filter_args() or () if one[2]]

    def _chips(self) -> list[Chip]:
        """Return a chip for the search and each filter, with the URL of the list without it."""
        sent = {name: value for name, value in request.args.items() if value and name != "page"}
        labels = {"search": (gettext("Search"), sent.get("search", ""))}
        for name, value in sent.items():
            filters = self._filter_args or {}
            _, known = filters.get(name.partition("_")[2], (0, None)) if name.startswith("flt") else (0, None)
            if known is not None and known.validate(value):
                labels[name] = (known.name, known.choices()[value])
        return [
            Chip(label, value, self.get_url(".index", **{other: sent[other] for other in sent if other != name}))
            for name, (label, value) in labels.items()
            if name in sent
        ]
