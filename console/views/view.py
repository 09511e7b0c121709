"""What every view has in common: how its addresses are declared, and how a page is made of a template."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from flask_admin import BaseView, expose

from console.security.roles import action, oneself

_F = TypeVar("_F", bound=Callable[..., Any])


class View(BaseView):
    """A family of pages. Flask-Admin puts it into the menu; what it shows is written out in its own templates."""

    def page(self, template: str, **values: Any) -> str:
        """The text of a page."""
        return cast(str, self.render(template, **values))


def shows(rule: str) -> Callable[[_F], _F]:
    """Serve a page at `rule`, beneath the address of its view."""
    return cast(Callable[[_F], _F], expose(rule))


def changes(rule: str, name: str) -> Callable[[_F], _F]:
    """Take forms at `rule` for the action `name` of the matrix of roles."""

    def declare(view: _F) -> _F:
        return cast(_F, expose(rule, methods=("POST",))(action(name)(view)))

    return declare


def changes_oneself(rule: str) -> Callable[[_F], _F]:
    """Take forms at `rule` by which anybody who is signed in changes something of their own, and of nobody else."""

    def declare(view: _F) -> _F:
        return cast(_F, expose(rule, methods=("POST",))(oneself(view)))

    return declare
