"""`yout backup` and `yout restore`: the embedded database and its media files in one file."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yout.arguments import CommandContext, Commands, Parser, add_command
from yout.result import Result

if TYPE_CHECKING:
    from shared.core.settings import Settings
    from yout.backup_file import BackupWriter, Manifest

# `pg_restore --clean` cannot drop the tables itself, because partitions depend on each other.
EMPTY_POSTGRES = "DROP SCHEMA public CASCADE; CREATE SCHEMA public"
_DOCS_HINT = "docs/backup.md describes the whole procedure."


def register(commands: Commands[Parser]) -> None:
    backup = add_command(commands, "backup", "back up the embedded database and its media to a file", _backup, database=False)
    backup.add_argument("file", type=Path, help="the file to write; an existing one is replaced")
    backup.add_argument("--include-secret-key", action="store_true", help="add SECRET_KEY: the file then reveals everything")
    restore = add_command(commands, "restore", "restore a backup while no process runs", _restore, database=False)
    restore.add_argument("file", type=Path, help="a file that `yout backup` wrote")
    restore.add_argument("--force", action="store_true", help="replace an existing database and media; they are moved aside")


def _backup(call: CommandContext) -> Result:
    from shared.core.clock import now_ms
    from shared.core.errors import InvalidInput, YoutError
    from shared.core.secret_key import decryption_keys
    from shared.operations.audit import record_audit_entry
    from yout.backup_file import DATABASE, SECRET, file_pieces, write_backup
    from yout.command_database import database_session

    settings, path = call.settings, call.arguments.file.absolute()
    if not settings.uses_sqlite:
        command = f'pg_dump --format=custom --file={path} "$DATABASE_URL"'
        raise YoutError(f"Use PostgreSQL's own tool. Run: {command} – {_DOCS_HINT}")
    if path.exists() and (not path.is_file() or path.samefile(_database_path(settings))):
        raise InvalidInput(f"{path} is not a backup file, so it is not replaced. Choose another name.")
    snapshot = path.with_name(f".{path.name}.{os.getpid()}.db")
    created_at = now_ms()
    with database_session(settings, check_secret_key=False):
        try:
            schema = _copy_database(_database_path(settings), snapshot)
            with write_backup(path, created_at, schema) as writer:
                writer.add(DATABASE, snapshot.stat().st_size, file_pieces(snapshot))
                media = _add_media(settings, writer)
                if call.arguments.include_secret_key:
                    # All keys, because a rotation of SECRET_KEY may not be finished.
                    keys = "".join(f"{key}\n" for key in decryption_keys(settings.secret_key)).encode()
                    writer.add(SECRET, len(keys), [keys])
        finally:
            snapshot.unlink(missing_ok=True)
        record_audit_entry(call.origin, "backup.create", path.name[:254], after={"files": media})  # alerts check its age
    size = path.stat().st_size
    data = {"id": str(path), "size_bytes": size, "media_files": media, "secret_key": call.arguments.include_secret_key}
    lines = [f"Backed up the database and {media} media files to {path} ({size} bytes)."]
    if settings.media_url:
        lines.append(f"It does not contain the media in {settings.media_url}: back up the bucket.")
    if call.arguments.include_secret_key:
        lines.append("It contains SECRET_KEY: anyone who has the file can read all channel secrets.")
    else:
        lines.append("It does not contain SECRET_KEY. Keep the key elsewhere: without it, channel secrets are lost.")
    return Result(data, " ".join(lines))


def _copy_database(source: Path, target: Path) -> str:
    """Copy a database that may be in use, and check the copy. Returns its last migration."""
    from shared.core.errors import YoutError

    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    with closing(sqlite3.connect(source, timeout=30)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)  # one step, so that writers need not wait and cannot make it start again
        copy.execute("PRAGMA journal_mode = DELETE")  # one file
        problem = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise YoutError(f"The database is damaged: {problem}. Nothing was written; restore the previous backup.")
        schema: str = copy.execute("SELECT max(name) FROM schema_migration").fetchone()[0]
    return schema


def _add_media(settings: Settings, writer: BackupWriter) -> int:
    """Add all media files, unless they are in a bucket. Returns how many."""
    from shared.core.errors import NotFound
    from shared.files.storage import open_storage
    from yout.backup_file import MEDIA

    if settings.media_url:
        return 0
    storage, count = open_storage(settings), 0
    for found in storage.list():
        try:
            pieces = storage.get(found.key)
        except NotFound:  # deleted since it was listed
            continue
        writer.add(MEDIA + found.key, found.size_bytes, pieces)
        count += 1
    return count


def _restore(call: CommandContext) -> Result:
    from shared.core.errors import InvalidInput, YoutError
    from shared.core.process_lock import exclusive_database
    from yout.data_folder import create_private_folder, locked_data_folder

    settings, path = call.settings, call.arguments.file.absolute()
    if not settings.uses_sqlite:
        empty = f'psql "$DATABASE_URL" --command="{EMPTY_POSTGRES}"'
        command = f'{empty} && pg_restore --no-owner --exit-on-error --dbname="$DATABASE_URL" {path}'
        raise YoutError(f"Use PostgreSQL's own tools. Stop all processes, then run: {command} – {_DOCS_HINT}")
    if not path.is_file():
        raise InvalidInput(f"There is no file {path}.")
    place = _Place(settings)
    with locked_data_folder(settings.data_dir):
        create_private_folder(place.database.parent)
        with exclusive_database(place.database):
            if place.is_used() and not call.arguments.force:
                raise YoutError(f"{place.database} or {place.media} exists. Add --force to replace them; they are moved aside.")
            try:
                return _restore_to(place, path, settings)
            finally:
                place.clean_up()


class _Place:
    """The paths that a backup is restored to, and those where it is prepared."""

    def __init__(self, settings: Settings) -> None:
        from shared.core.settings import SECRET_KEY_FILE

        self.database = _database_path(settings)
        self.media = settings.data_dir / "media"
        self.secret = settings.data_dir / SECRET_KEY_FILE
        self.new_database = self.database.with_name(f"{self.database.name}.restoring")
        self.new_media = settings.data_dir / "media.restoring"
        self.new_secret = settings.data_dir / f"{SECRET_KEY_FILE}.restoring"

    def is_used(self) -> bool:
        return self.database.exists() or (self.media.is_dir() and any(self.media.iterdir()))

    def swap(self, time: int) -> Path | None:
        """Move the prepared files into place. Returns the folder with the former files, or None if there were none.

        A database is in place at every moment, the former or the new one, and the last step replaces it. So if the process dies
        here, the restore can be repeated, and nothing starts on an empty database meanwhile.
        """
        logs = [self.database.with_name(self.database.name + suffix) for suffix in ("-wal", "-shm")]
        _write_log_into(self.database)
        targets = [(self.new_media, self.media), (self.new_secret, self.secret), (self.new_database, self.database)]
        former = [path for path in (self.database, *logs, self.media, self.secret) if path.exists()]
        former = [path for path in former if path != self.secret or self.new_secret.exists()]
        aside = self.media.parent / f"replaced-{time}"
        if former:
            aside.mkdir(mode=0o700)
        for path in former:
            if path.is_file():
                _copy(path, aside / path.name)
        if self.media.exists():
            shutil.move(self.media, aside / self.media.name)
        for path in logs:
            path.unlink(missing_ok=True)
        for new, target in targets:
            if new.exists():
                new.replace(target)
        return aside if former else None

    def clean_up(self) -> None:
        """Delete prepared files that were not moved into place."""
        shutil.rmtree(self.new_media, ignore_errors=True)
        self.new_secret.unlink(missing_ok=True)
        for suffix in ("", "-wal", "-shm"):
            self.new_database.with_name(self.new_database.name + suffix).unlink(missing_ok=True)


def _write_log_into(path: Path) -> None:
    """Let SQLite write the log of a database into it and delete the log. A damaged database is left as it is."""
    if path.exists():
        with closing(sqlite3.connect(path)) as former, suppress(sqlite3.Error):
            former.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _copy(path: Path, target: Path) -> None:
    """Copy a file without its data if the file system has hard links."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copy2(path, target)


