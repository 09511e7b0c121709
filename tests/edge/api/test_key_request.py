"""Options of a new key: at most the permissions of the key that creates it."""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.api.key_request import KeyRequest, limits_for_new_keys, read_key_request
from edge.identity.keys import KeyRow
from shared.core.clock import new_id
from shared.core.errors import InvalidRequest
from shared.core.timestamps import format_timestamp
from shared.ledger import KeyAndPlanLimits

NOW = 1_800_000_000_000  # 2027-01-15T08:00:00Z
MODELS = ("m-1", "m-2", "m-3")


def creator(**columns: Any) -> KeyRow:
    free = KeyRow("a" * 64, new_id(), new_id(), "yout-AbCd…", None, None, None, None, KeyAndPlanLimits())
    return free._replace(**columns)


FREE = creator()
BOUND = creator(
    expires_at=NOW + 60_000,
    allowed_models=["m-1", "m-2"],
    allowed_ips=["10.0.0.0/8", "2001:db8::/32"],
    own_limits=KeyAndPlanLimits(5, 500, 2),
    monthly_credit_limit=700,
)


def read(body: object, key: KeyRow = FREE) -> KeyRequest:
    return read_key_request(orjson.dumps(body), limits_for_new_keys(key), MODELS, NOW)


def test_only_a_name_is_required() -> None:
    assert read({"name": " production "}) == KeyRequest("production", None, None, None, None, None, None)


def test_all_fields() -> None:
    body = {
        "name": "x",
        "expires_at": "2027-01-15T09:00:30.500+01:00",
        "rpm": 1,
        "tpm": 2,
        "concurrency": 3,
        "allowed_models": ["m-3"],
        "allowed_ips": ["10.1.2.3", "::1"],
        "monthly_credit_limit": 4,
    }
    assert read(body) == KeyRequest("x", NOW + 30_500, 1, 2, 3, ["m-3"], ["10.1.2.3", "::1"], 4)


def test_omitted_fields_are_inherited_from_the_creator() -> None:
    inherited = KeyRequest("x", NOW + 60_000, 5, 500, 2, ["m-1", "m-2"], ["10.0.0.0/8", "2001:db8::/32"], 700)
    assert read({"name": "x"}, BOUND) == inherited
    assert read({"name": "x", **dict.fromkeys(KeyRequest._fields[1:])}, BOUND) == inherited


def test_the_same_limits_as_the_creator_are_allowed() -> None:
    body = {
        "name": "x",
        "expires_at": "2027-01-15T08:01:00Z",
        "rpm": 5,
        "tpm": 499,
        "concurrency": 2,
        "allowed_models": ["m-2"],
        "allowed_ips": ["10.0.0.0/8", "10.9.0.0/16", "2001:db8::7", "::ffff:10.0.0.1"],
        "monthly_credit_limit": 700,
    }
    assert read(body, BOUND)[1:] == (NOW + 60_000, 5, 499, 2, ["m-2"], body["allowed_ips"], 700, None, None)


WIDER: list[dict[str, Any]] = [
    {"expires_at": "2027-01-15T08:01:00.001Z"},
    {"rpm": 6},
    {"tpm": 501},
    {"concurrency": 3},
    {"monthly_credit_limit": 701},
    {"allowed_models": ["m-3"]},
    {"allowed_models": ["m-1", "m-3"]},
    {"allowed_ips": ["0.0.0.0/0"]},
    {"allowed_ips": ["8.0.0.0/6"]},
    {"allowed_ips": ["10.0.0.1", "11.0.0.1"]},
    {"allowed_ips": ["::/0"]},
    {"allowed_ips": ["::ffff:11.0.0.1"]},
]


@pytest.mark.parametrize("fields", WIDER, ids=json.dumps)
def test_a_key_cannot_create_a_wider_one(fields: dict[str, Any]) -> None:
    read({"name": "x", **fields})  # an unrestricted key may
    with pytest.raises(InvalidRequest) as caught:
        read({"name": "x", **fields}, BOUND)
    assert caught.value.param == next(iter(fields))


BITS = st.integers(0, 3)  # few bits, so that one network often contains another
NETWORKS = st.one_of(
    st.builds("{}.0.{}.0/{}".format, BITS.map(lambda bits: bits << 6), BITS, st.integers(0, 32)),
    st.builds("{:x}::{}/{}".format, BITS.map(lambda bits: bits << 14), BITS, st.integers(0, 128)),
).map(lambda text: str(ip_network(text, strict=False)))


@given(st.lists(NETWORKS, min_size=1, max_size=3), st.lists(NETWORKS, min_size=1, max_size=3))
def test_no_new_key_reaches_more_networks(asked: list[str], open_to_creator: list[str]) -> None:
    try:
        allowed = read({"name": "x", "allowed_ips": asked}, creator(allowed_ips=open_to_creator)).allowed_ips
    except InvalidRequest:
        return
    assert allowed is not None
    wide = [ip_network(entry) for entry in open_to_creator]
    for entry in map(ip_network, allowed):
        assert any(entry[0] in wider and entry[-1] in wider for wider in wide)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "name"),
    *(({"name": value}, "name") for value in (None, "", "  ", 1, "x" * 101, "a\nb", "a\0b")),
    *(
        ({"name": "x", limit: value}, limit)
        for limit in ("rpm", "tpm", "concurrency", "monthly_credit_limit")
        for value in (0, -1, 1.5, "9", True, 10**13)
    ),
    *(
        ({"name": "x", "expires_at": value}, "expires_at")
        for value in (
            0,
            NOW + 1,
            "",
            "tomorrow",
            "2027-02-01",
            "2027-02-01T00:00:00",
            "2027-01-15T08:00:00Z",
            "2020-01-01T00:00:00Z",
        )
    ),
    *(
        ({"name": "x", "allowed_models": value}, "allowed_models")
        for value in ([], "m-1", [1], ["m-9"], ["m-1\0"], ["m-1"] * 1_001)
    ),
    *(
        ({"name": "x", "allowed_ips": value}, "allowed_ips")
        for value in ([], "10.0.0.1", [1], ["10.0.0.1/33"], ["home"], ["fe80::1%eth0"], ["10.0.0.1\0"], ["10.0.0.1"] * 1_001)
    ),
    *(({"name": "x", field: None}, field) for field in ("id", "secret", "account", "stop")),
]


@pytest.mark.parametrize(("body", "param"), WRONG, ids=lambda value: value if isinstance(value, str) else json.dumps(value)[:60])
def test_an_invalid_field_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(body)
    assert caught.value.param == param


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'"x"', b"\xff"])
def test_a_body_must_be_an_object(data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_key_request(data, limits_for_new_keys(FREE), MODELS, NOW)


def test_timestamps_round_trip() -> None:
    written = format_timestamp(NOW + 30_500)
    assert written == "2027-01-15T08:00:30.500Z"
    assert read({"name": "x", "expires_at": written}).expires_at == NOW + 30_500
    assert format_timestamp(None) is None
