"""Settings: their sources, error messages for invalid ones, and complete documentation."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from shared.core.errors import SettingsError
from shared.core.redis_url import parse_redis_url
from shared.core.settings import DEVELOPMENT_SECRET, SECRET_KEY_FILE, Settings
from tests.servers.process import ROOT

SECRET = "x" * 32
SERVERS = {"DATABASE_URL": "postgres://db/yout", "REDIS_URL": "redis://cache"}
PRODUCTION = {"YOUT_ENV": "production", "SECRET_KEY": SECRET, "YOUT_PUBLIC_URL": "https://yout.example", **SERVERS}


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """`load(NAME=value, …)`: settings from exactly these environment variables."""

    def load(**environ: str) -> Settings:
        return Settings.load({"YOUT_DATA_DIR": str(tmp_path), **environ}, dotenv=None)

    return load


def test_every_setting_is_optional(load: Any, tmp_path: Path) -> None:
    settings = load()
    assert (settings.edge_port, settings.console_port, settings.bind_host) == (8000, 8001, "127.0.0.1")
    assert settings.database_url == f"sqlite:///{tmp_path / 'yout.db'}"
    assert settings.redis_url == f"unix://{settings.data_dir}/valkey/valkey.sock"
    assert not settings.production


def test_the_platforms_port_variable_is_used(load: Any) -> None:
    settings = load(PORT="5000", SECRET_KEY=SECRET)
    assert (settings.edge_port, settings.console_port, settings.bind_host) == (5000, 5000, "0.0.0.0")
    assert load(PORT="5000", YOUT_EDGE_PORT="6000", SECRET_KEY=SECRET).edge_port == 6000
    assert load(WEB_CONCURRENCY="2", DATABASE_URL="postgres://db/yout").edge_workers == 2


def test_staff_must_change_an_initial_password_by_default_only_in_production(load: Any) -> None:
    assert [load().staff_password_change, load(**PRODUCTION).staff_password_change] == [False, True]
    assert load(YOUT_STAFF_PASSWORD_CHANGE="yes").staff_password_change
    assert not load(**PRODUCTION, YOUT_STAFF_PASSWORD_CHANGE="no").staff_password_change


def test_an_empty_variable_counts_as_unset(load: Any) -> None:
    assert load(YOUT_EDGE_PORT="", DATABASE_URL="").edge_port == 8000


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("YOUT_EDGE_PORT=7000\nYOUT_CONSOLE_PORT=7001\n")
    settings = Settings.load({"YOUT_DATA_DIR": str(tmp_path), "YOUT_EDGE_PORT": "9000"}, dotenv=dotenv)
    assert (settings.edge_port, settings.console_port) == (9000, 7001)


def test_the_generated_secret_key_is_used_until_one_is_set(load: Any, tmp_path: Path) -> None:
    (tmp_path / SECRET_KEY_FILE).write_text("made-by-yout-up\n")
    assert load().secret_key == "made-by-yout-up"
    assert load(SECRET_KEY=SECRET).secret_key == SECRET


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("ON", True), ("no", False), ("0", False)])
def test_switches(load: Any, text: str, value: bool) -> None:
    assert load(YOUT_FAST_HTTP=text).fast_http is value


def test_proxies(load: Any) -> None:
    assert load(YOUT_TRUSTED_PROXIES=" 10.0.0.0/8, ::1 ,").trusted_proxies == ("10.0.0.0/8", "::1")


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"YOUT_EDGE_PORT": "http"}, "YOUT_EDGE_PORT must be a whole number, not 'http'."),
        ({"PORT": "70000"}, "PORT must be between 1 and 65535, not 70000."),
        ({"YOUT_DRAIN_SECONDS": "-1"}, "YOUT_DRAIN_SECONDS must be between 0 and 3600, not -1."),
        ({"YOUT_FAST_HTTP": "maybe"}, "YOUT_FAST_HTTP must be true or false, not 'maybe'."),
        ({"YOUT_ENV": "prod"}, "YOUT_ENV must be development or production, not 'prod'."),
        ({"DATABASE_URL": "mysql://db/yout"}, "DATABASE_URL must start with sqlite:///, postgres:// or postgresql://."),
        (
            {"REDIS_URL": "http://cache"},
            "REDIS_URL must start with redis://, rediss:// or unix://, or with redis+cluster:// or rediss+cluster://.",
        ),
        ({"YOUT_LOG_LEVEL": "loud"}, "YOUT_LOG_LEVEL must be debug, info, warning or error."),
        (
            {"YOUT_TRUSTED_PROXIES": "10.0.0.0/8, proxy"},
            "YOUT_TRUSTED_PROXIES must contain addresses or networks such as 10.0.0.0/8, not 'proxy'.",
        ),
        ({"YOUT_MEDIA_URL": "https://bucket"}, "YOUT_MEDIA_URL must be s3://bucket or s3://bucket/folder."),
        ({"YOUT_MEDIA_URL": "s3://"}, "YOUT_MEDIA_URL must be s3://bucket or s3://bucket/folder."),
        ({"YOUT_MEDIA_ENDPOINT": "minio:9000"}, "YOUT_MEDIA_ENDPOINT must be a URL such as https://s3.example.com"),
        (
            {"YOUT_MEDIA_ACCESS_KEY": "id"},
            "YOUT_MEDIA_ACCESS_KEY and YOUT_MEDIA_SECRET_KEY must be set together or not at all.",
        ),
        ({"YOUT_PUBLIC_URL": "api.example.com"}, "YOUT_PUBLIC_URL must be a URL such as https://api.example.com"),
        ({"YOUT_PUBLIC_URL": "https://"}, "YOUT_PUBLIC_URL must be a URL such as"),
        ({"YOUT_PUBLIC_URL": "https://api.example.com:many"}, "YOUT_PUBLIC_URL must be a URL such as"),
        ({"YOUT_PUBLIC_URL": "https://api.example.com/?x=1"}, "YOUT_PUBLIC_URL must be a URL such as"),
        ({"YOUT_PUBLIC_URL": "https://ada:pw@api.example.com"}, "YOUT_PUBLIC_URL must be a URL such as"),
        ({"YOUT_BIND_HOST": "http://0.0.0.0"}, "YOUT_BIND_HOST must be an address to listen on, such as 0.0.0.0 or ::"),
        ({"YOUT_BIND_HOST": "0.0.0.0:8000"}, "YOUT_BIND_HOST must be an address to listen on, such as 0.0.0.0 or ::"),
        ({"REDIS_URL": "redis://cache/one"}, "REDIS_URL must have a database number as its path, such as /0."),
        ({"REDIS_URL": f"redis://cache/{'9' * 5_000}"}, "REDIS_URL must have a database number as its path, such as /0."),
        ({"REDIS_URL": "redis://cache:0"}, "REDIS_URL has no valid host and port."),
        ({"REDIS_URL": "redis://a..b"}, "REDIS_URL has no valid host and port."),
        (
            {"REDIS_URL": f"rediss://cache?ssl_ca_certs={__file__}"},
            "REDIS_URL has a certificate file that is not valid PEM",
        ),
        ({"YOUT_BIND_HOST": "a..b"}, "YOUT_BIND_HOST must be an address to listen on"),
        ({"YOUT_BIND_HOST": "a" * 64}, "YOUT_BIND_HOST must be an address to listen on"),
        ({"YOUT_PUBLIC_URL": "https://api..example.com"}, "YOUT_PUBLIC_URL must be a URL such as"),
        *(
            (
                {"YOUT_PUBLIC_URL": f"https://api.example.com/a{wrong}b"},
                f"YOUT_PUBLIC_URL contains {wrong!r}, which no URL may",
            )
            for wrong in '<>"\\ ^`{|}'
        ),
        (
            {"YOUT_PUBLIC_URL": "https://api.example.com/a\tb"},
            "YOUT_PUBLIC_URL contains a line break or another control character",
        ),
        ({"YOUT_METRICS_TOKEN": "gehe\u00efm"}, "YOUT_METRICS_TOKEN must be ASCII"),
        ({"YOUT_MEDIA_ACCESS_KEY": "\u00fc", "YOUT_MEDIA_SECRET_KEY": "x"}, "YOUT_MEDIA_ACCESS_KEY must be ASCII"),
        ({"YOUT_MEDIA_ACCESS_KEY": "x", "YOUT_MEDIA_SECRET_KEY": "\u00fc"}, "YOUT_MEDIA_SECRET_KEY must be ASCII"),
        ({"YOUT_REFERER": "https://b\u00fccher.example"}, "YOUT_REFERER must be ASCII"),
        ({"YOUT_PUBLIC_URL": "https://[::1"}, "YOUT_PUBLIC_URL cannot be parsed"),
        ({"YOUT_SMTP_URL": "mail.example.com:25"}, "YOUT_SMTP_URL must start with smtp:// or smtps://."),
        ({"YOUT_SMTP_URL": "smtp://mail.example.com:0"}, "YOUT_SMTP_URL has no valid port between 1 and 65535."),
        ({"YOUT_SMTP_URL": "smtp://mail..example.com"}, "YOUT_SMTP_URL has no valid host."),
        ({"YOUT_MAIL_FROM": "Yout"}, "YOUT_MAIL_FROM must be an address such as Yout <no-reply@example.com>, not 'Yout'."),
        ({"YOUT_SMTP_URL": "smtp://mx"}, "YOUT_SMTP_URL and YOUT_MAIL_FROM must be set together or not at all."),
        ({"YOUT_MAIL_FROM": "a@example.com"}, "YOUT_SMTP_URL and YOUT_MAIL_FROM must be set together or not at all."),
        (
            {"YOUT_SMTP_URL": "smtp://mx", "YOUT_MAIL_FROM": "a@example.com", "YOUT_TRUSTED_PROXIES": "10.0.0.0/8"},
            "YOUT_PUBLIC_URL must be set with YOUT_SMTP_URL, because emails contain links that begin with it.",
        ),
        ({"YOUT_CORS_ORIGINS": "https://app.example.com:many"}, "YOUT_CORS_ORIGINS must list origins such as"),
        ({"YOUT_CORS_ORIGINS": "https://*.example.com"}, "YOUT_CORS_ORIGINS must list origins such as"),
        ({"YOUT_CORS_ORIGINS": "http://[::1"}, "YOUT_CORS_ORIGINS must list origins such as"),
        ({"DATABASE_URL": "POSTGRES://db/yout"}, "DATABASE_URL must start with sqlite:///, postgres:// or postgresql://."),
        ({"YOUT_EDGE_PORT": "8000.0"}, "YOUT_EDGE_PORT must be a whole number, not '8000.0'."),
        ({"SECRET_KEY": f"{SECRET}\n"}, "SECRET_KEY begins or ends with whitespace or a line break; remove it."),
        ({"SECRET_KEY": f'"{SECRET}"'}, "SECRET_KEY begins or ends with a quotation mark; remove it"),
        ({"DATABASE_URL": "'postgres://db/yout'"}, "DATABASE_URL begins or ends with a quotation mark"),
        ({"SECRET_KEY": f"{SECRET}\n{SECRET}"}, "SECRET_KEY contains a line break or another control character; remove it."),
        # Insecure settings
        ({"YOUT_ENV": "production"}, "SECRET_KEY must be set when YOUT_ENV is production"),
        ({"YOUT_ENV": "production", "SECRET_KEY": DEVELOPMENT_SECRET}, "SECRET_KEY must be set when YOUT_ENV is production"),
        ({"YOUT_ENV": "production", "SECRET_KEY": "x" * 31}, "SECRET_KEY must have 32 characters or more"),
        ({"YOUT_EDGE_WORKERS": "2"}, "YOUT_EDGE_WORKERS (or WEB_CONCURRENCY) must be 1 with SQLite"),
        ({"WEB_CONCURRENCY": "2", "DATABASE_URL": "sqlite:////tmp/x.db"}, "must be 1 with SQLite"),
        ({"YOUT_BIND_HOST": "0.0.0.0"}, "SECRET_KEY must be set to 32 characters or more if other machines can reach the edge"),
        ({"PORT": "5000"}, "SECRET_KEY must be set to 32 characters or more if other machines can reach the edge"),
        ({"PORT": "5000", "SECRET_KEY": "short"}, "32 characters or more"),
    ],
)
def test_an_invalid_or_insecure_setting_is_one_line(load: Any, environ: dict[str, str], line: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(**environ)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_production_with_all_servers_is_accepted(load: Any) -> None:
    assert load(**PRODUCTION, YOUT_BIND_HOST="0.0.0.0").production


@pytest.mark.parametrize(
    ("changed", "allowed", "line"),
    [
        ({"DATABASE_URL": ""}, {"YOUT_ALLOW_SQLITE": "true"}, "DATABASE_URL must be a PostgreSQL URL when YOUT_ENV is"),
        (
            {"DATABASE_URL": "sqlite:////data/yout.db"},
            {"YOUT_ALLOW_SQLITE": "true"},
            "DATABASE_URL must be a PostgreSQL URL when YOUT_ENV is production; set YOUT_ALLOW_SQLITE=true to use SQLite",
        ),
        (
            {"REDIS_URL": ""},
            {"YOUT_ALLOW_EMBEDDED_VALKEY": "true"},
            "REDIS_URL must be set when YOUT_ENV is production; set YOUT_ALLOW_EMBEDDED_VALKEY=true",
        ),
        (
            {"YOUT_PUBLIC_URL": ""},
            {"YOUT_TRUSTED_PROXIES": "10.0.0.0/8"},
            "YOUT_PUBLIC_URL must be set when YOUT_ENV is production, such as https://api.example.com",
        ),
    ],
)
def test_production_rejects_lossy_settings_unless_explicitly_allowed(
    load: Any, changed: dict[str, str], allowed: dict[str, str], line: str
) -> None:
    with pytest.raises(SettingsError, match="^" + re.escape(line)) as refused:
        load(**{**PRODUCTION, **changed})
    assert "\n" not in str(refused.value)
    assert load(**{**PRODUCTION, **changed, **allowed}).production


def test_surrounding_whitespace_is_stripped(load: Any) -> None:
    settings = load(YOUT_EDGE_PORT=" 9000\n", YOUT_PUBLIC_URL="https://yout.example/ ", YOUT_LOG_LEVEL="INFO", REDIS_URL="  ")
    assert (settings.edge_port, settings.public_url, settings.log_level) == (9000, "https://yout.example", "info")
    assert settings.embedded_valkey


@pytest.mark.parametrize(
    ("host", "listening", "link"),
    [
        ("127.0.0.1", "127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("[::]", "[::]:8000", "http://127.0.0.1:8000"),
        ("::1", "[::1]:8000", "http://[::1]:8000"),
        ("edge.internal", "edge.internal:8000", "http://edge.internal:8000"),
    ],
)
def test_listen_addresses_and_their_urls(load: Any, host: str, listening: str, link: str) -> None:
    settings = load(YOUT_BIND_HOST=host, SECRET_KEY=SECRET)
    assert (settings.listen_address(settings.edge_port), settings.edge_url) == (listening, link)


def test_redis_certificate_verification_can_be_disabled(load: Any) -> None:
    unverified = load(REDIS_URL="rediss://:pw@cache:6380", YOUT_REDIS_TLS_VERIFY="false")
    assert not parse_redis_url(unverified.redis_url).verify
    assert parse_redis_url(load(REDIS_URL="rediss://:pw@cache:6380").redis_url).verify
    assert parse_redis_url(
        load(REDIS_URL="rediss://cache?ssl_cert_reqs=required", YOUT_REDIS_TLS_VERIFY="false").redis_url
    ).verify


def test_a_binary_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"SECRET_KEY=\xff\xfe")
    with pytest.raises(SettingsError, match="cannot be read: it is not UTF-8"):
        Settings.load({}, dotenv=tmp_path / ".env")


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL"])
@pytest.mark.parametrize("password", ["hunter2", "hunter[2", "hunter℀2"])
def test_error_messages_contain_no_secret(load: Any, name: str, password: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(**{name: f"mysql://user:{password}@db/yout"})
    assert "hunter" not in str(refused.value)


def test_origins_are_normalized_as_browsers_send_them(load: Any) -> None:
    found = load(YOUT_CORS_ORIGINS="https://App.example.com:443/, https://bücher.example:8443,http://[::1]:80").cors_origins
    assert found == ("https://app.example.com", "https://xn--bcher-kva.example:8443", "http://[::1]")


def test_a_hold_outlives_its_call_by_a_minute(load: Any) -> None:
    assert load(YOUT_CALL_SECONDS="5").hold_seconds == 65


# Documentation


def documented(item: Any) -> str:
    """The row of docs/settings.md for one setting."""
    variables = " or ".join(f"`{name}`" for name in item.metadata["variables"])
    default = item.default
    if default == DEVELOPMENT_SECRET:
        shown = "one for development"
    elif isinstance(default, bool):
        shown = f"`{str(default).lower()}`"
    else:
        default = ",".join(default) if isinstance(default, tuple) else default
        shown = f"`{default}`" if default not in ("", (), None) else ""
    return f"| {variables} | {shown} | {item.metadata['help']} |"


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows == [documented(item) for item in fields(Settings)]


def test_emails_in_the_console_are_for_development() -> None:
    settings = Settings.load({"YOUT_SMTP_URL": "console"}, None)
    assert (settings.sends_mail, settings.mails_in_console) == (True, True)
    with pytest.raises(SettingsError, match="must be a mail server"):
        Settings.load({"YOUT_SMTP_URL": "console", "YOUT_ENV": "production", "SECRET_KEY": "x" * 32}, None)
    with pytest.raises(SettingsError, match="YOUT_ALERT_EMAIL"):
        Settings.load({"YOUT_SMTP_URL": "console", "YOUT_ALERT_EMAIL": "a@example.com"}, None)
