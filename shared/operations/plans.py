"""Plans: limits and monthly credits that accounts subscribe to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import peewee

from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.models import ENABLED_STATUSES, Plan
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.keys import MAX_LIMIT, check_models
from shared.operations.validation import MAX_AMOUNT, check_choice, check_integer, check_name
from shared.text.translation import lazy_gettext

MAX_PRICE_CENTS = 10**9
MAX_MEDIA_DAYS = 3_650
MIN_USAGE_DAYS, MAX_USAGE_DAYS = 30, 36_500

# Terms of a plan with their defaults. None means the platform's default, all models, (rollover cap) twice the monthly credits, or
# (owner overage cap) that only staff set caps.
DEFAULT_TERMS: dict[str, Any] = {
    "monthly_credits": 0,
    "rollover_cap": None,
    "price_cents": 0,
    "rpm": None,
    "tpm": None,
    "concurrency": None,
    "allowed_models": None,
    "overage_allowed": False,
    "stores_content": False,
    "media_days": None,
    "usage_days": None,
    "self_service": False,
    "owner_overage_cap": None,
}


def find_plan(name_or_id: str | UUID) -> Plan:
    """Return the plan with this name or id. Raises `NotFound`."""
    plan = Plan.get_or_none(Plan.id == name_or_id) if isinstance(name_or_id, UUID) else _find_by_text(name_or_id)
    if plan is None:
        raise NotFound(
            lazy_gettext("No plan {name_or_id!r}. Create it with `yout plan create NAME`.", name_or_id=str(name_or_id))
        )
    return plan


def _check_sale(terms: Mapping[str, Any]) -> None:
    if terms["self_service"] and not (terms["price_cents"] and terms["monthly_credits"]):
        raise InvalidInput(lazy_gettext("A plan that customers can buy needs a price and monthly credits."))


def create_plan(name: str, terms: Mapping[str, Any], *, origin: Origin) -> Plan:
    """Create a plan. `terms` may have any of `DEFAULT_TERMS`. Raises `InvalidInput` for invalid terms or if the name is taken."""
    name = check_name("name of the plan", name, 100)
    checked = {**DEFAULT_TERMS, **_check_terms(terms)}
    _check_sale(checked)
    with transaction():
        checked["allowed_models"] = check_models(checked["allowed_models"])
        try:
            with transaction():
                plan = Plan.create(name=name, **checked)
        except peewee.IntegrityError:
            raise InvalidInput(
                lazy_gettext("A plan {name!r} already exists. Change it with `yout plan change`.", name=name)
            ) from None
        record_audit_entry(origin, "plan.create", plan.id, after={"name": name, **checked})
        return plan


def update_plan(name_or_id: str | UUID, terms: Mapping[str, Any], *, origin: Origin) -> Plan:
    """Change a plan's terms; omitted terms are unchanged.

    Limits apply from the next call on, credits from each subscriber's next period on.
    """
    checked = _check_terms(terms)
    with transaction():
        plan = find_plan(name_or_id)
        if "allowed_models" in checked:
            checked["allowed_models"] = check_models(checked["allowed_models"])
        _check_sale({**plan.__data__, **checked})
        changes = {name: value for name, value in checked.items() if getattr(plan, name) != value}
        if changes:
            before = {name: getattr(plan, name) for name in changes}
            record_audit_entry(origin, "plan.change", plan.id, before=before, after=changes)
            Plan.update(changes).where(Plan.id == plan.id).execute()
        return Plan.get_by_id(plan.id)


def set_plan_status(name_or_id: str | UUID, status: str, *, origin: Origin) -> Plan:
    """Enable a plan (`active`) or close it to new subscribers (`disabled`)."""
    check_choice("status", status, ENABLED_STATUSES)
    with transaction():
        plan = find_plan(name_or_id)
        if plan.status != status:
            record_audit_entry(origin, "plan.status", plan.id, before={"status": plan.status}, after={"status": status})
            plan.status = status
            plan.save(only=[Plan.status])
        return plan


def _find_by_text(text: str) -> Plan | None:
    found: Plan | None
    try:
        found = Plan.get_or_none(Plan.id == UUID(text))  # first: another plan can have it as its name
    except ValueError:
        found = None
    if found is None:
        found = Plan.get_or_none(Plan.name == text.strip())
    return found


_AMOUNTS = {
    "monthly_credits": MAX_AMOUNT,
    "rollover_cap": MAX_AMOUNT,
    "price_cents": MAX_PRICE_CENTS,
    "owner_overage_cap": MAX_AMOUNT,
}


def _check_terms(terms: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in terms.items():
        what = name.replace("_", " ")
        if name not in DEFAULT_TERMS:
            raise InvalidInput(
                lazy_gettext("A plan has no {what}; it has {default_terms}.", what=what, default_terms=", ".join(DEFAULT_TERMS))
            )
        if value is None and DEFAULT_TERMS[name] is None:
            continue
        if name in _AMOUNTS:
            check_integer(what, value, 0, _AMOUNTS[name])
        elif name == "media_days":
            check_integer(what, value, 1, MAX_MEDIA_DAYS)
        elif name == "usage_days":
            check_integer(what, value, MIN_USAGE_DAYS, MAX_USAGE_DAYS)
        elif name in ("rpm", "tpm", "concurrency"):
            check_integer(what, value, 1, MAX_LIMIT)
        elif name != "allowed_models" and type(value) is not bool:
            raise InvalidInput(lazy_gettext("The value of {what} must be true or false, not {value!r}.", what=what, value=value))
    return dict(terms)
