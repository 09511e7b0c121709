"""`yout backup` and `yout restore`: with running processes, damage, and an existing database; and PostgreSQL's own tools."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import shutil
import sqlite3
import subprocess
import tarfile
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from shared.core.clock import new_id
from shared.core.settings import Settings
from shared.files.storage import new_key, open_storage
from tests.edge.http_calls import chat
from tests.servers.edge import WebProcess
from tests.servers.postgres import Postgres, _installed
from tests.threads import run_threads
from tests.upstream import Upstream
from tests.yout.command import Finished, Installation
from tests.yout.test_secret import with_catalog
from yout.commands.backup import EMPTY_POSTGRES, _Place

StartEdge = Callable[..., WebProcess]


@pytest.fixture
def installation(tmp_path: Path, migrated_sqlite: Path) -> Installation:
    """An installation with its key in the data folder, a channel with a secret, and two media files."""
    return new_installation(tmp_path / "first", migrated_sqlite)


def new_installation(folder: Path, database: Path | None = None) -> Installation:
    """An installation in its own folder, without `SECRET_KEY` in the environment; empty without `database`."""
    folder.mkdir()
    made = Installation(folder)
    del made.environment["SECRET_KEY"]
    if database is not None:
        (folder / "var").mkdir(mode=0o700)
        shutil.copy(database, folder / "var" / "yout.db")
        assert made.yout("migrate").code == 0
    return made


def settings_of(installation: Installation) -> Settings:
    return Settings.load({"YOUT_DATA_DIR": str(installation.folder / "var")}, dotenv=None)


def names_in(backup: Path) -> list[str]:
    with tarfile.open(backup) as archive:
        return archive.getnames()


def rewritten(backup: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """A copy of a backup with changed members; None removes one."""
    target = backup.with_name("changed.backup")
    with tarfile.open(backup) as source, tarfile.open(target, "w:gz") as archive:
        for member in source:
            file = source.extractfile(member)
            assert file is not None
            data = change(member.name, file.read())
            if data is not None:
                info = tarfile.TarInfo(member.name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return target


def with_manifest(change: Callable[[bytes], bytes]) -> Callable[[str, bytes], bytes]:
    return lambda name, data: change(data) if name == "manifest.json" else data


def with_content(changed: str, content: bytes) -> Callable[[str, bytes], bytes]:
    """Replace the content of one file, with a matching checksum in the manifest."""

    def change(name: str, data: bytes) -> bytes:
        if name != "manifest.json":
            return content if name == changed else data
        manifest = json.loads(data)
        manifest["files"][changed] = [hashlib.sha256(content).hexdigest(), len(content)]
        return json.dumps(manifest).encode()

    return change


def test_a_backup_of_a_running_installation_is_complete(
    installation: Installation, tmp_path: Path, upstream: Upstream, redis_url: str, start_edge: StartEdge
) -> None:
    key = with_catalog(installation, upstream)
    storage, stored = open_storage(settings_of(installation)), {new_key(): b"one", new_key(): b"two" * 100_000}
    for name, data in stored.items():
        storage.put(name, data)
    edge = start_edge(data_dir=installation.folder / "var", secret_key="", redis_url=redis_url)
    backup = tmp_path / "yout.backup"
    done: list[Finished] = []

    def work(number: int) -> None:
        if number:
            assert all(chat(edge, key, model="m-1").status == 200 for _ in range(10))
        else:
            done.append(installation.yout_process("backup", str(backup), "--json"))

    run_threads(work, 3)
    assert (done[0].code, done[0].data["media_files"], done[0].data["secret_key"]) == (0, 2, False)
    assert backup.stat().st_mode & 0o777 == 0o600
    assert sorted(names_in(backup)) == sorted(["yout.db", *(f"media/{name}" for name in stored), "manifest.json"])

    refused = installation.yout("restore", str(backup), "--force")
    assert (refused.code, "Processes are running" in refused.err) == (1, True)
    edge.kill()  # holds and heartbeats stay, as after a crash

    second = new_installation(tmp_path / "second")
    (second.folder / "var").mkdir(mode=0o700)
    shutil.copy(installation.folder / "var" / "secret.key", second.folder / "var" / "secret.key")  # kept elsewhere
    restored = second.yout("restore", str(backup), "--json")
    assert (restored.code, restored.data["clean"], restored.data["secret_key_fits"]) == (0, True, True)
    assert (restored.data["media_files"], restored.data["replaced"]) == (2, None)
    assert second.yout("ledger", "verify").code == 0
    assert {name: b"".join(open_storage(settings_of(second)).get(name)) for name in stored} == stored
    again = start_edge(data_dir=second.folder / "var", secret_key="", redis_url=redis_url)
    assert chat(again, key, model="m-1").status == 200
    assert upstream.calls[-1].headers["authorization"] == "Bearer sk-channel"


def test_an_existing_installation_is_replaced_only_by_force_and_kept_aside(
    installation: Installation, tmp_path: Path, upstream: Upstream
) -> None:
    with_catalog(installation, upstream)
    storage, name = open_storage(settings_of(installation)), new_key()
    storage.put(name, b"kept")
    backup = tmp_path / "yout.backup"
    assert installation.yout("backup", str(backup), "--include-secret-key").code == 0
    assert "secret.key" in names_in(backup)
    installation.yout("account", "create", "late@example.com")
    late = new_key()
    storage.put(late, b"late")
    refused = installation.yout("restore", str(backup))
    assert (refused.code, "--force" in refused.err) == (1, True)
    done = installation.yout("restore", str(backup), "--force", "--json")
    assert (done.code, done.data["accounts"], done.data["secret_key_fits"]) == (0, 1, True)
    aside = Path(done.data["replaced"])
    assert (aside / "media" / late).read_bytes() == b"late"
    with sqlite3.connect(aside / "yout.db") as former:
        assert former.execute("SELECT count(*) FROM account").fetchone() == (2,)
    former.close()
    assert [found.key for found in open_storage(settings_of(installation)).list()] == [name]
    assert installation.yout("ledger", "verify", "--json").data["accounts"] == 1
    assert not list((installation.folder / "var").glob("*restoring*"))


def test_a_backup_from_before_a_rotation_still_fits(installation: Installation, tmp_path: Path, upstream: Upstream) -> None:
    with_catalog(installation, upstream)
    backup = tmp_path / "yout.backup"
    installation.yout("backup", str(backup))
    assert installation.yout("secret", "rotate").code == 0
    assert installation.yout("restore", str(backup), "--force", "--json").data["secret_key_fits"]
    assert installation.yout("ledger", "verify").code == 0


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it runs."""


