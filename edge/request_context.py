"""The context of a Quart request: services, the caller, database reads and writes, JSON responses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar, cast
from uuid import UUID

import orjson
from quart import Response, current_app, g, request

from edge.call.web_auth import authenticate_session, client_address, require_own_origin, session_limits, visitor_payer
from edge.http.asgi_entry import BODY_ERROR
from edge.http.client_ip import client_ip
from edge.http.headers import Scope, deprecation_headers, read_headers
from edge.http.request_body import receive_from
from edge.http.web_headers import SAFE_METHODS, read_web_headers
from edge.identity.keys import KeyRow
from edge.identity.route_permissions import require_route
from edge.identity.sessions import SessionRow
from edge.services import Services
from shared.catalog.snapshot import CatalogModel
from shared.core.clock import new_id, now_ms
from shared.core.errors import AccessDenied, InvalidApiKey, InvalidInput, InvalidRequest
from shared.core.token_bucket import KeyLimits, RateLimitState
from shared.identity.payer import VisitorPayer, address_allowed
from shared.operations.audit import Origin
from shared.text.plain_text import find_unstorable_field, truncate

T = TypeVar("T")


class AccountCaller(NamedTuple):
    """An authenticated caller: the API key or web session of an account, with the rate limits in force."""

    row: KeyRow | SessionRow
    limits: KeyLimits
    address: str

    @property
    def account(self) -> UUID:
        """The account's id."""
        return self.row.account

    @property
    def member(self) -> UUID:
        """The id of the member whose key or session it is."""
        return self.row.member or self.row.account

    @property
    def origin(self) -> Origin:
        """Who changes something, for the audit log."""
        return Origin(self.row.actor, self.address)

    @property
    def key(self) -> KeyRow | None:
        """The API key, or None for a web session."""
        return self.row if isinstance(self.row, KeyRow) else None


def services() -> Services:
    """Return the services of this process."""
    found: Services = current_app.extensions["services"]
    return found


async def key_caller() -> AccountCaller:
    """Authenticate a request that must have a key.

    Raises `InvalidApiKey`, `AccessDenied` (account suspended or address not allowed), `DatabaseUnavailable`.
    """
    scope = cast(Scope, request.scope)  # Quart types it as a TypedDict
    sent = read_headers(scope)
    address = client_ip(scope, sent.forwarded_for, services().settings.trusted_proxies)
    key = await services().keys.authenticate(sent.authorization, sent.x_api_key, address)
    if key.allowed_ips is not None and not address_allowed(address, key.allowed_ips):
        raise AccessDenied("Your API key cannot be used from your IP address.", "ip_not_allowed")
    require_role(key.role)
    return AccountCaller(key, services().keys.effective_limits(key.account, key.key, key.own_limits), address)


async def account_caller() -> AccountCaller:
    """Authenticate the request by key or web session. Raises like `key_caller` and `authenticate_session`."""
    found = await caller()
    if isinstance(found, VisitorPayer):
        raise InvalidApiKey
    return found


async def manager_caller() -> AccountCaller:
    """Authenticate a caller who manages keys or the account. Raises like `account_caller` and `require_manager`."""
    found = await account_caller()
    require_manager(found)
    return found


def require_manager(caller: AccountCaller) -> None:
    """Raise `AccessDenied` for a key that cannot manage the account."""
    if caller.key is not None and not caller.key.can_manage:
        raise AccessDenied(
            "This API key cannot manage keys or the account. Use a key with 'can_manage', or sign in.",
            "insufficient_scope",
        )


async def caller() -> AccountCaller | VisitorPayer:
    """Return the caller. A key or session must be valid if the request has one; without either, the caller is a visitor."""
    scope = cast(Scope, request.scope)
    if read_headers(scope).has_key:
        return await key_caller()
    sent = read_web_headers(scope)
    row = await authenticate_session(services(), sent, request.method)
    if row is None:
        if request.method not in SAFE_METHODS:
            require_own_origin(sent, services().settings)
        return visitor_payer(services(), scope, sent)
    require_role(row.role)
    return AccountCaller(row, session_limits(services(), row), client_address(services(), scope, sent))


def require_role(role: str) -> None:
    """Raise `AccessDenied` if members with this role may not use the request's route."""
    rule = request.url_rule
    if rule is not None:
        require_route(role, request.method, rule.rule)


def find_model(name: str) -> CatalogModel | None:
    """Return the model with this id or alias, or None. The response gets the headers of an alias or a deprecated model.

    Raises `ModelShutDown`.
    """
    catalog = services().catalog
    notice = catalog.notice_of(name)
    if notice is not None:
        served = [] if notice.model == name else [(b"x-yout-model", notice.model.encode())]
        g.alias_headers = [*deprecation_headers(notice), *served]
    return catalog.find(name, now_ms())


async def read_body() -> bytes:
    """Return the request body, received within the process's memory limit for bodies.

    Raises `RequestTooLarge`, `Overloaded`, and `InvalidRequest` if it cannot be decompressed.
    """
    scope = cast(Scope, request.scope)
    headers = read_headers(scope)
    address = client_ip(scope, headers.forwarded_for, services().settings.trusted_proxies)
    data = await services().bodies.read(receive_from(request.body), headers.content_length, address)
    error = scope.get(BODY_ERROR)
    if error is not None:
        raise error
    return data


async def read(query: Callable[[], T]) -> T:
    """Run `query` in the reader thread. Raises `DatabaseUnavailable`."""
    return await services().database_reader.read(query)


async def count_request(limits: KeyLimits) -> RateLimitState:
    """Count one request toward the caller's rate limit. Raises `RateLimited`."""
    permit = await services().limiter.acquire(new_id(), limits, 0)
    services().limiter.release(permit, 0)
    return permit.rate_limit_state


async def write(job: Callable[[], T]) -> T:
    """Run `job` in a transaction in the writer thread. Raises the errors of `job`, but `InvalidRequest` instead of
    `InvalidInput`."""
    try:
        return await services().database_writer.run(job)
    except InvalidInput as error:
        raise InvalidRequest(str(error)) from None


def refuse_unstorable(fields: Iterable[tuple[str, object]]) -> None:
    """Raise `InvalidRequest` for a field with a character that the database cannot store."""
    name = find_unstorable_field(fields)
    if name is not None:
        raise InvalidRequest(f"{truncate(name, 100)!r} must not contain a NUL character.", truncate(name, 100))


def json_response(document: dict[str, Any], status: int = 200) -> Response:
    """Return a JSON response."""
    return Response(orjson.dumps(document), status=status, content_type="application/json")


def uncached_json(document: dict[str, Any], status: int = 200) -> Response:
    """Return a JSON response that must not be cached."""
    response = json_response(document, status)
    response.headers["cache-control"] = "no-store"
    return response
