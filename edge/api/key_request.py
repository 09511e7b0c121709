"""Validates the fields of a new or changed key: never more than the calling key allows, if there is one. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from edge.http.fields import json_object, only_fields
from edge.identity.keys import KeyRow
from shared.core.errors import InvalidInput, InvalidRequest
from shared.core.timestamps import read_moment
from shared.operations.keys import LARGEST_LIMIT, YEAR_10000
from shared.operations.validation import check_text
from shared.text.client_address import Network, canonical_network

MOST_ENTRIES = 1_000  # of a list of models or addresses


class KeyRequest(NamedTuple):
    """The arguments of `shared.operations.keys.create_key`, checked."""

    name: str
    expires_at: int | None
    rpm: int | None
    tpm: int | None
    concurrency: int | None
    allowed_models: list[str] | None
    allowed_ips: list[str] | None
    monthly_credit_limit: int | None = None
    can_manage: bool | None = None


NO_BOUNDS = KeyRequest("", None, None, None, None, None, None)  # of who is signed in


def bounds_of(maker: KeyRow | None) -> KeyRequest:
    """The widest key that this one may make; None stands for a web session, which may make any."""
    if maker is None:
        return NO_BOUNDS
    own = maker.own
    limits = (own.key_rpm, own.key_tpm, own.key_concurrency)
    return KeyRequest("", maker.expires_at, *limits, maker.allowed_models, maker.allowed_ips, maker.monthly_credit_limit, False)


def read_key_request(data: bytes, most: KeyRequest, models: Collection[str], now: int) -> KeyRequest:
    """Read a body. What it leaves out is as in `most`, what goes beyond that is refused.

    `models` are the ids in the catalogue, `now` is in milliseconds UTC. Raises `InvalidRequest` that names the field.
    """
    return check_key_request(json_object(data), most, models, now)


def check_key_request(body: Mapping[str, Any], most: KeyRequest, models: Collection[str], now: int) -> KeyRequest:
    """As `read_key_request`, of a body that has been read."""
    only_fields("", body, KeyRequest._fields)
    return KeyRequest(
        _name(body.get("name")),
        _expiry(body.get("expires_at"), most.expires_at, now),
        _limit("rpm", body.get("rpm"), most.rpm),
        _limit("tpm", body.get("tpm"), most.tpm),
        _limit("concurrency", body.get("concurrency"), most.concurrency),
        _models(body.get("allowed_models"), most.allowed_models, models),
        _addresses(body.get("allowed_ips"), most.allowed_ips),
        _limit("monthly_credit_limit", body.get("monthly_credit_limit"), most.monthly_credit_limit),
        _can_manage(body.get("can_manage"), most.can_manage),
    )


def read_key_changes(data: bytes, most: KeyRequest, models: Collection[str], now: int) -> dict[str, Any]:
    """The validated fields of a body of changes. Null removes a limit, as far as `most` allows.

    Raises `InvalidRequest` that names the field.
    """
    return check_key_changes(json_object(data), most, models, now)


def check_key_changes(body: Mapping[str, Any], most: KeyRequest, models: Collection[str], now: int) -> dict[str, Any]:
    """As `read_key_changes`, for a parsed body."""
    asked = check_key_request({"name": "unchanged", **body}, most, models, now)
    if not body:
        raise InvalidRequest("The body has no field to change.")
    return {field: value for field, value in asked._asdict().items() if field in body}


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidRequest("'name' must be a string: what you want to call the key.", "name")
    try:
        return check_text("name of the key", value, 100)
    except InvalidInput as problem:
        raise InvalidRequest(str(problem), "name") from None


def _limit(what: str, value: object, most: int | None) -> int | None:
    if value is None:
        return most
    if type(value) is not int or not 1 <= value <= LARGEST_LIMIT:
        raise InvalidRequest(f"'{what}' must be a whole number from 1 to {LARGEST_LIMIT}.", what)
    if most is not None and value > most:
        raise InvalidRequest(f"'{what}' must be at most {most}, the limit of the key that you call with.", what)
    return value


def _can_manage(value: object, most: bool | None) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise InvalidRequest("'can_manage' must be true or false.", "can_manage")
    if value and most is False:
        raise InvalidRequest("'can_manage' cannot be true for a key created by another key.", "can_manage")
    return value


def _expiry(value: object, latest: int | None, now: int) -> int | None:
    if value is None:
        return latest
    try:
        if not isinstance(value, str):
            raise ValueError("not a string")
        moment = read_moment(value)
    except ValueError:
        raise InvalidRequest(
            "'expires_at' must be an ISO 8601 time with its offset, such as 2027-01-31T09:30:00Z.", "expires_at"
        ) from None
    if not now < moment < YEAR_10000:
        raise InvalidRequest("'expires_at' must lie ahead; leave it out for a key without an end.", "expires_at")
    if latest is not None and moment > latest:
        raise InvalidRequest("'expires_at' must not be later than that of the key that you call with.", "expires_at")
    return moment


def _models(value: object, most: list[str] | None, known: Collection[str]) -> list[str] | None:
    if value is None:
        return most
    asked = _strings("allowed_models", value)
    for index, model in enumerate(asked):
        if model not in known:
            raise InvalidRequest(
                f"'allowed_models[{index}]' is not in the catalogue; GET /api/chat/models/ lists it.", "allowed_models"
            )
        if most is not None and model not in most:
            raise InvalidRequest(f"'allowed_models[{index}]' is not allowed for the key that you call with.", "allowed_models")
    return asked


def _addresses(value: object, most: list[str] | None) -> list[str] | None:
    if value is None:
        return most
    asked = _strings("allowed_ips", value)
    widest = [_network(entry) for entry in most] if most is not None else None
    for index, entry in enumerate(asked):
        network = _network(entry)
        if network is None:
            raise InvalidRequest(
                f"'allowed_ips[{index}]' must be an address or a network such as 10.0.0.0/8 or 2001:db8::/32.", "allowed_ips"
            )
        if widest is not None and not any(_within(network, wider) for wider in widest):
            raise InvalidRequest(f"'allowed_ips[{index}]' is not allowed for the key that you call with.", "allowed_ips")
    return asked


def _strings(what: str, value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise InvalidRequest(f"'{what}' must be a list of strings.", what)
    if not 1 <= len(value) <= MOST_ENTRIES:
        raise InvalidRequest(f"'{what}' must have 1 to {MOST_ENTRIES} entries; leave it out to allow all.", what)
    return value


def _network(entry: str) -> Network | None:
    try:
        return canonical_network(entry)
    except ValueError:
        return None


def _within(network: Network, wider: Any) -> bool:
    return wider is not None and network.version == wider.version and network.subnet_of(wider)