def database_with_log(path: Path, value: str) -> None:
    """A SQLite database whose only row is still in its log, as after a crash."""
    with closing(sqlite3.connect(path.with_name("source.db"))) as source:
        source.execute("PRAGMA journal_mode = WAL")
        source.execute("CREATE TABLE installation (name TEXT)")
        source.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        source.execute("INSERT INTO installation VALUES (?)", (value,))
        source.commit()
        for suffix in ("", "-wal"):
            shutil.copy(path.with_name(f"source.db{suffix}"), path.with_name(path.name + suffix))


def test_a_restore_that_is_killed_leaves_a_complete_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for last in itertools.count():
        folder = tmp_path / str(last)
        (folder / "media").mkdir(parents=True)
        place = _Place(Settings.load({"YOUT_DATA_DIR": str(folder)}, dotenv=None))
        database_with_log(place.database, "former")
        with closing(sqlite3.connect(place.new_database)) as restored, restored:
            restored.execute("CREATE TABLE installation AS SELECT 'restored' AS name")
        place.new_media.mkdir()
        steps = 0

        def counted(step: Callable[..., Any], last: int = last) -> Callable[..., Any]:
            def run(*arguments: Any, **options: Any) -> Any:
                nonlocal steps
                if steps == last:
                    raise Killed
                steps += 1
                return step(*arguments, **options)

            return run

        with monkeypatch.context() as patched, suppress(Killed):
            for owner, name in ((Path, "replace"), (Path, "unlink"), (Path, "mkdir"), (os, "link"), (shutil, "move")):
                patched.setattr(owner, name, counted(getattr(owner, name)))
            place.swap(1)
        with closing(sqlite3.connect(place.database)) as left:
            found.append(left.execute("SELECT name FROM installation").fetchone()[0])
        if found[-1] == "restored":
            break
    assert steps == last  # it was not killed: the last of its steps replaces the database
    assert len(found) > 5


