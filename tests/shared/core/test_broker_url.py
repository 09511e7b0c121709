"""`BROKER_URL`: what is read from it, and the errors, which never quote the password."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from shared.core.broker_url import BrokerAddress, ignored_options, is_rabbitmq, parse_broker_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://mq", {"host": "mq", "port": 5672, "username": "guest", "password": "guest", "vhost": "/"}),
        ("amqp://mq/", {"vhost": "/"}),
        ("amqp://mq/%2F", {"vhost": "/"}),
        ("amqp://mq/yout", {"vhost": "yout"}),
        (
            "amqp://u:p%40s%2F@[::1]:5673/a%2Fb",
            {"host": "::1", "port": 5673, "username": "u", "password": "p@s/", "vhost": "a/b"},
        ),
        ("amqps://mq", {"port": 5671, "tls": True, "verify": True}),
        ("amqps://mq?verify=verify_none", {"verify": False}),
        ("amqps://mq?verify=verify_peer&heartbeat=5", {"verify": True}),
    ],
)
def test_a_url_is_parsed(url: str, expected: dict[str, Any]) -> None:
    address = parse_broker_url(url)
    assert {name: getattr(address, name) for name in expected} == expected
    assert is_rabbitmq(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://mq", "must start with amqp:// or amqps://"),
        ("amqp://", "has no host"),
        ("amqp://u:secret@mq:0", "has no valid host and port"),
        ("amqp://u:secret@mq:x", "cannot be parsed"),
        ("amqp://u:sec#ret@mq", "cannot be parsed"),
        ("amqp://u:sec?ret@mq", "has no valid host and port|cannot be parsed|must have both"),
        ("amqp://secret@mq", "must have both a user and a password"),
        ("amqp://u:secret@mq/a/b", "percent-encode slashes"),
        ("amqp://u:secret@mq?verify=verify_none", "requires amqps://"),
        ("amqps://u:secret@mq?verify=no", "must have 'verify_peer' or 'verify_none' as verify"),
        ("amqps://u:secret@mq?cacertfile=/none.pem", "has a certificate file that does not exist"),
        ("amqps://u:secret@mq?certfile=x", "has an unknown option 'certfile'"),
    ],
)
def test_an_invalid_url_is_explained_without_the_password(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        parse_broker_url(url)
    assert "sec" not in str(raised.value)


def test_certificates_are_verified_unless_the_url_says_otherwise() -> None:
    assert BrokerAddress("mq", 5671, tls=True).ssl_context().verify_mode is ssl.CERT_REQUIRED
    assert BrokerAddress("mq", 5671, tls=True, verify=False).ssl_context().verify_mode is ssl.CERT_NONE


def test_ignored_options() -> None:
    assert ignored_options("amqps://mq?heartbeat=5&verify=verify_peer&channel_max=3") == ["heartbeat", "channel_max"]


@pytest.mark.parametrize("url", ["redis://mq", "unix:///amqp.sock", "amqpx://mq"])
def test_other_urls_are_not_rabbitmq(url: str) -> None:
    assert not is_rabbitmq(url)
