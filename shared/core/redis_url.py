"""Parses `REDIS_URL`: server or cluster, credentials and TLS, for the edge's own client and for redis-py. Pure."""

from __future__ import annotations

import ssl
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from shared.core.setting_values import (
    UNREADABLE_URL,
    OptionReaders,
    ca_file,
    ignored_url_options,
    server_of_url,
    split_url,
    tls_context,
    url_options,
)

DEFAULT_PORT = 6379
SCHEMES = ("redis", "rediss", "redis+cluster", "rediss+cluster", "unix")
# Options of redis-py (https://redis.readthedocs.io, `Redis.from_url`) that are ignored, because the code sets them itself.
IGNORED = frozenset(
    {
        *("client_name", "decode_responses", "family", "health_check_interval", "max_connections", "protocol"),
        *("retry_on_error", "retry_on_timeout", "socket_connect_timeout", "socket_keepalive", "socket_timeout", "timeout"),
    }
)
NO_VERIFICATION = "ssl_cert_reqs=none"


class RedisAddress(NamedTuple):
    """A server and its credentials. `path` is a Unix socket and replaces host and port; "" if the URL has none.

    `seeds` are the host and port of the cluster nodes that are asked for all others; empty means a single server. Then `host` and
    `port` are those of the first seed.
    `verify` and `check_hostname` control the check of the TLS certificate; `ca_file` is trusted in addition to system CAs.
    """

    host: str = ""
    port: int = DEFAULT_PORT
    path: str = ""
    username: str = ""
    password: str = ""
    db: int = 0
    tls: bool = False
    verify: bool = True
    check_hostname: bool = True
    ca_file: str = ""
    seeds: tuple[tuple[str, int], ...] = ()

    @property
    def is_cluster(self) -> bool:
        return bool(self.seeds)

    def at(self, host: str, port: int) -> RedisAddress:
        """Return the address of another node of the same cluster."""
        return self._replace(host=host, port=port)

    def ssl_context(self) -> ssl.SSLContext:
        """Return a context for a `tls` connection without redis-py."""
        return tls_context(verify=self.verify, check_hostname=self.check_hostname, ca_file=self.ca_file)

    def client_options(self) -> dict[str, Any]:
        """Return keyword arguments for `redis.Redis`, or, without a server, for `redis.RedisCluster`."""
        options: dict[str, Any] = {"username": self.username or None, "password": self.password or None}
        if self.path:
            return {**options, "db": self.db, "unix_socket_path": self.path}
        if not self.is_cluster:
            options |= {"db": self.db, "host": self.host, "port": self.port}
        if self.tls:
            options |= {
                "ssl": True,
                "ssl_cert_reqs": "required" if self.verify else "none",
                "ssl_check_hostname": self.check_hostname and self.verify,
                "ssl_ca_certs": self.ca_file or None,
            }
        return options


def parse_redis_url(url: str) -> RedisAddress:
    """Parse a URL with one of `SCHEMES`; two "s" mean TLS. Raises `ValueError`; the message never quotes a password."""
    parts = split_url(url)
    if parts.scheme not in SCHEMES:
        raise ValueError("must start with redis://, rediss:// or unix://, or with redis+cluster:// or rediss+cluster://")
    if parts.fragment:
        raise ValueError(UNREADABLE_URL)
    servers = _servers(parts)
    (host, port), *_ = servers
    address = RedisAddress(
        host=host,
        port=port,
        path=unquote(parts.path) if parts.scheme == "unix" else "",
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        db=0 if parts.scheme == "unix" else _database(parts.path),
        tls=parts.scheme.startswith("rediss"),
        seeds=tuple(servers) if parts.scheme.endswith("+cluster") else (),
    )
    if address.username and not address.password:
        raise ValueError("has a user but no password; for a password without a user use redis://:password@host")
    address = address._replace(**_options(parts))
    if address.is_cluster and address.db:
        raise ValueError("has a database number, which a cluster does not have")
    return address


def ignored_options(url: str) -> list[str]:
    """Return the names of options in `url` that are ignored."""
    return ignored_url_options(url, IGNORED)


def without_verification(url: str) -> str:
    """Return `url` with certificate verification turned off, unless it sets `ssl_cert_reqs` itself."""
    parts = urlsplit(url)
    if not parts.scheme.startswith("rediss") or "ssl_cert_reqs" in dict(parse_qsl(parts.query)):
        return url
    return f"{url}{'&' if parts.query else '?'}{NO_VERIFICATION}"


def _servers(parts: SplitResult) -> list[tuple[str, int]]:
    """Return host and port; several of a cluster, separated by commas."""
    if not parts.scheme.endswith("+cluster"):
        return [_server(parts)]
    return [_server(split_url(f"redis://{server}")) for server in parts.netloc.rpartition("@")[2].split(",")]


def _server(parts: SplitResult) -> tuple[str, int]:
    if parts.scheme != "unix":
        return server_of_url(parts, DEFAULT_PORT)
    if not parts.path or parts.netloc.rpartition("@")[2]:
        raise ValueError("must have the absolute path of a socket after unix://, such as unix:///run/redis.sock")
    return "", DEFAULT_PORT


def _database(path: str) -> int:
    number = unquote(path).strip("/")
    return _number(number, "path") if number else 0


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError(f"must have a database number as its {name}, such as /0")
    return int(text)


def _requirement(value: str) -> bool:
    word = value.lower().removeprefix("cert_")  # Celery writes CERT_NONE
    if word not in ("none", "optional", "required"):
        raise ValueError("must have 'required' or 'none' as ssl_cert_reqs")
    return word != "none"


def _boolean(value: str) -> bool:
    if value.lower() not in ("true", "false", "yes", "no", "1", "0"):
        raise ValueError("must have 'true' or 'false' as ssl_check_hostname")
    return value.lower() in ("true", "yes", "1")


_READERS: OptionReaders = MappingProxyType(
    {
        "db": ("db", lambda value: _number(value, "option db")),
        "ssl_cert_reqs": ("verify", _requirement),
        "ssl_check_hostname": ("check_hostname", _boolean),
        "ssl_ca_certs": ("ca_file", ca_file),
    }
)


def _options(parts: SplitResult) -> dict[str, Any]:
    """Return the fields of `RedisAddress` that the query sets."""
    found = {}
    for name, field, value in url_options(parts, _READERS, IGNORED):
        if name.startswith("ssl_") and not parts.scheme.startswith("rediss"):
            raise ValueError(f"has the option {name!r}, which requires rediss:// or rediss+cluster://")
        found[field] = value
    return found