def _restore_to(place: _Place, path: Path, settings: Settings) -> Result:
    from peewee import PeeweeException

    from shared.core.clock import now_ms
    from shared.core.errors import InvalidInput
    from shared.core.secret_key import SecretKey
    from yout.backup_file import SECRET, extract_backup

    place.clean_up()
    manifest = extract_backup(path, place.new_database, place.new_media, place.new_secret)
    has_key = SECRET in manifest.files
    key: str = settings.secret_key  # with the keys before it
    if has_key:
        current = _current_key(place.new_secret, path)
        if settings.secret_key.file is None:  # the environment decides
            place.new_secret.unlink()
        else:
            key = SecretKey(current, file=place.new_secret)
    try:
        prepared = _prepare(place, manifest, key)
    except PeeweeException as error:
        raise InvalidInput(f"The database in {path} is damaged or not one of Yout: {error}. Nothing was changed.") from None
    aside = place.swap(now_ms())
    clean = not prepared["problems"]
    data = {"id": str(path), "created_at": manifest.created_at, **prepared, "clean": clean, "replaced": aside and str(aside)}
    state = "everything adds up" if clean else "PROBLEMS FOUND"
    summary = f"Restored {path} to {place.database}: {prepared['accounts']} accounts, {state}."
    lines = [*prepared["problems"], summary]
    if aside:
        lines.append(f"The former files are in {aside}; delete them when you no longer need them.")
    if not prepared["secret_key_fits"]:
        lines.append(
            "SECRET_KEY is not the key of this backup: set it to that key before you start, or run `yout secret rotate --lost`."
        )
    return Result(data, "\n".join(lines), exit_code=0 if clean else 1)


