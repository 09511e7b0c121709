"""Fields of a call that cost more than plain tokens: adds them to the quote, and refuses those without a price. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shared.billing.cost_effects import FieldCosts, Need, merge, read_costs, unpriced, unpriced_media_field
from shared.billing.pricing import PLAIN, RequestCosts
from shared.billing.rates import PriceList
from shared.catalog.snapshot import Route
from shared.core.errors import InvalidRequest
from shared.dialects.base import ChatCall, UnpricedField
from shared.dialects.media import MediaCall
from shared.dialects.strip_foreign_fields import ANSWER_FIELDS, strip_foreign_fields

_ALL_BUT_MARKS = frozenset(ANSWER_FIELDS) - {"cache_control"}


def possible_costs(call: ChatCall, routes: Iterable[Route], price: PriceList) -> RequestCosts:
    """Return the possible costs of the call on any of `routes` at `price`, in addition to text within its limits."""
    return merge([_possible_costs(call, route, price) for route in routes])


def _possible_costs(call: ChatCall, route: Route, price: PriceList) -> FieldCosts:
    found = _read(call.for_dialect(route.dialect, route.settings), route)
    if route.dialect != "responses" or not any(need.is_hint for need in found.needs):
        return found
    # Agents send the provider's tools with every call, so a tool that will be left out must not increase the hold.
    sent = _read(priced_call(call, route, price)[0], route)
    return sent if sent.limits is not PLAIN else FieldCosts(found.needs, RequestCosts())


def priced_call(call: ChatCall, route: Route, price: PriceList) -> tuple[ChatCall, UnpricedField | None]:
    """Return the call with the body for `route`, without the hints that `price` does not cover, and an error or None.

    The error is for the first field that is neither covered by the price nor allowed for the channel.
    """
    adapted = call.for_dialect(route.dialect, route.settings)
    needs = unpriced(_read(adapted, route), price, route.settings)
    if call.bodies_by_dialect is not None and any(need.name == "cache_control" for need in needs):
        # Callers of the Messages API mark text for Anthropic's cache, whatever model they call.
        adapted = adapted._replace(body=strip_foreign_fields(adapted.body, _ALL_BUT_MARKS))
        needs = unpriced(_read(adapted, route), price, route.settings)
    if not needs:
        return adapted, None
    hints = [need for need in needs if need.is_hint]
    if hints and adapted.responses_body is not None and route.dialect == "responses":
        sent = _without_tools(adapted.responses_body(), hints)
        adapted = adapted._replace(responses_body=lambda: sent)
    elif hints:
        dropped = {need.name for need in hints}
        adapted = adapted._replace(body={name: value for name, value in adapted.body.items() if name not in dropped})
    refused = next((need for need in needs if not need.is_hint), None)
    return adapted, None if refused is None else UnpricedField(refused.param, _reason(refused.kind))


def without_optional_tools(call: ChatCall) -> ChatCall | None:
    """Return a call of the Responses API without the provider's optional tools; None if it has none."""
    if call.responses_body is None:
        return None
    body = call.responses_body()
    hints = [need for need in read_costs(body, "responses", "responses", {}).needs if need.is_hint]
    if not hints:
        return None
    reduced = _without_tools(body, hints)
    return call._replace(responses_body=lambda: reduced)


def check_media_fields(call: MediaCall, routes: Sequence[Route]) -> None:
    """Raise `InvalidRequest` for a field of unknown cost that none of the `routes` allows."""
    fields = [unpriced_media_field(call.body, call.cost_kind, route.settings) for route in routes]
    if fields and all(fields):
        refused = UnpricedField(str(fields[0]), _reason(None))
        raise InvalidRequest(str(refused), refused.param, refused.code)


def _read(call: ChatCall, route: Route) -> FieldCosts:
    if route.dialect == "responses" and call.responses_body is not None:
        return read_costs(call.responses_body(), "responses", route.dialect, route.settings)
    return read_costs(call.body, call.kind, route.dialect, route.settings)


def _without_tools(body: Mapping[str, Any], hints: Iterable[Need]) -> dict[str, Any]:
    """Return a body of the Responses API without the tools that the hints are about."""
    dropped = {need.param.removesuffix(".type") for need in hints}

    def kept(tools: list[Any], where: str) -> list[Any]:
        return [tool for index, tool in enumerate(tools) if f"{where}[{index}]" not in dropped]

    changed: dict[str, Any] = {}
    if any(path.startswith("tools[") for path in dropped):
        changed["tools"] = kept(body["tools"], "tools")
    if any(path.startswith("input[") for path in dropped):
        changed["input"] = [
            {**item, "tools": kept(item["tools"], f"input[{index}].tools")} if item.get("type") == "additional_tools" else item
            for index, item in enumerate(body["input"])
        ]
    return {**body, **changed}


def _reason(kind: str | None) -> str:
    if kind is None:
        return "its cost is unknown"
    return f"the model's price does not cover it (no rate for '{kind}')"
