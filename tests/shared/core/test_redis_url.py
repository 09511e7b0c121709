"""Parsing `REDIS_URL` for every process: accepted URLs, and rejections that never quote a secret."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from shared.core.redis_url import RedisAddress, ignored_options, parse_redis_url, without_verification


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://cache", {"host": "cache"}),
        ("redis://cache:6380/3", {"host": "cache", "port": 6380, "db": 3}),
        ("redis://cache/0?db=5", {"host": "cache", "db": 5}),
        ("redis://:p%40ss%2Fw%23@cache", {"host": "cache", "password": "p@ss/w#"}),
        ("rediss://ada:pw@cache:6380", {"host": "cache", "port": 6380, "username": "ada", "password": "pw", "tls": True}),
        ("redis://[::1]:6380", {"host": "::1", "port": 6380}),
        ("unix:///run/redis.sock?db=2", {"path": "/run/redis.sock", "db": 2}),
        ("unix://ada:pw@/run/redis%20x.sock", {"path": "/run/redis x.sock", "username": "ada", "password": "pw"}),
        ("redis+cluster://one", {"host": "one", "seeds": (("one", 6379),)}),
        (
            "rediss+cluster://ada:p%40@one:7000,[::1]:7001,two/0?ssl_check_hostname=no",
            {
                **{"host": "one", "port": 7000, "username": "ada", "password": "p@", "tls": True, "check_hostname": False},
                "seeds": (("one", 7000), ("::1", 7001), ("two", 6379)),
            },
        ),
        ("rediss://cache?ssl_cert_reqs=none", {"host": "cache", "tls": True, "verify": False}),
        ("rediss://cache?ssl_cert_reqs=CERT_NONE", {"host": "cache", "tls": True, "verify": False}),
        ("rediss://cache?ssl_check_hostname=false", {"host": "cache", "tls": True, "check_hostname": False}),
        ("redis://cache?health_check_interval=30&protocol=3", {"host": "cache"}),
    ],
)
def test_accepted_urls(url: str, expected: dict[str, Any]) -> None:
    assert parse_redis_url(url) == RedisAddress(**expected)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://cache", "must start with redis://, rediss:// or unix://"),
        ("redis+sentinel://cache", "must start with"),
        ("redis://", "has no host"),
        ("redis://hunter2@cache", "has a user but no password"),
        ("redis://:hunter#2@cache", "special characters"),
        ("redis://:hunter/2@cache", "names no host|special characters"),
        ("redis://:hunter?2@cache", "names no host|special characters"),
        ("redis://cache:many", "special characters"),
        ("redis://cache/one", "database number"),
        ("redis://cache?db=-1", "database number"),
        ("redis://cache?password=hunter2", "unknown option 'password'"),
        ("redis://cache?ssl_cert_reqs=none", "requires rediss://"),
        ("rediss://cache?ssl_cert_reqs=maybe", "ssl_cert_reqs"),
        ("rediss://cache?ssl_check_hostname=perhaps", "ssl_check_hostname"),
        ("rediss://cache?ssl_ca_certs=/nowhere/ca.pem", "does not exist: /nowhere/ca.pem"),
        ("redis+cluster://one,", "has no host"),
        ("redis+cluster://one:many,two", "special characters"),
        ("redis+cluster://one/1", "a cluster does not have"),
        ("redis+cluster://one?ssl_cert_reqs=none", "requires rediss:// or rediss\\+cluster://"),
        ("redis+cluster://:hunter,2@one,two:x", "special characters"),
        ("unix://cache", "absolute path"),
        ("unix://run/redis.sock", "absolute path"),
    ],
)
def test_rejected_urls(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as refused:
        parse_redis_url(url)
    assert "hunter" not in str(refused.value)


def test_sync_and_async_connections_verify_alike() -> None:
    strict = parse_redis_url("rediss://cache")
    context = strict.ssl_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert {name: strict.client_options()[name] for name in ("ssl_cert_reqs", "ssl_check_hostname")} == {
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
    }
    lax = parse_redis_url("rediss://cache?ssl_cert_reqs=none")
    context = lax.ssl_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)
    assert lax.client_options()["ssl_cert_reqs"] == "none"


def test_ignored_options_are_reported() -> None:
    assert ignored_options("redis://cache?socket_timeout=5&db=1&client_name=x") == ["socket_timeout", "client_name"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rediss://cache", "rediss://cache?ssl_cert_reqs=none"),
        ("rediss://cache/1?db=2", "rediss://cache/1?db=2&ssl_cert_reqs=none"),
        ("rediss://cache?ssl_cert_reqs=required", "rediss://cache?ssl_cert_reqs=required"),
        ("redis://cache", "redis://cache"),
        ("rediss+cluster://one,two", "rediss+cluster://one,two?ssl_cert_reqs=none"),
    ],
)
def test_any_certificate_is_accepted_unless_the_url_decides(url: str, expected: str) -> None:
    assert without_verification(url) == expected
