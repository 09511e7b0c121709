"""Expiry dates of the TLS certificates of the configured servers."""

from __future__ import annotations

import socket
import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

from cryptography.x509 import load_der_x509_certificate

from shared.core.broker_url import parse_broker_url
from shared.core.clock import now_ms
from shared.core.database_url import postgres_arguments
from shared.core.redis_url import parse_redis_url
from shared.core.settings import Settings

CONNECT_SECONDS = 3.0
MIN_DAYS = 14  # a certificate that expires sooner must be renewed now
DAY_MS = 24 * 3_600_000
# "SSLRequest", which the server answers with S or N (PostgreSQL's documentation, "Message Formats").
_SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


class TlsServer(NamedTuple):
    """A server with a certificate. `variable` is the setting that has its address."""

    variable: str
    host: str
    port: int
    is_postgres: bool = False


def tls_servers(settings: Settings) -> list[TlsServer]:
    """Return the servers that use, or may use, TLS: those of the public URL, Redis, RabbitMQ and PostgreSQL. Pure."""
    found = []
    public = urlsplit(settings.public_url)
    if public.scheme == "https" and public.hostname:
        found.append(TlsServer("YOUT_PUBLIC_URL", public.hostname, public.port or 443))
    redis = parse_redis_url(settings.redis_url)
    if redis.tls:
        found.append(TlsServer("REDIS_URL", redis.host, redis.port))
    if settings.uses_rabbitmq:
        broker = parse_broker_url(settings.broker_url)
        if broker.tls:
            found.append(TlsServer("BROKER_URL", broker.host, broker.port))
    if not settings.uses_sqlite:
        arguments = postgres_arguments(settings.database_url)
        hosts = str(arguments.get("host", "")).split(",")
        ports = str(arguments.get("port", "")).split(",")
        for number, host in enumerate(hosts):
            port = ports[number] if number < len(ports) else ports[0]
            if host and not host.startswith("/") and arguments.get("sslmode") != "disable":
                found.append(TlsServer("DATABASE_URL", host, int(port or 5432), is_postgres=True))
    return found


def read_expiry(server: TlsServer) -> int | None:
    """Return when the server's certificate expires (ms UTC), or None if the server does not use TLS. Does not verify it.

    Raises `OSError` if the server does not respond within `CONNECT_SECONDS`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((server.host, server.port), CONNECT_SECONDS) as plain:
        if server.is_postgres:
            plain.sendall(_SSL_REQUEST)
            if plain.recv(1) != b"S":
                return None
        with context.wrap_socket(plain, server_hostname=server.host) as secure:
            certificate = secure.getpeercert(binary_form=True)
    if not certificate:
        return None
    return int(load_der_x509_certificate(certificate).not_valid_after_utc.timestamp() * 1000)


def days_left(server: TlsServer) -> int | None:
    """Return the days until the server's certificate expires, or None if it has none or does not respond."""
    try:
        expires_at = read_expiry(server)
    except OSError:
        return None
    return None if expires_at is None else (expires_at - now_ms()) // DAY_MS
