"""Declares routes of the administration API: their scope, request, answer and documentation in one place.

How to add a resource, here plans:

    plans = Blueprint("admin_plans", __name__)

    @admin_route(plans, "GET", "/plans/", "plans:read", "List plans", returns=page_of("plans", PLAN), query=PAGE)
    def list_all(call: AdminCall) -> Document:
        rows, last = split_page(list(query.limit(call.page.limit + 1)), call.page.limit)

    @admin_route(plans, "POST", "/plans/", "plans:write", "Create a plan", status=201, body=NewPlan, returns=PLAN)
    def create(call: AdminCall) -> Document:
        return plan_document(create_plan(call.body.name, origin=call.origin))

    @admin_route(plans, "PATCH", "/plans/<plan_id>/", "plans:write", "Update a plan", path={"plan_id": ID}, body=PlanChanges,
                 returns=PLAN)
    def update(call: AdminCall, plan_id: str) -> Document:
        return plan_document(change_plan(plan_id, **call.changes, origin=call.origin))

1. The scope is one of `shared.identity.admin_scopes`; each route has exactly one.
2. A view is a plain function that calls `shared.operations` and returns a JSON object. A GET runs in a reader thread, everything
   else in a transaction in the writer thread, so a view does neither HTTP nor anything slow. What must happen after the commit is
   a job: `call.enqueue(actor, argument)`.
3. It raises `NotFound` for unknown ids, and lets the `InvalidInput` of operations pass: that is a 400.
4. A repeated POST with the same `Idempotency-Key` gets the first answer; the view does not notice.
5. Add the blueprint to `edge/admin/routes.py`, and a row to the table in docs/administration-api.md. Give the fields of answers a
   meaning (`described`, or `edge/reference/field_meanings.py`), and run `make messages` to translate the texts.
6. Test it in `tests/edge/admin/`. Scopes, keys, idempotency and the reference are tested there for all routes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

import orjson
from quart import Blueprint, Response, request

from edge.admin.query import read_query
from edge.http.api_spec import ErrorTypes, ResponseSpec, RouteSpec, Schema, describe_route, route_spec
from edge.http.body_types import check_body
from edge.http.client_ip import client_ip
from edge.http.headers import Scope, idempotency_claim, read_headers
from edge.http.json_body import parse_json_object
from edge.http.paging import DEFAULT_LIMIT, Page
from edge.identity.admin_keys import AdminKeyRow
from edge.request_context import count_request, read_body, refuse_unstorable, services, write
from shared.core.errors import (
    AccessDenied,
    IdempotencyKeyReused,
    InvalidInput,
    InvalidRequest,
    NotFound,
    RateLimited,
    RequestTooLarge,
)
from shared.core.settings import Settings
from shared.core.token_bucket import KeyLimits, RateLimits
from shared.identity.admin_scopes import has_scope
from shared.operations.admin_answers import RepeatableRequest, answer_once
from shared.operations.audit import Origin

PATH = "/api/admin"
ADMIN_KEY = ("admin_key",)
Document = dict[str, Any]
View = TypeVar("View", bound=Callable[..., Document])
_READS = ("GET", "HEAD")
_UNLIMITED = 10**12


class AdminCall(NamedTuple):
    """A request with a valid admin key, as a view gets it.

    `body` is the declared body type, or None; `changes` has the fields that the body contained. `query` has the parameters that
    were sent, with the types that the route declares. `jobs` are sent after the commit.
    """

    origin: Origin
    settings: Settings
    body: Any
    changes: Mapping[str, Any]
    query: Mapping[str, Any]
    jobs: list[tuple[str, str]]

    @property
    def page(self) -> Page:
        """The requested page, of a route whose query is `PAGE`."""
        return Page(self.query.get("limit", DEFAULT_LIMIT), self.query.get("after"))

    def enqueue(self, actor: str, argument: str) -> None:
        """Send a job to a worker after the commit. A lost job must be found by the worker's schedule."""
        self.jobs.append((actor, argument))


