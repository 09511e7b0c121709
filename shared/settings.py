"""One frozen `Settings`, and the only reader of the environment (and of `.env`).

Every setting is a field below with its variable, default and one line of help; `docs/settings.md` lists the same table and a
test holds the two together. A wrong or dangerous value raises `SettingsError` with one line that says what to change.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dotenv import dotenv_values

from shared import setting_values
from shared.errors import SettingsError
from shared.origins import canonical_origin
from shared.proxies import canonical_network
from shared.redis_url import read_redis_url, without_verification
from shared.setting_values import authority, log_level, plain, split_address, web_address

DEVELOPMENT_SECRET = "yout-development-secret-not-for-production"  # refused in production
SECRET_KEY_FILE = "secret.key"  # made by `yout up` in the data folder, so that the default has a secret of its own
PORTS_FILE = "ports.json"  # in the data folder while `yout up` runs: the ports that it chose, by field
VALKEY_SOCKET = Path("valkey", "valkey.sock")  # in the data folder
_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"must be a whole number, not {text!r}") from None
        if not low <= value <= high:
            raise ValueError(f"must be between {low} and {high}, not {value}")
        return value

    return parse


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise ValueError(f"must be true or false, not {text!r}")


def _environment(text: str) -> str:
    if text not in ("development", "production"):
        raise ValueError(f"must be development or production, not {text!r}")
    return text


def _database_url(text: str) -> str:
    split_address(text)
    if text.partition(":")[0] not in ("sqlite", "postgres", "postgresql"):  # libpq knows them in lower case only
        raise ValueError("must start with sqlite:///, postgres:// or postgresql://")
    return text


def _redis_url(text: str) -> str:
    read_redis_url(text)
    return text


def _sign_up(text: str) -> str:
    if text not in ("open", "closed"):
        raise ValueError(f"must be open or closed, not {text!r}")
    return text


def _networks(text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    for word in words:
        try:
            canonical_network(word)
        except ValueError:
            raise ValueError(f"must hold addresses or networks such as 10.0.0.0/8, not {word!r}") from None
    return words


def _origins(text: str) -> tuple[str, ...]:
    words = tuple(word.strip().rstrip("/").lower() for word in text.split(",") if word.strip())
    if words in (("*",), ("none",)):
        return () if words == ("none",) else words
    found = tuple(map(canonical_origin, words))
    for word, origin in zip(words, found, strict=True):
        if not origin:
            raise ValueError(f"must list origins such as https://app.example.com, or be * or none, not {word!r}")
    return found


def _media_url(text: str) -> str:
    parts = split_address(text)
    if parts.scheme != "s3" or not parts.netloc or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("must be s3://bucket or s3://bucket/folder")
    return text


_port = _integer(1, 65535)


def _setting(default: Any, variables: str, parse: Callable[[str], Any], help: str) -> Any:
    """A field read from the first of `variables` (comma separated) that is set and not empty."""
    return field(default=default, metadata={"variables": variables.split(","), "parse": parse, "help": help})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one process. Durations in seconds, sizes in bytes, money in credits."""

    environment: str = _setting(
        "development", "YOUT_ENV", _environment, "`production` refuses the development secret and other dangers"
    )
    secret_key: str = _setting(
        DEVELOPMENT_SECRET,
        "SECRET_KEY",
        str,
        "Signs sessions, seals channel secrets, salts pseudonyms; 32 characters or more",
    )
    data_dir: Path = _setting(Path("var"), "YOUT_DATA_DIR", Path, "Where the embedded database, Valkey and media live")
    database_url: str = _setting(
        "",
        "DATABASE_URL",
        _database_url,
        "`sqlite:///path` or `postgresql://…`, direct or through [PgBouncer](scaling.md#pgbouncer); empty means SQLite in the"
        " data folder",
    )
    redis_url: str = _setting("", "REDIS_URL", _redis_url, "`redis://…`; empty means the embedded Valkey that `yout up` starts")
    redis_tls_verify: bool = _setting(
        True,
        "YOUT_REDIS_TLS_VERIFY",
        _boolean,
        "Whether a `rediss://` server must have a valid certificate; false accepts a self-signed one, such as Heroku's",
    )
    allow_sqlite: bool = _setting(
        False, "YOUT_ALLOW_SQLITE", _boolean, "Allow SQLite in production; its disk must outlive the process"
    )
    allow_embedded_valkey: bool = _setting(
        False,
        "YOUT_ALLOW_EMBEDDED_VALKEY",
        _boolean,
        "Allow production without `REDIS_URL`, using the Valkey that `yout up` starts",
    )
    bind_host: str = _setting(
        "",
        "YOUT_BIND_HOST",
        setting_values.bind_host,
        "Address to listen on; empty means 127.0.0.1, or 0.0.0.0 where the platform sets `PORT`",
    )
    edge_port: int = _setting(8000, "YOUT_EDGE_PORT,PORT", _port, "Port of the edge; `PORT` as a PaaS sets it also works")
    console_port: int = _setting(8001, "YOUT_CONSOLE_PORT,PORT", _port, "Port of the staff console")
    local_port: int = _setting(8002, "YOUT_LOCAL_PORT", _port, "Port of the embedded model server, on loopback")
    local_model: bool = _setting(True, "YOUT_LOCAL_MODEL", _boolean, "Whether `yout up` starts the embedded model server")
    edge_workers: int = _setting(
        1, "YOUT_EDGE_WORKERS,WEB_CONCURRENCY", _integer(1, 64), "Edge processes; more than one needs PostgreSQL"
    )
    worker_threads: int = _setting(
        4, "YOUT_WORKER_THREADS", _integer(1, 64), "Jobs that a worker process does at once, a database connection each"
    )
    fast_http: bool = _setting(
        True, "YOUT_FAST_HTTP", _boolean, "The faster HTTP/1.1 connection inside Hypercorn; false uses Hypercorn's own"
    )
    public_url: str = _setting(
        "",
        "YOUT_PUBLIC_URL",
        web_address("https://api.example.com"),
        "Base URL of links to the edge, such as `https://api.example.com`; empty means the address that it listens on",
    )
    cors_origins: tuple[str, ...] = _setting(
        ("*",),
        "YOUT_CORS_ORIGINS",
        _origins,
        "Origins whose pages may call the API from a browser with a key, comma separated; `*` allows all, `none` allows none",
    )
    trusted_proxies: tuple[str, ...] = _setting(
        (),
        "YOUT_TRUSTED_PROXIES",
        _networks,
        "Addresses or networks whose `X-Forwarded-For`, `-Host` and `-Proto` are trusted, comma separated",
    )
    media_url: str = _setting(
        "",
        "YOUT_MEDIA_URL",
        _media_url,
        "`s3://bucket` or `s3://bucket/folder` for media outputs; empty means `media` in the data folder",
    )
    media_endpoint: str = _setting(
        "",
        "YOUT_MEDIA_ENDPOINT",
        web_address("https://s3.example.com"),
        "Address of an S3-compatible store; empty means Amazon's own for the region",
    )
    media_region: str = _setting("us-east-1", "YOUT_MEDIA_REGION", str, "Region of the bucket")
    media_access_key: str = _setting(
        "", "YOUT_MEDIA_ACCESS_KEY", str, "Access key id of the store; empty uses what AWS gives the machine"
    )
    media_secret_key: str = _setting("", "YOUT_MEDIA_SECRET_KEY", str, "Secret access key of the store")
    outbound_networks: tuple[str, ...] = _setting(
        (),
        "YOUT_OUTBOUND_NETWORKS",
        _networks,
        "Networks that outputs are fetched from and callbacks sent to though they are not public, on any port, over http too",
    )
    outbound_http: bool = _setting(
        False, "YOUT_OUTBOUND_HTTP", _boolean, "Plain http to public addresses in production too, for outputs and callbacks"
    )
    max_body_bytes: int = _setting(20_000_000, "YOUT_MAX_BODY_BYTES", _integer(1_000, 1_000_000_000), "Largest request body")
    max_unread_bytes: int = _setting(
        256_000_000,
        "YOUT_MAX_UNREAD_BYTES",
        _integer(1_000_000, 10**12),
        "Maximum total size of the request bodies that a process is receiving; one address may use half of it",
    )
    max_connections: int = _setting(
        10_000, "YOUT_MAX_CONNECTIONS", _integer(1, 10**6), "Maximum open connections per edge process; further ones get a 503"
    )
    upstream_connect_seconds: int = _setting(
        5, "YOUT_UPSTREAM_CONNECT_SECONDS", _integer(1, 60), "Longest wait for a connection to an upstream"
    )
    upstream_first_byte_seconds: int = _setting(
        120, "YOUT_UPSTREAM_FIRST_BYTE_SECONDS", _integer(1, 3600), "Longest wait for an upstream's first byte"
    )
    upstream_retry_seconds: int = _setting(
        10, "YOUT_UPSTREAM_RETRY_SECONDS", _integer(0, 300), "How long after its start a call may still begin another attempt"
    )
    upstream_idle_seconds: int = _setting(120, "YOUT_UPSTREAM_IDLE_SECONDS", _integer(1, 3600), "Longest silence inside a stream")
    keepalive_first_seconds: int = _setting(
        10, "YOUT_KEEPALIVE_FIRST_SECONDS", _integer(1, 3600), "Silence after which a stream that has not begun is kept alive"
    )
    keepalive_seconds: int = _setting(
        15, "YOUT_KEEPALIVE_SECONDS", _integer(1, 3600), "Silence inside a stream after which it is kept alive, for proxies"
    )
    call_seconds: int = _setting(
        900, "YOUT_CALL_SECONDS", _integer(5, 86_400), "Longest life of one call; holds expire a minute later"
    )
    drain_seconds: int = _setting(
        25, "YOUT_DRAIN_SECONDS", _integer(0, 3600), "How long running streams may finish after SIGTERM"
    )
    default_rpm: int = _setting(
        600_000, "YOUT_DEFAULT_RPM", _integer(1, 10**9), "Requests a minute of an account whose plan sets none"
    )
    default_tpm: int = _setting(
        1_000_000_000, "YOUT_DEFAULT_TPM", _integer(1, 10**12), "Tokens a minute of an account whose plan sets none"
    )
    default_concurrency: int = _setting(
        5_000, "YOUT_DEFAULT_CONCURRENCY", _integer(1, 10**6), "Calls at once of an account whose plan sets none"
    )
    abandoned_calls_rpm: int = _setting(
        300,
        "YOUT_ABANDONED_CALLS_RPM",
        _integer(1, 10**9),
        "Calls a minute that an account may disconnect from before their first token; lower for few concurrent requests",
    )
    refused_keys_rpm: int = _setting(
        300,
        "YOUT_REFUSED_KEYS_RPM",
        _integer(1, 10**9),
        "Requests per minute with an invalid key from one network (an IPv4 address or an IPv6 /64); further ones get 429",
    )
    visitor_pool_credits: int = _setting(
        0,
        "YOUT_VISITOR_POOL_CREDITS",
        _integer(0, 10**15),
        "Credits a day for all visitors without an account together, the most that they can cost; 0 lets none in",
    )
    visitor_daily_credits: int = _setting(
        2_000, "YOUT_VISITOR_DAILY_CREDITS", _integer(1, 10**15), "Credits of that pool a day for each visitor"
    )
    visitors_per_network: int = _setting(
        8,
        "YOUT_VISITORS_PER_NETWORK",
        _integer(1, 10**6),
        "Maximum number of visitors that one network (an IPv4 address or an IPv6 /64) counts as, whatever user agents it sends",
    )
    media_job_seconds: int = _setting(
        1_800,
        "YOUT_MEDIA_JOB_SECONDS",
        _integer(10, 86_400),
        "Longest life of a media job, its wait included; then it is refunded",
    )
    media_answer_seconds: int = _setting(
        300, "YOUT_MEDIA_ANSWER_SECONDS", _integer(1, 3_600), "Longest wait for an upstream's answer to a media request"
    )
    media_max_bytes: int = _setting(
        200_000_000, "YOUT_MEDIA_MAX_BYTES", _integer(1_000, 10**10), "Largest file that a media job may deliver"
    )
    media_days: int = _setting(30, "YOUT_MEDIA_DAYS", _integer(1, 3_650), "How long media are kept where the plan sets nothing")
    media_link_seconds: int = _setting(
        3_600, "YOUT_MEDIA_LINK_SECONDS", _integer(10, 604_800), "How long a link to a media file is good"
    )
    sign_up: str = _setting(
        "open", "YOUT_SIGN_UP", _sign_up, "`open`: anybody may open an account; `closed`: staff and operators do"
    )
    sign_up_credits: int = _setting(0, "YOUT_SIGN_UP_CREDITS", _integer(0, 10**12), "Credits that somebody who signs up is given")
    visitor_rpm: int = _setting(20, "YOUT_VISITOR_RPM", _integer(1, 10**9), "Requests a minute of a visitor without an account")
    visitor_concurrency: int = _setting(2, "YOUT_VISITOR_CONCURRENCY", _integer(1, 10**6), "Calls at once of such a visitor")
    referer: str = _setting(
        "https://yout.chat",
        "YOUT_REFERER",
        str,
        "The `HTTP-Referer` that upstreams see; all they learn of the caller's side",
    )
    credits_per_usd: int = _setting(
        1_000_000, "YOUT_CREDITS_PER_USD", _integer(1, 10**12), "For display only; money is counted in credits"
    )
    staff_password_change: bool = _setting(
        False,
        "YOUT_STAFF_PASSWORD_CHANGE",
        _boolean,
        "Whether staff must change a password that was made for them; in production it is true unless set",
    )
    staff_second_factor: bool = _setting(
        False, "YOUT_STAFF_SECOND_FACTOR", _boolean, "Whether staff must set up a second factor before they see anything"
    )
    log_level: str = _setting("info", "YOUT_LOG_LEVEL", log_level, "debug, info, warning or error")
    metrics_token: str = _setting(
        "", "YOUT_METRICS_TOKEN", str, "Bearer token for `/metrics`; empty means that it answers loopback only"
    )

    @property
    def production(self) -> bool:
        return self.environment == "production"

    @property
    def uses_sqlite(self) -> bool:
        return self.database_url.startswith("sqlite")

    @property
    def embedded_valkey(self) -> bool:
        """Whether `redis_url` is the Valkey that `yout up` starts."""
        return self.redis_url == _embedded_valkey_url(self.data_dir)

    @property
    def hold_seconds(self) -> int:
        """How long a hold lasts: a minute more than a call may, so that only a dead process leaves one behind."""
        return self.call_seconds + 60

    @property
    def edge_url(self) -> str:
        """How customers reach the edge, without a slash at the end: for links that leave it."""
        if self.public_url:
            return self.public_url
        everywhere = self.bind_host in ("", "0.0.0.0", "::")  # noqa: S104  (compared, not bound)
        return f"http://{authority('127.0.0.1' if everywhere else self.bind_host, self.edge_port)}"

    @property
    def knows_its_url(self) -> bool:
        """Whether customers can reach the edge at `edge_url`. Without YOUT_PUBLIC_URL only this machine can."""
        return bool(self.public_url) or not (self.trusted_proxies or self.bind_host in ("0.0.0.0", "::"))  # noqa: S104

    def listening(self, port: int) -> str:
        """`host:port` to listen on, with brackets around an IPv6 address."""
        return authority(self.bind_host, port)

    @property
    def secure_cookies(self) -> bool:
        """Whether browsers reach the edge by https, so that cookies may be `Secure`."""
        return self.production or self.public_url.startswith("https://")

    @property
    def local_base_url(self) -> str:
        return f"http://127.0.0.1:{self.local_port}/v1"

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, dotenv: Path | None = Path(".env")) -> Settings:
        """Read the environment (by default the process's, with `.env` beneath it).

        Raises `SettingsError` for the first value that cannot be used.
        """
        values = _read_variables(environ, dotenv)
        read = _read_fields(values)
        chosen = dict(read)
        _fill_defaults(chosen, values)
        settings = cls(**chosen)
        _refuse_dangers(settings)
        if settings.production:
            _refuse_what_loses_data(settings, chosen_redis="redis_url" in read)
        return settings

    @staticmethod
    def explicit_fields(environ: Mapping[str, str] | None = None, dotenv: Path | None = Path(".env")) -> frozenset[str]:
        """Names of the fields that the environment or `.env` sets; the others have their defaults."""
        return frozenset(_read_fields(_read_variables(environ, dotenv)))


