"""The base of all views: route decorators and template rendering."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from flask_admin import BaseView, expose

from console.security.roles import action, self_service

_F = TypeVar("_F", bound=Callable[..., Any])


class View(BaseView):
    """A group of pages. Flask-Admin adds it to the menu; the pages use our own templates."""

    def page(self, template: str, **values: Any) -> str:
        """Render a template."""
        return cast(str, self.render(template, **values))


def page_route(rule: str) -> Callable[[_F], _F]:
    """Serve a page at `rule`, relative to the view's URL."""
    return cast(Callable[[_F], _F], expose(rule))


def action_route(rule: str, name: str) -> Callable[[_F], _F]:
    """Accept form submissions at `rule`, for the action `name` of `console.security.roles`."""

    def declare(view: _F) -> _F:
        return cast(_F, expose(rule, methods=("POST",))(action(name)(view)))

    return declare


def self_service_route(rule: str) -> Callable[[_F], _F]:
    """Accept form submissions at `rule` by which any signed-in person changes only their own data."""

    def declare(view: _F) -> _F:
        return cast(_F, expose(rule, methods=("POST",))(self_service(view)))

    return declare