def _current_key(file: Path, backup: Path) -> str:
    """Return the first key of an extracted key file. Raises `InvalidInput` if there is none."""
    from shared.core.errors import InvalidInput
    from shared.core.secret_key import read_key_file

    try:
        return read_key_file(file)[0]
    except (IndexError, ValueError):
        raise InvalidInput(f"{backup} is damaged: its SECRET_KEY cannot be read.") from None


def _prepare(place: _Place, manifest: Manifest, key: str) -> dict[str, Any]:
    """Migrate and check the extracted database before it is moved into place. Raises `SchemaMismatch` for a newer schema."""
    from shared.core.clock import now_ms
    from shared.core.database import bind_database, database, open_database
    from shared.core.errors import SettingsError
    from shared.core.schema_version import migrate, require_current
    from shared.ledger import sweep
    from shared.ledger.verify import verify_ledger
    from shared.sealed_columns import require_secret_key

    place.new_media.mkdir(mode=0o700, exist_ok=True)
    target = open_database(f"sqlite:///{place.new_database}")
    bind_database(target)
    try:
        with target.connection_context():
            applied = migrate(target)
            require_current(target)
            expired = sweep(now_ms())  # of calls that ran when the backup was made
            report = verify_ledger(now_ms(), key)
            try:
                require_secret_key(target, key)
                fits = True
            except SettingsError:
                fits = False
    finally:
        database.initialize(None)
    with closing(sqlite3.connect(place.new_database)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")  # one file, to be moved
    return {
        "applied": applied,
        "expired_holds": expired,
        "accounts": report.accounts,
        "problems": list(report.problems),
        "media_files": sum(name.startswith("media/") for name in manifest.files),
        "secret_key_fits": fits,
    }


def _database_path(settings: Settings) -> Path:
    from shared.core.database_url import sqlite_path

    return Path(sqlite_path(settings.database_url)).absolute()
