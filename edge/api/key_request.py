"""Validates the fields of a new or updated key, which cannot exceed the limits of the calling key. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, NamedTuple

from msgspec import UNSET, Meta, UnsetType

from edge.http.body_types import ClosedBody, check_body
from edge.http.json_body import parse_json_object
from edge.http.time_fields import Time, parse_time
from edge.identity.keys import KeyRow
from shared.core.errors import InvalidInput, InvalidRequest
from shared.operations.keys import MAX_LIMIT, YEAR_10000
from shared.operations.validation import check_text
from shared.text.client_address import Network, normalize_network

MAX_ENTRIES = 1_000  # in `allowed_models` or `allowed_ips`


MAX_NAME_LENGTH = 100

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_LENGTH)]
Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT)]
Entries = Annotated[
    list[str],
    Meta(min_length=1, max_length=MAX_ENTRIES, extra={"expected": f"a list of 1 to {MAX_ENTRIES} strings; omit it to allow all"}),
]


class KeyFields(ClosedBody, kw_only=True):
    """The optional fields of a key."""

    expires_at: Annotated[Time | None, Meta(description="When the key stops working. Null: never.")] = None
    rpm: Annotated[Limit | None, Meta(description="Maximum requests per minute.")] = None
    tpm: Annotated[Limit | None, Meta(description="Maximum tokens per minute.")] = None
    concurrency: Annotated[Limit | None, Meta(description="Maximum concurrent requests.")] = None
    monthly_credit_limit: Annotated[Limit | None, Meta(description="Maximum credits per calendar month.")] = None
    daily_credit_limit: Annotated[Limit | None, Meta(description="Maximum credits per day (UTC).")] = None
    allowed_models: Annotated[Entries | None, Meta(description="Ids of the models that the key may use. Null: all.")] = None
    allowed_ips: Annotated[Entries | None, Meta(description="Addresses or networks that may use the key. Null: all.")] = None
    can_manage: Annotated[bool | None, Meta(description="Whether the key may manage keys and delete data.")] = None


class NewKey(KeyFields):
    """A key to create."""

    EXAMPLE = {"name": "production"}

    name: Annotated[Name, Meta(description="Name that identifies the key to you.")]


class KeyChanges(KeyFields):
    """The fields of a key to change, at least one."""

    EXAMPLE = {"name": "staging", "rpm": 60}

    name: Annotated[Name | UnsetType, Meta(description="Name that identifies the key to you.")] = UNSET


class KeyRequest(NamedTuple):
    """The validated arguments of `shared.operations.keys.create_key`."""

    name: str
    expires_at: int | None
    rpm: int | None
    tpm: int | None
    concurrency: int | None
    allowed_models: list[str] | None
    allowed_ips: list[str] | None
    monthly_credit_limit: int | None = None
    can_manage: bool | None = None
    daily_credit_limit: int | None = None


UNLIMITED = KeyRequest("", None, None, None, None, None, None)  # for web sessions


def limits_for_new_keys(creator: KeyRow | None) -> KeyRequest:
    """Return the least restricted key that `creator` may create. None means a web session, which has no bounds."""
    if creator is None:
        return UNLIMITED
    own = creator.own_limits
    limits = (own.key_rpm, own.key_tpm, own.key_concurrency)
    return KeyRequest(
        "",
        creator.expires_at,
        *limits,
        creator.allowed_models,
        creator.allowed_ips,
        creator.monthly_credit_limit,
        can_manage=False,
        daily_credit_limit=creator.daily_credit_limit,
    )


def read_key_request(data: bytes, bounds: KeyRequest, models: Collection[str], now: int) -> KeyRequest:
    """Parse a body. Omitted fields default to `bounds`; values beyond `bounds` are rejected.

    `models` are the ids in the catalog, `now` is in milliseconds UTC. Raises `InvalidRequest` with the field's name.
    """
    return check_key_request(parse_json_object(data), bounds, models, now)


def check_key_request(body: Mapping[str, Any], bounds: KeyRequest, models: Collection[str], now: int) -> KeyRequest:
    """Like `read_key_request`, for a parsed body."""
    requested = check_body(body, NewKey)
    return _within_bounds(_name(requested.name), requested, bounds, models, now)


def read_key_changes(data: bytes, bounds: KeyRequest, models: Collection[str], now: int) -> dict[str, Any]:
    """Return the validated fields of an update. Null resets a field to its value in `bounds`.

    Raises `InvalidRequest` with the field's name.
    """
    return check_key_changes(parse_json_object(data), bounds, models, now)


def check_key_changes(body: Mapping[str, Any], bounds: KeyRequest, models: Collection[str], now: int) -> dict[str, Any]:
    """As `read_key_changes`, for a parsed body."""
    if not body:
        raise InvalidRequest("The body must contain at least one field to update.")
    changes = check_body(body, KeyChanges)
    name = "" if isinstance(changes.name, UnsetType) else _name(changes.name)
    requested = _within_bounds(name, changes, bounds, models, now)
    return {field: value for field, value in requested._asdict().items() if field in body}


def _within_bounds(name: str, fields: KeyFields, bounds: KeyRequest, models: Collection[str], now: int) -> KeyRequest:
    return KeyRequest(
        name,
        _expiry(fields.expires_at, bounds.expires_at, now),
        _limit("rpm", fields.rpm, bounds.rpm),
        _limit("tpm", fields.tpm, bounds.tpm),
        _limit("concurrency", fields.concurrency, bounds.concurrency),
        _models(fields.allowed_models, bounds.allowed_models, models),
        _addresses(fields.allowed_ips, bounds.allowed_ips),
        _limit("monthly_credit_limit", fields.monthly_credit_limit, bounds.monthly_credit_limit),
        _can_manage(fields.can_manage, bounds.can_manage),
        _limit("daily_credit_limit", fields.daily_credit_limit, bounds.daily_credit_limit),
    )


def _name(value: str) -> str:
    try:
        return check_text("name of the key", value, MAX_NAME_LENGTH)
    except InvalidInput as problem:
        raise InvalidRequest(str(problem), "name") from None


def _limit(field: str, value: int | None, maximum: int | None) -> int | None:
    if value is None:
        return maximum
    if maximum is not None and value > maximum:
        raise InvalidRequest(f"'{field}' cannot exceed {maximum}, the limit of your API key.", field)
    return value


def _can_manage(value: bool | None, allowed: bool | None) -> bool | None:
    if value and allowed is False:
        raise InvalidRequest("'can_manage' cannot be true for a key created by another key.", "can_manage")
    return value


def _expiry(value: str | None, latest: int | None, now: int) -> int | None:
    if value is None:
        return latest
    moment = parse_time("expires_at", value)
    if not now < moment < YEAR_10000:
        raise InvalidRequest("'expires_at' must be in the future; omit it for a key that never expires.", "expires_at")
    if latest is not None and moment > latest:
        raise InvalidRequest("'expires_at' cannot be later than the expiration of your API key.", "expires_at")
    return moment


def _models(value: list[str] | None, bounds: list[str] | None, known: Collection[str]) -> list[str] | None:
    if value is None:
        return bounds
    for index, model in enumerate(value):
        if model not in known:
            raise InvalidRequest(f"'allowed_models[{index}]' is not in the catalog; see GET /api/chat/models/.", "allowed_models")
        if bounds is not None and model not in bounds:
            raise InvalidRequest(f"'allowed_models[{index}]' is not allowed for your API key.", "allowed_models")
    return value


def _addresses(value: list[str] | None, bounds: list[str] | None) -> list[str] | None:
    if value is None:
        return bounds
    widest = [_network(entry) for entry in bounds] if bounds is not None else None
    for index, entry in enumerate(value):
        network = _network(entry)
        if network is None:
            raise InvalidRequest(
                f"'allowed_ips[{index}]' must be an IP address or a network such as 10.0.0.0/8 or 2001:db8::/32.", "allowed_ips"
            )
        if widest is not None and not any(_within(network, wider) for wider in widest):
            raise InvalidRequest(f"'allowed_ips[{index}]' is not allowed for your API key.", "allowed_ips")
    return value


def _network(entry: str) -> Network | None:
    try:
        return normalize_network(entry)
    except ValueError:
        return None


def _within(network: Network, wider: Any) -> bool:
    return wider is not None and network.version == wider.version and network.subnet_of(wider)