def _read_variables(environ: Mapping[str, str] | None, dotenv: Path | None) -> dict[str, str]:
    values = _read_dotenv(dotenv) if dotenv is not None else {}
    values.update(os.environ if environ is None else environ)
    return values


def _read_dotenv(path: Path) -> dict[str, str]:
    try:
        if not path.is_file():
            return {}
        return {name: value for name, value in dotenv_values(path).items() if value is not None}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The file {path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}.") from None


def _read_fields(values: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    for item in fields(Settings):
        variable = next((name for name in item.metadata["variables"] if values.get(name, "").strip()), None)
        if variable is None:
            continue
        try:
            found[item.name] = item.metadata["parse"](plain(values[variable], exact=item.name == "secret_key"))
        except ValueError as problem:
            raise SettingsError(f"{variable} {problem}.") from None
    return found


def _embedded_valkey_url(data_dir: Path) -> str:
    """A socket in the data folder: it needs no port, and only the folder's owner can reach it."""
    return f"unix://{quote(str(data_dir / VALKEY_SOCKET))}"


def _chosen_ports(data_dir: Path) -> dict[str, int]:
    """The ports chosen by the `yout up` that runs on this data folder, by field. Ports that were set are not included."""
    try:
        ports = json.loads((data_dir / PORTS_FILE).read_text())
        return {name: _port(str(ports[name])) for name in ("edge_port", "console_port", "local_port") if name in ports}
    except (OSError, ValueError, TypeError):
        return {}


def _fill_defaults(chosen: dict[str, Any], values: Mapping[str, str]) -> None:
    """Defaults that depend on other settings."""
    data_dir = Path(chosen.get("data_dir", "var")).absolute()
    chosen["data_dir"] = data_dir
    chosen.setdefault("database_url", f"sqlite:///{data_dir / 'yout.db'}")
    chosen.setdefault("redis_url", _embedded_valkey_url(data_dir))
    for name, port in _chosen_ports(data_dir).items():
        chosen.setdefault(name, port)
    if not chosen.get("redis_tls_verify", True):
        chosen["redis_url"] = without_verification(chosen["redis_url"])
    chosen.setdefault("staff_password_change", chosen.get("environment") == "production")
    key_file = data_dir / SECRET_KEY_FILE
    if "secret_key" not in chosen:
        try:
            chosen["secret_key"] = key_file.read_text().strip() if key_file.is_file() else DEVELOPMENT_SECRET
        except OSError as error:
            raise SettingsError(f"SECRET_KEY is not set, and {key_file} cannot be read: {error.strerror}.") from None
    chosen.setdefault("bind_host", "0.0.0.0" if values.get("PORT") else "127.0.0.1")  # noqa: S104  (a PaaS routes to it)


def _refuse_dangers(settings: Settings) -> None:
    if settings.production:
        if settings.secret_key == DEVELOPMENT_SECRET:
            raise SettingsError("SECRET_KEY must be set when YOUT_ENV is production; make one with `openssl rand -hex 32`.")
        if len(settings.secret_key) < 32:
            raise SettingsError("SECRET_KEY must have 32 characters or more when YOUT_ENV is production.")
    if settings.uses_sqlite and settings.edge_workers > 1:
        raise SettingsError(
            "YOUT_EDGE_WORKERS (or WEB_CONCURRENCY) must be 1 with SQLite; set DATABASE_URL to PostgreSQL for more."
        )
    if bool(settings.media_access_key) != bool(settings.media_secret_key):
        raise SettingsError("YOUT_MEDIA_ACCESS_KEY and YOUT_MEDIA_SECRET_KEY belong together; set both or neither.")
    weak_secret = settings.secret_key == DEVELOPMENT_SECRET or len(settings.secret_key) < 32
    if weak_secret and settings.bind_host not in ("127.0.0.1", "::1", "localhost"):
        raise SettingsError(
            "SECRET_KEY must be set when the edge listens beyond this machine (YOUT_BIND_HOST or PORT); 32 characters or more."
        )


def _refuse_what_loses_data(settings: Settings, *, chosen_redis: bool) -> None:
    """Raises SettingsError in production if a setting is missing whose default loses data or makes wrong links."""
    if settings.uses_sqlite and not settings.allow_sqlite:
        raise SettingsError(
            "DATABASE_URL must be a PostgreSQL URL when YOUT_ENV is production;"
            " set YOUT_ALLOW_SQLITE=true to keep SQLite, on a disk that outlives the process."
        )
    if not chosen_redis and not settings.allow_embedded_valkey:
        raise SettingsError(
            "REDIS_URL must be set when YOUT_ENV is production;"
            " set YOUT_ALLOW_EMBEDDED_VALKEY=true to use the Valkey that `yout up` starts."
        )
    if not settings.public_url and not settings.trusted_proxies:
        raise SettingsError(
            "YOUT_PUBLIC_URL must be set when YOUT_ENV is production, such as https://api.example.com: links begin with it."
            " Or set YOUT_TRUSTED_PROXIES, if the proxy passes on Host and X-Forwarded-Proto."
        )
