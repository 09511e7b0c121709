"""The file format of backups: a compressed tar archive with the database, media files and a manifest of checksums.

manifest.json    format, time, schema, and the SHA-256 and size of every other file; the last member
yout.db          the database
media/…          media files, by storage key
secret.key       SECRET_KEY, and former keys that may still be needed, one to a line; only if requested
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from shared.core.errors import InvalidInput

FORMAT = 1
DATABASE, MANIFEST, SECRET, MEDIA = "yout.db", "manifest.json", "secret.key", "media/"
_MEDIA_NAME = re.compile(r"media/[0-9a-f]{2}/[0-9a-f]{64}(-thumbnail)?")
_PIECE = 1 << 20
# Errors raised by a damaged archive, or by a manifest with unexpected types.
_DAMAGE = (tarfile.TarError, EOFError, OSError, RecursionError, ValueError, KeyError, TypeError, AttributeError)


class Manifest(NamedTuple):
    """What a backup contains. `files` maps names to (SHA-256, size); `created_at` is in ms UTC."""

    created_at: int
    schema: str
    files: dict[str, tuple[str, int]]


class BackupWriter:
    """Adds files to a new archive. `write_backup` creates it."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self.files: dict[str, tuple[str, int]] = {}

    def add(self, name: str, size: int, pieces: Iterable[bytes]) -> None:
        """Add a file of exactly `size` bytes."""
        source = _Hashing(iter(pieces))
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o600
        self._archive.addfile(info, source)  # type: ignore[arg-type]  # it only calls read(size)
        self.files[name] = (source.digest.hexdigest(), size)


@contextmanager
def write_backup(path: Path, created_at: int, schema: str) -> Iterator[BackupWriter]:
    """Write a backup to `path`, readable only by its owner. An existing file is replaced once the new one is complete."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
                writer = BackupWriter(archive)
                yield writer
                manifest = {"format": FORMAT, "created_at": created_at, "schema": schema, "files": writer.files}
                text = json.dumps(manifest).encode()
                info = tarfile.TarInfo(MANIFEST)
                info.size = len(text)
                archive.addfile(info, io.BytesIO(text))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def extract_backup(path: Path, database: Path, media: Path, secret: Path) -> Manifest:
    """Extract a backup to these paths, and check every file against the manifest. Raises `InvalidInput` if it is damaged."""
    found: dict[str, tuple[str, int]] = {}
    manifest: Any = None
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                source = archive.extractfile(member) if member.isreg() else None
                if source is None:
                    raise InvalidInput(f"{path} is not a backup of Yout: it has the entry {member.name!r}.")
                if member.name == MANIFEST:
                    manifest = json.load(source)
                    continue
                found[member.name] = _extract(member.name, source, database, media, secret)
        if manifest is None or manifest["format"] != FORMAT:
            raise InvalidInput(f"{path} is incomplete, or was made by a newer release of Yout.")
        expected = {str(name): (digest, size) for name, (digest, size) in manifest["files"].items()}
        made = Manifest(int(manifest["created_at"]), str(manifest["schema"]), expected)
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.filename:  # a problem of this machine, not of the archive
            raise
        raise InvalidInput(f"{path} is damaged or not a backup of Yout: {error}.") from None
    wrong = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
    if wrong or DATABASE not in found:
        raise InvalidInput(
            f"{path} is damaged: {len(wrong)} files differ from their checksums, such as {(wrong or [DATABASE])[0]}."
        )
    return made


def _extract(name: str, source: IO[bytes], database: Path, media: Path, secret: Path) -> tuple[str, int]:
    if name == DATABASE:
        target = database
    elif name == SECRET:
        target = secret
    elif _MEDIA_NAME.fullmatch(name):  # nothing can be written outside the folder
        target = media / name.removeprefix(MEDIA)
    else:
        raise ValueError(f"it has the entry {name!r}")
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        while piece := source.read(_PIECE):
            file.write(piece)
            digest.update(piece)
            size += len(piece)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest(), size


def file_pieces(path: Path) -> Iterator[bytes]:
    """Yield the content of a file."""
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


class _Hashing:
    """Wraps pieces of bytes as a readable file, and computes their digest."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (piece := next(self._pieces, b"")):
            self._rest += piece
        data, self._rest = self._rest[:size], self._rest[size:]
        self.digest.update(data)
        return data
