"""The last release runs on the current schema, so it can serve while the next one is deployed, and a rollback is possible.

Its code comes from this repository's history, and uses the packages that are installed now.
"""

from __future__ import annotations

import http.cookiejar
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import NamedTuple

import peewee
import pytest

from shared.core.clock import now_ms
from shared.core.schema_version import MIGRATIONS
from shared.ledger.verify import verify_ledger
from shared.models import Account, UsageLedger
from shared.operations.staff import create_staff
from tests import factories as build
from tests.edge.http_calls import Stream, chat
from tests.openai_payloads import chunk, finish, role, usage
from tests.servers.edge import WebProcess, environment_of, start_console, start_edge, start_worker
from tests.servers.process import ROOT, Process, eventually
from tests.upstream import Upstream
from tests.upstream_responses import stream
from tests.workers.holds import Customer

STAFF = ("ana@yout.example", "correct horse battery")


class Release(NamedTuple):
    """A released version, the commit that made it, and its migrations."""

    version: str
    commit: str
    migrations: set[str]


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout


def last_release() -> Release:
    """The commit before this one that last changed the version. Skips the test in a copy without that history."""
    try:
        commits = git("log", "--format=%H", "-G^version = ", "--", "pyproject.toml").split()
        head = git("rev-parse", "HEAD").strip()
        shallow = git("rev-parse", "--is-shallow-repository").strip() == "true"
    except (OSError, subprocess.SubprocessError):
        pytest.skip("this is not a git repository")
    older = [commit for commit in commits if commit != head]
    if shallow or not older:  # in a shallow clone, the oldest commit seems to have changed every file
        pytest.skip("the clone does not reach back to the last release")
    [version] = re.findall(r'^version = "(.+)"$', git("show", f"{older[0]}:pyproject.toml"), re.MULTILINE)
    names = git("ls-tree", "--name-only", older[0], "migrations/").split()
    return Release(version, older[0], {Path(name).stem for name in names if re.match(r"migrations/\d", name)})


@pytest.fixture
def release() -> Release:
    return last_release()


@pytest.fixture
def code(release: Release, tmp_path: Path) -> Path:
    """The release's files."""
    folder = tmp_path / "release"
    folder.mkdir()
    archive = subprocess.run(["git", "archive", release.commit], cwd=ROOT, capture_output=True, timeout=60, check=True).stdout
    subprocess.run(["tar", "-x"], cwd=folder, input=archive, timeout=60, check=True)
    return folder


@pytest.fixture
def environ(code: Path, postgres_url: str, redis_url: str) -> dict[str, str]:
    """The settings of the release's processes, which are started from its files."""
    return {**environment_of({"database_url": postgres_url, "redis_url": redis_url}), "PYTHONPATH": str(code)}


@pytest.fixture
def owner(bound_postgres: peewee.Database, release: Release, upstream: Upstream) -> Account:
    """An account with credits and a model, created by the current code."""
    if release.version == "0.4.0":
        _hide_newer_migrations(bound_postgres, release)
    build.model("m-1", build.channel(upstream.url))
    create_staff(STAFF[0], "owner", STAFF[1], origin=build.ORIGIN)
    return build.account()


def _hide_newer_migrations(database: peewee.Database, release: Release) -> None:
    """Work around 0.4.0: it is the last release that refuses to start on a newer schema, although it can run on it."""
    for path in MIGRATIONS.glob("[0-9]*.py"):
        if path.stem not in release.migrations:
            database.execute_sql("DELETE FROM schema_migration WHERE name = %s", (path.stem,))


def test_the_last_release_serves_on_this_schema(
    owner: Account, environ: dict[str, str], upstream: Upstream, processes: list[Process], tmp_path: Path
) -> None:
    _, secret = build.api_key(owner)
    [abandoned] = Customer().hold()
    edge, console = start_edge(tmp_path, environ), start_console(tmp_path, environ)
    worker = start_worker(tmp_path, environ)
    processes += [edge.process, console.process, worker]
    assert _imported_from(environ, tmp_path) == Path(environ["PYTHONPATH"])

    assert chat(edge, secret).status == 200
    upstream.script(stream(role(), chunk("Hello"), finish(), usage()))
    with Stream(edge, secret) as call:
        call.response_head()
        assert call.remaining_events()[-1] == {"done": True}
    assert _calls(owner) == [("completed", 10), ("completed", 10)]
    eventually(lambda: UsageLedger.get_or_none(UsageLedger.id == abandoned) is not None, "the worker releases the hold")
    assert "The last 24 hours" in _home(console)
    assert edge.terminate() == 0
    assert verify_ledger(now_ms()).problems == ()


def _imported_from(environ: dict[str, str], folder: Path) -> Path:
    """The folder that `edge` is imported from with these settings."""
    program = "import edge; print(edge.__file__)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environ, cwd=folder, capture_output=True, text=True, timeout=30, check=True)
    return Path(done.stdout.strip()).parents[1]


def _calls(owner: Account) -> list[tuple[str, int]]:
    rows = UsageLedger.select().where(UsageLedger.account == owner.id)
    return [(row.status, row.input_tokens + row.output_tokens) for row in rows]


def _home(console: WebProcess) -> str:
    """The console's first page, after signing in."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    page = opener.open(f"{console.url}/login").read().decode()
    [token] = re.findall(r'name="csrf_token"[^>]*value="([^"]+)"', page)[:1]
    fields = {"csrf_token": token, "email": STAFF[0], "password": STAFF[1]}
    with opener.open(f"{console.url}/login", urllib.parse.urlencode(fields).encode()) as home:
        text: str = home.read().decode()
    return text
