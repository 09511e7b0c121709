"""Checks of all servers except the database: Redis, RabbitMQ, the public URL, certificates, media storage and mail."""

from __future__ import annotations

import http.client
import json
import ssl
from ipaddress import ip_network
from urllib.parse import urlsplit

import redis
from dramatiq.errors import BrokerConnectionError

from shared.core.errors import NotFound, StorageUnavailable
from shared.core.redis_client import ClusterClient, open_client
from shared.core.settings import Settings
from shared.core.smtp_url import read_sender, read_smtp_url
from shared.core.tls_certificates import MIN_DAYS, days_left, tls_servers
from shared.doctor.runner import CheckFailed
from shared.files.storage import new_key, open_storage
from shared.mail.smtp import MailDelayed, MailLimits, check_login
from shared.startup import require_broker, require_redis, require_storage

ANSWER_SECONDS = 4.0
_MAIL_LIMITS = MailLimits(answer_seconds=4, total_seconds=8)


def check_redis(settings: Settings) -> str:
    """Fail if Redis cannot be reached, refuses writes, or may delete queued jobs to free memory."""
    require_redis(settings)  # certificate, login, database, scheme
    try:
        with open_client(settings.redis_url, ANSWER_SECONDS, ANSWER_SECONDS) as client:
            client.set("yout:doctor", "1", ex=10)
            memories = client.info_of_primaries("memory") if isinstance(client, ClusterClient) else [client.info("memory")]
    except redis.ResponseError as error:
        raise CheckFailed(
            f"Redis refuses a write: {error}. Check that it is not a replica and not full, and that the user may write."
        ) from None
    except redis.RedisError as error:
        start = " Start `yout up`, which runs the embedded one." if settings.embedded_valkey else ""
        raise CheckFailed(f"Redis of REDIS_URL is unavailable: {str(error).rstrip('.')}.{start}") from None
    advice = [
        _check_eviction(str(memory.get("maxmemory_policy", "")), int(memory.get("maxmemory", 0) or 0)) for memory in memories
    ]
    return next(filter(None, advice), "")


def _check_eviction(policy: str, limit: int) -> str:
    if not policy:
        return "The server does not report its eviction policy. Make sure that maxmemory-policy is noeviction."
    if policy.startswith("allkeys"):
        advice = f"Redis has maxmemory-policy {policy}, so it may delete queued jobs. Set it to noeviction."
        if limit:
            raise CheckFailed(advice)
        return advice  # without a limit nothing is evicted
    return ""


def check_broker(settings: Settings) -> str:
    """Fail if RabbitMQ cannot be reached, or refuses queues or messages."""
    require_broker(settings)  # certificate, login, virtual host, permissions, scheme
    from shared.rabbitmq import QuorumBroker, describe, is_blocked

    broker = QuorumBroker(settings.broker_url, seconds=ANSWER_SECONDS)
    try:
        broker.check_publishing()
    except BrokerConnectionError as error:
        if is_blocked(error):
            raise CheckFailed(
                "RabbitMQ accepts no messages, because it is low on memory or disk. `rabbitmq-diagnostics alarms` says which."
            ) from None
        raise CheckFailed(
            f"RabbitMQ of BROKER_URL is unavailable: {describe(error)}. Check its address, and that the server runs."
        ) from None
    finally:
        broker.close()
    return ""


def check_public_url(settings: Settings) -> str:
    """Fail if YOUT_PUBLIC_URL does not lead to the edge, or does not fit YOUT_TRUSTED_PROXIES."""
    for network in settings.trusted_proxies:
        if ip_network(network, strict=False).prefixlen == 0:
            raise CheckFailed(f"YOUT_TRUSTED_PROXIES has {network}: any caller could claim any address. List your proxies only.")
    if not settings.public_url:
        return "" if not settings.production else "YOUT_PUBLIC_URL is not set: links begin with the host that the proxy reports."
    secure = settings.public_url.startswith("https://")
    if settings.production and not secure:
        raise CheckFailed("YOUT_PUBLIC_URL begins with http://: in production browsers can only sign in over https.")
    if settings.production and not settings.trusted_proxies:
        raise CheckFailed(
            "YOUT_TRUSTED_PROXIES is empty, but https needs a proxy in front of the edge: limits by address would count all"
            " callers as one. Set it to the proxy's address or network."
        )
    reason = _edge_failure(settings.public_url)
    if reason:
        raise CheckFailed(f"{settings.public_url} does not lead to the edge: {reason}. Check DNS, the proxy and its certificate.")
    return ""


def _edge_failure(url: str) -> str:
    """Return why no edge answers `GET <url>/healthz`, or ""."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", f"{parts.path}/healthz")
        response = connection.getresponse()
        body = response.read(1_000)
        if response.status != 200:
            return f"it responds with status {response.status}"
        return "" if json.loads(body) == {"status": "ok"} else "another server responds"
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not valid ({error.verify_message})"
    except TimeoutError:
        return "it does not respond"
    except ValueError:
        return "another server responds"
    except (OSError, http.client.HTTPException) as error:
        return getattr(error, "strerror", None) or type(error).__name__
    finally:
        connection.close()


def check_certificates(settings: Settings) -> str:
    """Fail if a TLS certificate expires within `MIN_DAYS`. Servers that do not respond have their own checks."""
    expiring = []
    for server in tls_servers(settings):
        days = days_left(server)
        if days is not None and days < MIN_DAYS:
            state = "has expired" if days < 0 else f"expires in {days} days"
            expiring.append(f"The certificate of {server.host} ({server.variable}) {state}.")
    if expiring:
        raise CheckFailed(f"{' '.join(expiring)} Renew it.")
    return ""


def check_media(settings: Settings) -> str:
    """Fail if an object cannot be written to the media store, read and deleted."""
    if not settings.media_url and not settings.data_dir.is_dir():
        raise CheckFailed(
            f"The folder {settings.data_dir} of YOUT_DATA_DIR does not exist. `yout up` and `yout migrate` create it."
        )
    require_storage(settings)  # reports a wrong key, bucket or folder
    storage, key, data = open_storage(settings), new_key(), b"yout doctor"
    try:
        storage.put(key, data)
        try:
            read = b"".join(storage.get(key))
        finally:
            storage.delete(key)
    except (StorageUnavailable, NotFound) as error:
        reason = type(error.__cause__).__name__ if error.__cause__ else "no reason given"
        raise CheckFailed(
            f"The media store is unavailable ({reason}). Check YOUT_MEDIA_URL, its endpoint and its keys."
        ) from None
    if read != data:
        raise CheckFailed("The media store did not return the bytes that were written. Check YOUT_MEDIA_ENDPOINT.")
    return ""


def check_mail(settings: Settings) -> str:
    """Fail if the mail server cannot be reached or refuses the login. Sends nothing."""
    if not settings.sends_mail:
        return "YOUT_SMTP_URL is not set, so no email is sent."
    if settings.mails_in_console:
        return "YOUT_SMTP_URL is `console`, so no email is sent: the console shows them."
    try:
        check_login(read_smtp_url(settings.smtp_url), read_sender(settings.mail_from).domain, _MAIL_LIMITS)
    except MailDelayed as failed:
        raise CheckFailed(
            f"The mail server of YOUT_SMTP_URL cannot be used: {failed} Check its address, user and password."
        ) from None
    return ""
