"""Validates the fields of a new or updated key, which cannot exceed the limits of the calling key. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from edge.http.fields import parse_json_object, reject_unknown_fields
from edge.identity.keys import KeyRow
from shared.core.errors import InvalidInput, InvalidRequest
from shared.core.timestamps import parse_timestamp
from shared.operations.keys import MAX_LIMIT, YEAR_10000
from shared.operations.validation import check_text
from shared.text.client_address import Network, normalize_network

MAX_ENTRIES = 1_000  # in `allowed_models` or `allowed_ips`


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


UNLIMITED = KeyRequest("", None, None, None, None, None, None)  # for web sessions


def limits_for_new_keys(creator: KeyRow | None) -> KeyRequest:
    """Return the least restricted key that `creator` may create. None means a web session, which has no bounds."""
    if creator is None:
        return UNLIMITED
    own = creator.own_limits
    limits = (own.key_rpm, own.key_tpm, own.key_concurrency)
    return KeyRequest(
        "", creator.expires_at, *limits, creator.allowed_models, creator.allowed_ips, creator.monthly_credit_limit, False
    )


def read_key_request(data: bytes, bounds: KeyRequest, models: Collection[str], now: int) -> KeyRequest:
    """Parse a body. Omitted fields default to `bounds`; values beyond `bounds` are rejected.

    `models` are the ids in the catalog, `now` is in milliseconds UTC. Raises `InvalidRequest` with the field's name.
    """
    return check_key_request(parse_json_object(data), bounds, models, now)


def check_key_request(body: Mapping[str, Any], bounds: KeyRequest, models: Collection[str], now: int) -> KeyRequest:
    """Like `read_key_request`, for a parsed body."""
    reject_unknown_fields("", body, KeyRequest._fields)
    return KeyRequest(
        _name(body.get("name")),
        _expiry(body.get("expires_at"), bounds.expires_at, now),
        _limit("rpm", body.get("rpm"), bounds.rpm),
        _limit("tpm", body.get("tpm"), bounds.tpm),
        _limit("concurrency", body.get("concurrency"), bounds.concurrency),
        _models(body.get("allowed_models"), bounds.allowed_models, models),
        _addresses(body.get("allowed_ips"), bounds.allowed_ips),
        _limit("monthly_credit_limit", body.get("monthly_credit_limit"), bounds.monthly_credit_limit),
        _can_manage(body.get("can_manage"), bounds.can_manage),
    )


def read_key_changes(data: bytes, bounds: KeyRequest, models: Collection[str], now: int) -> dict[str, Any]:
    """Return the validated fields of an update. Null resets a field to its value in `bounds`.

    Raises `InvalidRequest` with the field's name.
    """
    return check_key_changes(parse_json_object(data), bounds, models, now)


def check_key_changes(body: Mapping[str, Any], bounds: KeyRequest, models: Collection[str], now: int) -> dict[str, Any]:
    """As `read_key_changes`, for a parsed body."""
    requested = check_key_request({"name": "unchanged", **body}, bounds, models, now)
    if not body:
        raise InvalidRequest("The body must contain at least one field to update.")
    return {field: value for field, value in requested._asdict().items() if field in body}


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidRequest("'name' must be a string.", "name")
    try:
        return check_text("name of the key", value, 100)
    except InvalidInput as problem:
        raise InvalidRequest(str(problem), "name") from None


def _limit(field: str, value: object, maximum: int | None) -> int | None:
    if value is None:
        return maximum
    if type(value) is not int or not 1 <= value <= MAX_LIMIT:
        raise InvalidRequest(f"'{field}' must be an integer between 1 and {MAX_LIMIT}.", field)
    if maximum is not None and value > maximum:
        raise InvalidRequest(f"'{field}' cannot exceed {maximum}, the limit of your API key.", field)
    return value


def _can_manage(value: object, allowed: bool | None) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise InvalidRequest("'can_manage' must be true or false.", "can_manage")
    if value and allowed is False:
        raise InvalidRequest("'can_manage' cannot be true for a key created by another key.", "can_manage")
    return value


def _expiry(value: object, latest: int | None, now: int) -> int | None:
    if value is None:
        return latest
    try:
        if not isinstance(value, str):
            raise ValueError("not a string")
        moment = parse_timestamp(value)
    except ValueError:
        raise InvalidRequest(
            "'expires_at' must be an ISO 8601 time with a UTC offset, such as 2027-01-31T09:30:00Z.", "expires_at"
        ) from None
    if not now < moment < YEAR_10000:
        raise InvalidRequest("'expires_at' must be in the future; omit it for a key that never expires.", "expires_at")
    if latest is not None and moment > latest:
        raise InvalidRequest("'expires_at' cannot be later than the expiration of your API key.", "expires_at")
    return moment


def _models(value: object, bounds: list[str] | None, known: Collection[str]) -> list[str] | None:
    if value is None:
        return bounds
    requested = _strings("allowed_models", value)
    for index, model in enumerate(requested):
        if model not in known:
            raise InvalidRequest(f"'allowed_models[{index}]' is not in the catalog; see GET /api/chat/models/.", "allowed_models")
        if bounds is not None and model not in bounds:
            raise InvalidRequest(f"'allowed_models[{index}]' is not allowed for your API key.", "allowed_models")
    return requested


def _addresses(value: object, bounds: list[str] | None) -> list[str] | None:
    if value is None:
        return bounds
    requested = _strings("allowed_ips", value)
    widest = [_network(entry) for entry in bounds] if bounds is not None else None
    for index, entry in enumerate(requested):
        network = _network(entry)
        if network is None:
            raise InvalidRequest(
                f"'allowed_ips[{index}]' must be an IP address or a network such as 10.0.0.0/8 or 2001:db8::/32.", "allowed_ips"
            )
        if widest is not None and not any(_within(network, wider) for wider in widest):
            raise InvalidRequest(f"'allowed_ips[{index}]' is not allowed for your API key.", "allowed_ips")
    return requested


def _strings(field: str, value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise InvalidRequest(f"'{field}' must be a list of strings.", field)
    if not 1 <= len(value) <= MAX_ENTRIES:
        raise InvalidRequest(f"'{field}' must have 1 to {MAX_ENTRIES} entries; omit it to allow all.", field)
    return value


def _network(entry: str) -> Network | None:
    try:
        return normalize_network(entry)
    except ValueError:
        return None


def _within(network: Network, wider: Any) -> bool:
    return wider is not None and network.version == wider.version and network.subnet_of(wider)
