"""Startup checks: database and schema, SECRET_KEY, Redis, RabbitMQ, media storage, port.

Settings that cannot work raise `SettingsError`. Temporary failures do not prevent the start: servers are retried
while the process runs.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import ssl
import time
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import peewee
from peewee import SQL
from playhouse.pool import PooledDatabase

from shared.core import broker_url, database_url, redis_probe, redis_url
from shared.core.broker_url import BrokerAddress, parse_broker_url
from shared.core.database import is_sqlite
from shared.core.database_errors import is_temporary
from shared.core.errors import NotFound, SchemaMismatch, SettingsError, StorageUnavailable
from shared.core.lazy_import import lazy_import
from shared.core.machine import GIB, disk_spaces, exposed_files
from shared.core.procfile_runner import process_name
from shared.core.redis_url import RedisAddress, parse_redis_url
from shared.core.schema_version import require_current
from shared.core.settings import DEVELOPMENT_SECRET, Settings, unknown_variables
from shared.core.smtp_url import read_smtp_url
from shared.files.storage import create_folder, open_storage
from shared.job_queue import ANSWER_SECONDS, CONNECT_SECONDS, QUEUES
from shared.models import Account, CatalogVersion, EdgeProcess
from shared.sealed_columns import require_secret_key

if TYPE_CHECKING:
    import redis
    from obstore import exceptions as obstore_exceptions
else:
    redis = lazy_import("redis")  # 7 MB and 0.1 s; needed only to explain why a server does not work
    obstore_exceptions = lazy_import("obstore.exceptions")  # 5 MB; needed only if media are in a bucket

_NO_TLS = "the server does not use TLS on this port; use redis:// or its TLS port."
_TLS = "the server uses TLS on this port; use rediss://."
_AMQP_NO_TLS = "the server does not use TLS on this port; use amqp:// or its TLS port."
_AMQP_TLS = "the server uses TLS on this port; use amqps://."
_AMQP_HEADER = b"AMQP\x00\x00\x09\x01"  # AMQP 0-9-1, "Protocol header"; the answer is a frame of type 1
_WRITTEN = (EdgeProcess, Account, CatalogVersion)

MIGRATION_SECONDS = 60.0

log = logging.getLogger("yout.start")


def run_startup_checks(settings: Settings, database: peewee.Database, *, media: bool) -> None:
    """Raise `SchemaMismatch` or `SettingsError` if the process cannot work with these settings.

    `database` must be closed, and is closed again afterwards. `media` means that the process reads or writes media outputs.
    """
    try:
        require_readable(database)
        wait_for_migration(database)
        with database.connection_context():
            require_rights(database)
            require_secret_key(database, settings.secret_key)
    finally:
        if isinstance(database, PooledDatabase):
            database.close_idle()  # connections must not be shared across a fork
    require_redis(settings)
    require_broker(settings)
    if media:
        require_storage(settings)


def wait_for_migration(database: peewee.Database) -> None:
    """Raise `SchemaMismatch` if this code cannot run on the schema.

    Beside a `release` that honcho or foreman started at the same moment, wait up to `MIGRATION_SECONDS` for it.
    """
    ends_at = time.monotonic() + (MIGRATION_SECONDS if process_name() else 0)
    while True:
        try:
            with database.connection_context():
                return require_current(database)
        except SchemaMismatch:
            if time.monotonic() >= ends_at:
                raise
            time.sleep(0.2)


def require_readable(database: peewee.Database) -> None:
    """Raise `SettingsError` if the database can never be opened: an invalid option, or a file that is not a database."""
    try:
        with database.connection_context():
            pass
    except peewee.PeeweeException as error:
        if is_temporary(error):
            raise
        raise SettingsError(f"DATABASE_URL cannot be used: {str(error).splitlines()[0]}.") from None


def require_rights(database: peewee.Database) -> None:
    """Raise `SettingsError` if the database is read-only or its role lacks a privilege. Neither changes nor locks rows."""
    if is_sqlite(database):  # a statement would wait for other writers
        file = Path(database.database)
        if not os.access(file, os.W_OK) or not os.access(file.absolute().parent, os.W_OK):
            raise SettingsError(f"DATABASE_URL: the file {file} or its folder is not writable.")
        return
    try:
        for model in _WRITTEN:
            with database.bind_ctx([model], bind_refs=False, bind_backrefs=False):
                model.update({model.id: model.id}).where(SQL("1 = 0")).execute()
    except (peewee.ProgrammingError, peewee.InternalError) as error:
        raise SettingsError(
            f"DATABASE_URL: the database user has no permission to write: {str(error).splitlines()[0]}."
        ) from None


def require_redis(settings: Settings) -> None:
    """Raise `SettingsError` if REDIS_URL can never work. An unavailable server is not an error, because the outage may end."""
    address = parse_redis_url(settings.redis_url)
    for host, port in address.seeds or ((address.host, address.port),):
        server = address.at(host, port)._replace(seeds=())
        seconds = {"connect_seconds": CONNECT_SECONDS, "answer_seconds": ANSWER_SECONDS}
        if redis_probe.works(server, in_cluster=address.is_cluster, **seconds):
            continue
        with redis.Redis(
            **server.client_options(),
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0),
        ) as client:
            try:
                client.ping()
                reason = _wrong_mode(client, address)
            except redis.RedisError as error:
                reason = _lasting(error) or _wrong_scheme(server)
                if address.is_cluster:
                    reason = reason.replace("://", "+cluster://")
        if reason:
            raise SettingsError(f"REDIS_URL: {reason}")


def _wrong_mode(client: redis.Redis, address: RedisAddress) -> str:
    """Return a message if the server is part of a cluster and the URL names a single server, or the other way around."""
    try:
        info: Any = client.info("cluster")
    except redis.ResponseError:  # managed servers may forbid it
        return ""
    enabled = info.get("cluster_enabled", int(address.is_cluster)) == 1
    if enabled == address.is_cluster:
        return ""
    prefix = "rediss" if address.tls else "redis"
    if enabled:
        return f"the server is part of a cluster; use {prefix}+cluster://."
    return f"the server is not part of a cluster; use {prefix}://."


def _lasting(error: redis.RedisError) -> str:
    """Return why REDIS_URL can never work, or "" for a temporary outage."""
    cause = _tls_error(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"the server's certificate is not valid ({cause.verify_message}). Set YOUT_REDIS_TLS_VERIFY=false to accept a"
            " self-signed one, such as Heroku's, or add its authority to the URL: ?ssl_ca_certs=/path/to/ca.pem."
        )
    if isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError):
        return "the server rejected the user or password, or requires one."
    if isinstance(error, redis.ResponseError):
        if "DB index" in str(error):
            return "the server has no database with that number."
        if str(error).startswith(("NOAUTH", "WRONGPASS", "invalid password")):
            return "the server rejected the user or password, or requires one."
    return ""


def _wrong_scheme(address: RedisAddress) -> str:
    """Return a message if the server uses TLS and the URL does not, or the other way around; "" otherwise.

    In both cases the server does not respond, which looks like an outage.
    """
    if address.path:
        return ""
    try:
        with socket.create_connection((address.host, address.port), CONNECT_SECONDS) as plain:
            if address.tls:
                plain.sendall(b"PING\r\n")
                return _NO_TLS if plain.recv(1) in (b"+", b"-") else ""
            with address._replace(verify=False).ssl_context().wrap_socket(plain):
                return _TLS
    except OSError:
        return ""


def require_broker(settings: Settings) -> None:
    """Raise `SettingsError` if BROKER_URL can never work. An unavailable server is not an error, because the outage may end."""
    if not settings.uses_rabbitmq:
        return
    from dramatiq.errors import BrokerConnectionError

    from shared.rabbitmq import QuorumBroker, lasting_problem

    broker = QuorumBroker(settings.broker_url)
    try:
        broker.declare_queues(QUEUES)
    except BrokerConnectionError as error:
        reason = lasting_problem(error) or _wrong_amqp_scheme(parse_broker_url(settings.broker_url))
        if reason:
            raise SettingsError(f"BROKER_URL: {reason}") from None
    finally:
        broker.close()


def _wrong_amqp_scheme(address: BrokerAddress) -> str:
    """Like `_wrong_scheme`, for RabbitMQ."""
    try:
        with socket.create_connection((address.host, address.port), CONNECT_SECONDS) as plain:
            if address.tls:
                plain.sendall(_AMQP_HEADER)
                return _AMQP_NO_TLS if plain.recv(1) == b"\x01" else ""
            with address._replace(verify=False).ssl_context().wrap_socket(plain):
                return _AMQP_TLS
    except OSError:
        return ""


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None


def require_storage(settings: Settings) -> None:
    """Raise `SettingsError` if the media storage is not writable. An unresponsive store is not an error, because the outage may
    end."""
    try:
        if settings.media_url:
            open_storage(settings).check_writable()
        else:
            with TemporaryFile(dir=create_folder(settings)) as file:
                file.write(b"0")
    except OSError as error:  # the folder
        raise SettingsError(_folder_problem(settings, error.strerror or str(error))) from None
    except NotFound:
        raise SettingsError("YOUT_MEDIA_URL: the store has no such bucket.") from None
    except StorageUnavailable as error:
        cause = error.__cause__
        if isinstance(cause, obstore_exceptions.PermissionDeniedError | obstore_exceptions.UnauthenticatedError):
            raise SettingsError(
                "YOUT_MEDIA_URL: the store rejected YOUT_MEDIA_ACCESS_KEY and YOUT_MEDIA_SECRET_KEY, or they lack write access."
            ) from None
        log.warning("media storage is not responding; media are unavailable until it does: %s", type(cause).__name__)


def _folder_problem(settings: Settings, reason: str) -> str:
    return (
        f"YOUT_DATA_DIR: media outputs cannot be written to {settings.data_dir / 'media'}: {reason}."
        " Set it to a writable folder, or set YOUT_MEDIA_URL to a bucket."
    )


def require_port(settings: Settings, port: int, variable: str) -> None:
    """Raise `SettingsError` if this process cannot listen on its address and `port`. `variable` is the port's setting."""
    try:
        found = socket.getaddrinfo(settings.bind_host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        changed = variable if error.errno in (errno.EADDRINUSE, errno.EACCES) else "YOUT_BIND_HOST"
        reason = error.strerror or "unknown host"
        raise SettingsError(
            f"Cannot listen on {settings.listen_address(port)}: {reason}. Set {changed} to another value."
        ) from None


def log_setting_warnings(settings: Settings) -> None:
    """Log warnings about the settings and this machine. Call after all checks have passed."""
    for line in (*setting_warnings(settings), *unknown_variables(), *_machine_warnings(settings)):
        log.warning("%s", line)


def _machine_warnings(settings: Settings) -> list[str]:
    low = [f"Only {space.free / GIB:.1f} GiB are free at {space.path}." for space in disk_spaces(settings) if space.is_low()]
    return low + [f"Other users of this machine can read {path}: run chmod 600 on it." for path in exposed_files(settings)]


def setting_warnings(settings: Settings) -> list[str]:
    """Return warnings about these settings, one line each. Pure."""
    lines = []
    if not settings.is_publicly_reachable and not settings.trusted_proxies:
        lines.append(
            f"Links will begin with {settings.edge_url}, which other machines cannot open: set YOUT_PUBLIC_URL, or"
            " YOUT_TRUSTED_PROXIES if a proxy forwards the host."
        )
    if settings.production and settings.public_url.startswith("http://"):
        lines.append("YOUT_PUBLIC_URL begins with http://, but in production browsers can only sign in over https.")
    if settings.production and not settings.media_url:
        lines.append(
            f"Media outputs are stored in {settings.data_dir / 'media'}: set YOUT_MEDIA_URL unless edge and workers share"
            " that folder and it is persistent."
        )
    if settings.secret_key == DEVELOPMENT_SECRET:
        lines.append("SECRET_KEY is the public development key; set it, or run `yout migrate` to generate one.")
    if settings.mails_in_console:
        lines.append("No email is sent: the console shows them. Set YOUT_SMTP_URL and YOUT_MAIL_FROM to send them.")
    elif settings.smtp_url and read_smtp_url(settings.smtp_url).sends_password_in_plain_text:
        lines.append("YOUT_SMTP_URL has starttls=off: the password of the mail server is sent in plain text.")
    if settings.uses_stripe and not settings.stripe_webhook_secret:
        lines.append("STRIPE_API_KEY is set, but not STRIPE_WEBHOOK_SECRET: payments are only credited every two minutes.")
    if settings.stripe_api_base.startswith("http://") and settings.production:
        lines.append("STRIPE_API_BASE begins with http://: the key of Stripe is sent in plain text.")
    if not settings.uses_sqlite:
        lines += [_without_effect("DATABASE_URL", name) for name in database_url.ignored_options(settings.database_url)]
    lines += [_without_effect("REDIS_URL", name) for name in redis_url.ignored_options(settings.redis_url)]
    if settings.uses_rabbitmq:
        lines += [_without_effect("BROKER_URL", name) for name in broker_url.ignored_options(settings.broker_url)]
    return lines


def _without_effect(variable: str, option: str) -> str:
    return f"{variable} has the option {option!r}, which is ignored."
