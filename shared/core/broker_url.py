"""Parses `BROKER_URL`: a RabbitMQ server, credentials, virtual host and TLS. Pure."""

from __future__ import annotations

import ssl
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote

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

SCHEMES = ("amqp", "amqps")
DEFAULT_PORTS = MappingProxyType({"amqp": 5672, "amqps": 5671})
# Options of RabbitMQ's clients (RabbitMQ's documentation, "URI Query Parameters") and of pika that are ignored, because the code
# sets them itself.
IGNORED = frozenset(
    {
        *("auth_mechanism", "channel_max", "connection_timeout", "frame_max", "heartbeat", "locale", "socket_timeout"),
        *("blocked_connection_timeout", "connection_attempts", "retry_delay", "stack_timeout", "tcp_options"),
    }
)


class BrokerAddress(NamedTuple):
    """A RabbitMQ server, credentials and virtual host. `verify` and `ca_file` control the check of the TLS certificate;
    `ca_file` is trusted in addition to system CAs."""

    host: str
    port: int
    username: str = "guest"
    password: str = "guest"
    vhost: str = "/"
    tls: bool = False
    verify: bool = True
    ca_file: str = ""

    def ssl_context(self) -> ssl.SSLContext:
        """Return a context for a `tls` connection."""
        return tls_context(verify=self.verify, check_hostname=True, ca_file=self.ca_file)


def is_rabbitmq(url: str) -> bool:
    """Return whether a broker's URL names RabbitMQ, not Redis."""
    return url.startswith(tuple(f"{scheme}://" for scheme in SCHEMES))


def parse_broker_url(url: str) -> BrokerAddress:
    """Parse an `amqp://` or `amqps://` (TLS) URL. Raises `ValueError`; the message never quotes a password.

    Without a path, or with the path `/`, the virtual host is `/`, as in pika.
    """
    parts = split_url(url)
    if parts.scheme not in SCHEMES:
        raise ValueError("must start with amqp:// or amqps://; leave it empty to use the server of REDIS_URL")
    if parts.fragment:
        raise ValueError(UNREADABLE_URL)
    host, port = server_of_url(parts, DEFAULT_PORTS[parts.scheme])
    if (parts.username is None) != (parts.password is None):
        raise ValueError("must have both a user and a password, or neither")
    vhost = parts.path.removeprefix("/")
    if "/" in vhost:
        raise ValueError("must have the virtual host as its path; percent-encode slashes in it (%2F)")
    address = BrokerAddress(host, port, vhost=unquote(vhost) or "/", tls=parts.scheme == "amqps")
    if parts.username is not None:
        address = address._replace(username=unquote(parts.username), password=unquote(parts.password or ""))
    return address._replace(**_options(parts))


def ignored_options(url: str) -> list[str]:
    """Return the names of options in `url` that are ignored."""
    return ignored_url_options(url, IGNORED)


def _verification(value: str) -> bool:
    if value not in ("verify_peer", "verify_none"):
        raise ValueError("must have 'verify_peer' or 'verify_none' as verify")
    return value == "verify_peer"


_READERS: OptionReaders = MappingProxyType({"verify": ("verify", _verification), "cacertfile": ("ca_file", ca_file)})


def _options(parts: SplitResult) -> dict[str, Any]:
    """Return the fields of `BrokerAddress` that the query sets."""
    found = {}
    for name, field, value in url_options(parts, _READERS, IGNORED):
        if parts.scheme != "amqps":
            raise ValueError(f"has the option {name!r}, which requires amqps://")
        found[field] = value
    return found