DAMAGES = ("changed", "missing", "foreign", "cut off", "no archive", "list", "files", "time", "deep", "no database", "no key")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_backup_changes_nothing(installation: Installation, tmp_path: Path, damage: str) -> None:
    open_storage(settings_of(installation)).put(new_key(), b"one")
    backup = tmp_path / "yout.backup"
    installation.yout("backup", str(backup), "--include-secret-key")
    changes: dict[str, Callable[[str, bytes], bytes | None]] = {
        "changed": lambda name, data: data + b"x" if name.startswith("media/") else data,
        "missing": lambda name, data: None if name.startswith("media/") else data,
        "list": with_manifest(lambda _: b"[]"),
        "files": with_manifest(lambda data: data.replace(b'"files"', b'"others"')),
        "time": with_manifest(lambda data: data.replace(b'"created_at": ', b'"created_at": null, "": ')),
        "deep": with_manifest(lambda _: b"[" * 100_000),
        "no database": with_content("yout.db", b"no database"),
        "no key": with_content("secret.key", b"\xff"),
    }
    if damage in changes:
        backup = rewritten(backup, changes[damage])
    elif damage == "foreign":
        with tarfile.open(backup, "w:gz") as archive:
            archive.addfile(tarfile.TarInfo("../../outside"))
    else:
        backup.write_bytes(backup.read_bytes()[:-200] if damage == "cut off" else b"no archive")
    empty = new_installation(tmp_path / "second")
    done = empty.yout("restore", str(backup))
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert not (empty.folder / "var" / "yout.db").exists()
    assert not list((empty.folder / "var").glob("*restoring*"))
    assert not (tmp_path / "outside").exists()


def test_a_backup_replaces_only_files_that_are_not_the_database(installation: Installation, tmp_path: Path) -> None:
    database = installation.folder / "var" / "yout.db"
    for target in (database, tmp_path, Path("/dev/null")):
        assert installation.yout("backup", str(target)).code == 2
    assert database.read_bytes().startswith(b"SQLite")


def test_calls_that_ran_during_the_backup_are_released(installation: Installation, tmp_path: Path, upstream: Upstream) -> None:
    with_catalog(installation, upstream)
    with installation.database() as database:
        [(account,)] = database.execute("SELECT id FROM account").fetchall()
        values = [new_id().hex, account, new_id().hex, new_id().hex]
        database.execute(
            "INSERT INTO hold (id, account_id, edge_process, model, price, amount, state, created_at, expires_at)"
            " VALUES (?, ?, ?, 'm-1', ?, 70, 'held', 1, 9999999999999)",
            values,
        )
        database.execute("UPDATE account SET held = 70")
    backup = tmp_path / "yout.backup"
    installation.yout("backup", str(backup))
    second = new_installation(tmp_path / "second")
    done = second.yout("restore", str(backup), "--json")
    assert (done.code, done.data["expired_holds"], done.data["clean"]) == (0, 1, True)
    assert not done.data["secret_key_fits"]  # this place has another key, or none


def test_postgresql_names_its_own_commands_and_they_work(
    tmp_path: Path, postgres: Postgres, postgres_url: str, upstream: Upstream
) -> None:
    secret = "the-secret-key-of-more-than-32-characters"
    installation = Installation(tmp_path, DATABASE_URL=postgres_url, SECRET_KEY=secret)
    with_catalog(installation, upstream)
    file = tmp_path / "yout.dump"
    refused = installation.yout("backup", str(file))
    assert refused.code == 1
    assert f"pg_dump --format=custom --file={file}" in refused.err
    run = {"cwd": tmp_path, "check": True, "timeout": 60}
    binaries = _installed() / "bin"
    subprocess.run([binaries / "pg_dump", "--format=custom", f"--file={file}", postgres_url], **run)
    empty = postgres.create_empty()
    try:
        other = Installation(tmp_path, DATABASE_URL=empty, SECRET_KEY=secret)
        refused = other.yout("restore", str(file))
        assert (refused.code, EMPTY_POSTGRES in refused.err, "pg_restore --no-owner" in refused.err) == (1, True, True)
        for _ in range(2):  # into an empty and into an existing database
            subprocess.run([binaries / "psql", empty, f"--command={EMPTY_POSTGRES}"], **run)
            subprocess.run([binaries / "pg_restore", "--no-owner", "--exit-on-error", f"--dbname={empty}", str(file)], **run)
        verified = other.yout("ledger", "verify", "--json")
        assert (verified.code, verified.data["clean"], verified.data["accounts"]) == (0, True, 1)
        with psycopg.connect(empty) as connection:
            assert connection.execute("SELECT count(*) FROM channel").fetchone() == (1,)
    finally:
        postgres.drop(empty)