def admin_route(
    blueprint: Blueprint,
    method: str,
    rule: str,
    scope: str,
    summary: str,
    *,
    returns: Schema,
    errors: ErrorTypes = (),
    **fields: Any,
) -> Callable[[View], View]:
    """Register a view under `PATH` for admin keys with `scope`.

    `fields` are those of `describe_route`, such as `body`, and the `status` (by default 200) and `description` of the response.
    """
    status: int = fields.pop("status", 200)
    kinds = [InvalidRequest, RateLimited, *errors]
    if fields.get("path") and NotFound not in errors:
        kinds.append(NotFound)
    if method not in _READS:
        kinds.append(RequestTooLarge)
    if method == "POST":
        kinds.append(IdempotencyKeyReused)
    answer = ResponseSpec(returns, fields.pop("description", ""))
    describe = describe_route(summary, callers=ADMIN_KEY, responses={status: answer}, errors=tuple(kinds), **fields)

    def register(view: View) -> View:
        async def endpoint(**arguments: str) -> Response:
            return await _respond(scope, route, partial(view, **arguments), status)

        endpoint.__name__ = view.__name__
        endpoint.__doc__ = view.__doc__
        route = cast(RouteSpec, route_spec(describe(endpoint)))
        endpoint.admin_scope = scope  # type: ignore[attr-defined]  # read by `scope_of`
        blueprint.add_url_rule(PATH + rule, view_func=endpoint, methods=[method])
        return view

    return register


def scope_of(view: object) -> str | None:
    """Return the scope that a view of an app requires, or None if `admin_route` did not declare it."""
    found: str | None = getattr(view, "admin_scope", None)
    return found


async def _respond(scope: str, route: RouteSpec, view: Callable[[AdminCall], Document], status: int) -> Response:
    key, secret, address = await _authenticate()
    limits = RateLimits(services().settings.admin_key_rpm, _UNLIMITED, _UNLIMITED)
    await count_request(KeyLimits(key.id, key.id, limits, limits))
    if not has_scope(key.scopes, scope):
        raise AccessDenied(f"This admin key does not have the scope '{scope}'.", "insufficient_scope")
    data = await read_body() if request.method not in _READS else b""
    call = _call(route, data, Origin(key.actor, address))
    answer = await (_read if request.method in _READS else _write)(partial(view, call), key, secret, data)
    for job in call.jobs:
        services().spawn(asyncio.to_thread(services().job_queue.send, *job))
    return Response(answer, status, content_type="application/json", headers={"cache-control": "no-store"})


async def _authenticate() -> tuple[AdminKeyRow, str, str]:
    """Return the admin key, its secret and the caller's address. Raises like `AdminKeys.authenticate`."""
    scope = cast(Scope, request.scope)  # Quart types it as a TypedDict
    sent = read_headers(scope)
    address = client_ip(scope, sent.forwarded_for, services().settings.trusted_proxies)
    return *await services().admin_keys.authenticate(sent.authorization, sent.x_api_key, address), address


def _call(route: RouteSpec, data: bytes, origin: Origin) -> AdminCall:
    """Check the request. Raises `InvalidRequest`."""
    body, changes = None, {}
    if route.body is not None:
        sent = parse_json_object(data, has_client_options=True)  # a channel's base URL is none
        refuse_unstorable(sent.items())
        if not sent and request.method == "PATCH":
            raise InvalidRequest("The body must contain at least one field to update.")
        body = check_body(sent, route.body)
        changes = {name: getattr(body, name) for name in sent}
    elif data.strip() not in (b"", b"{}"):
        raise InvalidRequest("This request has no fields. Send it without a body.")
    query = read_query(route.query or {}, request.args.to_dict())
    return AdminCall(origin, services().settings, body, changes, query, [])


async def _read(work: Callable[[], Document], *_: object) -> bytes:
    """Run a view in the reader thread for slow queries, so that key look-ups do not wait for it."""
    try:
        return orjson.dumps(await services().slow_reader.read(work))
    except InvalidInput as error:
        raise InvalidRequest(str(error)) from None


async def _write(work: Callable[[], Document], key: AdminKeyRow, secret: str, data: bytes) -> bytes:
    def answer() -> bytes:
        return orjson.dumps(work())

    claim = idempotency_claim(read_headers(cast(Scope, request.scope)).idempotency_key, data)
    if claim is None or request.method != "POST":
        return await write(answer)
    content = b"%b %b" % (request.path.encode(), data)
    return await write(partial(answer_once, RepeatableRequest(key.id, claim.key_digest, content), secret, answer))
