"""Startup checks against real servers: a problem is reported in one line that names the setting."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.x509 import IPAddress

from shared.core import redis_probe
from shared.core.database import open_database
from shared.core.errors import SettingsError
from shared.core.redis_url import parse_redis_url, without_verification
from shared.core.secrets import SECOND_FACTOR, WEBHOOK_SECRET, seal, unseal
from shared.core.settings import Settings
from shared.job_queue import JobQueue, queue_depths
from shared.models import StaffUser, WebhookSecret
from shared.operations.secret_rotation import KeyChange, rotate_secret_key
from shared.sealed_columns import require_secret_key
from shared.startup import require_port, require_redis, require_storage, run_startup_checks, setting_warnings
from tests import factories
from tests.databases import opened
from tests.factories import ORIGIN
from tests.servers.authority import Authority
from tests.servers.edge import SECRET_KEY
from tests.servers.process import ROOT, free_port
from tests.servers.redis import RedisServer, binary
from tests.servers.s3 import S3Server
from transport.redis_script import RedisScript
from workers.broker import make_broker

MakeSettings = Callable[..., Settings]
OTHER_KEY = "another secret key of more than 32 characters"
PASSWORD = "p@ss/w:rd#?%"
QUOTED = "p%40ss%2Fw%3Ard%23%3F%25"


def refusal(work: Callable[[], object]) -> str:
    """The one-line error that `work` raises."""
    with pytest.raises(SettingsError) as refused:
        work()
    assert "\n" not in str(refused.value)
    return str(refused.value)


# Redis


class TlsRedis:
    """A real redis-server with TLS only, a certificate of an untrusted authority, and one user."""

    def __init__(self, folder: Path) -> None:
        authority = Authority(folder)
        authority.server_context(IPAddress(ip_address("127.0.0.1")))
        pem = str(folder / "server.pem")
        self.ca_file = authority.path
        acl = folder / "users.acl"
        acl.write_text(f"user default off\nuser ada on >{PASSWORD} ~* &* +@all\n")
        options = {"tls_cert_file": pem, "tls_key_file": pem, "tls_auth_clients": "no", "aclfile": str(acl)}
        self.server = RedisServer("redis-server", folder, **options)

    def url(self, options: str = "", *, login: str = f"ada:{QUOTED}", scheme: str = "rediss") -> str:
        return f"{scheme}://{login}@127.0.0.1:{self.server.port}/1{options}"


@pytest.fixture(scope="module")
def tls_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsRedis]:
    if binary("redis-server") is None:
        if os.environ.get("CI"):
            pytest.fail("redis-server is not installed, and CI must test on it")
        pytest.skip("redis-server is not installed")
    made = TlsRedis(tmp_path_factory.mktemp("tls-redis"))
    yield made
    made.server.kill()


def test_a_self_signed_redis_is_rejected_with_the_name_of_the_setting(make_settings: MakeSettings, tls_redis: TlsRedis) -> None:
    line = refusal(lambda: require_redis(make_settings(redis_url=tls_redis.url())))
    assert line.startswith("REDIS_URL: the server's certificate is not valid")
    assert "YOUT_REDIS_TLS_VERIFY=false" in line
    require_redis(make_settings(redis_url=tls_redis.url(), redis_tls_verify=False))
    require_redis(make_settings(redis_url=tls_redis.url(f"?ssl_ca_certs={tls_redis.ca_file}")))


@pytest.mark.parametrize("how", ["any certificate", "the authority"])
async def test_every_kind_of_client_can_connect(tls_redis: TlsRedis, how: str) -> None:
    url = (
        without_verification(tls_redis.url()) if how == "any certificate" else tls_redis.url(f"?ssl_ca_certs={tls_redis.ca_file}")
    )
    script = RedisScript(parse_redis_url(url), "return redis.call('INCR', KEYS[1])", 5)
    assert await script.execute("PING") == b"PONG"
    counted = await script.run(["counter"], [])
    script.close()
    jobs = JobQueue(url)
    assert jobs.is_available()
    jobs.close()
    client = make_broker(url).client
    assert int(client.get("counter")) == counted  # the same database
    client.close()
    assert queue_depths(url) is not None
    assert redis_probe.works(parse_redis_url(url), in_cluster=False, connect_seconds=20, answer_seconds=20)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"login": "ada:wrong"}, "rejected the user or password"),
        ({"login": f":{QUOTED}"}, "rejected the user or password"),
        ({"login": f"bob:{QUOTED}"}, "rejected the user or password"),
        ({"scheme": "redis"}, "uses TLS on this port; use rediss://"),
    ],
)
def test_a_wrong_login_or_scheme_is_rejected(
    make_settings: MakeSettings, tls_redis: TlsRedis, changed: dict[str, str], words: str
) -> None:
    settings = make_settings(redis_url=tls_redis.url(**changed), redis_tls_verify=False)
    line = refusal(lambda: require_redis(settings))
    assert line.startswith("REDIS_URL: ")
    assert words in line
    assert "wrong" not in line


def test_tls_and_login_are_rejected_by_a_plain_redis(make_settings: MakeSettings, redis_url: str) -> None:
    assert "no database with that number" in refusal(lambda: require_redis(make_settings(redis_url=f"{redis_url[:-1]}9999")))
    tls = redis_url.replace("redis://", "rediss://")
    assert "does not use TLS" in refusal(lambda: require_redis(make_settings(redis_url=tls)))


def test_an_unreachable_redis_does_not_prevent_startup(make_settings: MakeSettings, caplog: pytest.LogCaptureFixture) -> None:
    require_redis(make_settings(redis_url=f"redis://127.0.0.1:{free_port()}"))
    assert caplog.records == []  # reported later by whatever uses it


# SECRET_KEY


@pytest.mark.usefixtures("bound_database")
def test_a_secret_key_that_decrypts_nothing_is_rejected(any_database_url: str) -> None:
    with opened(any_database_url) as database:
        require_secret_key(database, OTHER_KEY)  # nothing is encrypted yet
        factories.channel("http://127.0.0.1:9/v1")
        require_secret_key(database, SECRET_KEY)
        assert refusal(lambda: require_secret_key(database, OTHER_KEY)).startswith("SECRET_KEY is not the one")


@pytest.mark.usefixtures("bound_database")
@pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
def test_a_secret_key_that_decrypts_only_some_secrets_is_a_warning(
    any_database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    factories.channel("http://127.0.0.1:9/v1")
    WebhookSecret.create(account=factories.account().id, sealed_secret=seal("whsec_", OTHER_KEY, WEBHOOK_SECRET))
    with opened(any_database_url) as database:
        require_secret_key(database, SECRET_KEY)
    [record] = caplog.records
    assert record.getMessage().startswith("1 webhook secrets were encrypted with another SECRET_KEY")


def test_everything_is_reencrypted_with_a_new_key(bound_database: Any) -> None:
    channel, account = factories.channel("http://127.0.0.1:9/v1", secret="sk-1"), factories.account()
    keyless = factories.channel("http://127.0.0.1:9/v1", secret="")
    WebhookSecret.create(account=account.id, sealed_secret=seal("whsec_x", SECRET_KEY, WEBHOOK_SECRET))
    staff = StaffUser.create(
        email="ana@yout.example", role="owner", password_hash="x", sealed_totp=seal("totp", SECRET_KEY, SECOND_FACTOR)
    )
    assert rotate_secret_key([SECRET_KEY], OTHER_KEY, origin=ORIGIN) == KeyChange(sealed=3, erased=0)
    assert unseal(type(channel).get_by_id(channel.id).sealed_secret, OTHER_KEY) == "sk-1"
    assert type(channel).get_by_id(keyless.id).sealed_secret == ""
    assert unseal(WebhookSecret.get().sealed_secret, OTHER_KEY, WEBHOOK_SECRET) == "whsec_x"
    assert unseal(StaffUser.get_by_id(staff.id).sealed_totp, OTHER_KEY, SECOND_FACTOR) == "totp"
    assert rotate_secret_key([SECRET_KEY], OTHER_KEY, origin=ORIGIN) == KeyChange(sealed=0, erased=0)  # nothing left to do


def test_secrets_encrypted_with_a_lost_key_are_erased(bound_database: Any) -> None:
    channel = factories.channel("http://127.0.0.1:9/v1", secret="sk-1")
    WebhookSecret.create(account=factories.account().id, sealed_secret=seal("whsec_x", SECRET_KEY, WEBHOOK_SECRET))
    staff = StaffUser.create(
        email="ana@yout.example", role="owner", password_hash="x", sealed_totp=seal("totp", SECRET_KEY, SECOND_FACTOR)
    )
    assert rotate_secret_key([], OTHER_KEY, lost=True, origin=ORIGIN) == KeyChange(sealed=0, erased=3)
    assert type(channel).get_by_id(channel.id).sealed_secret == ""
    assert not WebhookSecret.select().exists()
    assert StaffUser.get_by_id(staff.id).sealed_totp == ""


# Database permissions, media store, port


def test_a_read_only_database_user_is_rejected(make_settings: MakeSettings, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute("DROP ROLE IF EXISTS only_reads")
        owner.execute("CREATE ROLE only_reads LOGIN")
        owner.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO only_reads")
        reader = open_database(postgres_url.replace("postgres@", "only_reads@"))
        line = refusal(lambda: run_startup_checks(make_settings(), reader, media=False))
        owner.execute("DROP OWNED BY only_reads")
        owner.execute("DROP ROLE only_reads")
    assert line.startswith("DATABASE_URL: the database user has no permission to write: permission denied for table")


def test_a_working_media_store(media_settings: Settings) -> None:
    require_storage(media_settings)


def test_a_read_only_folder(make_settings: MakeSettings, tmp_path: Path) -> None:
    (tmp_path / "media").touch()
    line = refusal(lambda: require_storage(make_settings(data_dir=tmp_path)))
    assert line.startswith(f"YOUT_DATA_DIR: media outputs cannot be written to {tmp_path}/media: File exists.")
    assert "YOUT_MEDIA_URL" in line


def test_a_missing_bucket(make_settings: MakeSettings, s3_server: S3Server) -> None:
    bucket = {**s3_server.settings_of_new_bucket(), "media_url": "s3://no-such-bucket"}
    assert refusal(lambda: require_storage(make_settings(**bucket))) == "YOUT_MEDIA_URL: the store has no such bucket."


def test_a_port_in_use(make_settings: MakeSettings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refusal(lambda: require_port(make_settings(), port, "YOUT_EDGE_PORT"))
    assert line == f"Cannot listen on 127.0.0.1:{port}: Address already in use. Set YOUT_EDGE_PORT to another value."


def test_an_address_of_another_machine(make_settings: MakeSettings) -> None:
    line = refusal(lambda: require_port(make_settings(bind_host="203.0.113.5"), 8000, "YOUT_EDGE_PORT"))
    assert line.endswith("Set YOUT_BIND_HOST to another value.")


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        ({}, []),
        ({"bind_host": "0.0.0.0"}, ["Links will begin with http://127.0.0.1:8000"]),
        ({"bind_host": "::", "public_url": "https://yout.example"}, []),
        ({"bind_host": "0.0.0.0", "trusted_proxies": ("10.0.0.0/8",)}, []),
        ({"environment": "production", "media_url": "s3://media"}, []),
        ({"environment": "production"}, ["Media outputs are stored in"]),
        (
            {"environment": "production", "media_url": "s3://media", "public_url": "http://yout.example"},
            ["YOUT_PUBLIC_URL begins with http://"],
        ),
        (
            {"smtp_url": "smtp://a:b@mx?starttls=off", "mail_from": "a@example.com"},
            ["YOUT_SMTP_URL has starttls=off"],
        ),
        ({"smtp_url": "smtps://a:b@mx", "mail_from": "a@example.com"}, []),
        ({"stripe_api_key": "sk_test_1"}, ["STRIPE_API_KEY is set, but not STRIPE_WEBHOOK_SECRET"]),
        ({"stripe_api_key": "sk_test_1", "stripe_webhook_secret": "whsec_1"}, []),
        (
            {"environment": "production", "media_url": "s3://media", "stripe_api_base": "http://stripe.test"},
            ["STRIPE_API_BASE begins with http://"],
        ),
        (
            {"database_url": "postgres://db/x?connection_limit=1", "redis_url": "redis://cache?protocol=3"},
            ["DATABASE_URL has the option 'connection_limit'", "REDIS_URL has the option 'protocol'"],
        ),
    ],
)
def test_notices_for_the_operator(make_settings: MakeSettings, settings: dict[str, Any], lines: list[str]) -> None:
    found = setting_warnings(make_settings(**settings))
    assert len(found) == len(lines)
    assert all(line.startswith(begin) for line, begin in zip(found, lines, strict=True))


# The processes


@pytest.mark.parametrize("module", ["edge", "console", "workers"])
@pytest.mark.usefixtures("bound_database")
@pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
def test_each_process_reports_it_in_one_line(tmp_path: Path, any_database_url: str, module: str) -> None:
    factories.channel("http://127.0.0.1:9/v1")
    settings = {"SECRET_KEY": OTHER_KEY, "YOUT_DATA_DIR": str(tmp_path), "DATABASE_URL": any_database_url}
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **settings}
    argv = [sys.executable, "-m", module]
    ended = subprocess.run(argv, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"{module}: SECRET_KEY is not the one that this database was set up with")
    assert ended.stderr.count("\n") == 1
