"""Style sheets, scripts and fonts of a web app, in memory and compressed, under one version.

The version is a hash of all files and part of their URLs: `/assets/<version>/chat/app.js`. So browsers may cache them for a year,
and scripts can import each other by relative paths.
"""

from __future__ import annotations

import hashlib
import mimetypes
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from shared.text.compression import compress, is_compressible

VERSION_LENGTH = 16
CACHE_CONTROL = "public, max-age=31536000, immutable"  # with the current version in the URL
UNVERSIONED_CACHE_CONTROL = "public, max-age=300"
_IMPORT = re.compile(r"""^\s*(?:import|export)\b(?:[^"'();]*?\bfrom)?\s*["']([^"']+)["']""", re.MULTILINE)
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".woff2": "font/woff2"}  # mimetypes depends on the system


class StaticFile:
    """A file in memory. Each compressed form is created on first use."""

    def __init__(self, name: str, data: bytes) -> None:
        self.data = data
        kind = _TYPES.get(PurePosixPath(name).suffix) or mimetypes.guess_type(name)[0] or "text/plain"  # license files
        self.content_type = f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
        self.digest = hashlib.sha256(self.data).hexdigest()
        self.compressible = is_compressible(self.content_type)
        self._compressed: dict[str, bytes] = {}

    def compressed(self, coding: str) -> bytes:
        """Return the compressed file. The first call takes up to half a second."""
        if coding not in self._compressed:
            self._compressed[coding] = compress(self.data, coding, once=True)
        return self._compressed[coding]

    def is_ready(self, coding: str) -> bool:
        """Return whether `compressed` returns at once."""
        return coding in self._compressed

    def etag(self, coding: str | None) -> str:
        """Return the ETag, without quotes. It differs between the compressed forms, as RFC 9110 requires."""
        return f"{self.digest[:VERSION_LENGTH]}-{coding}" if coding else self.digest[:VERSION_LENGTH]


class StaticFiles:
    """All files below some folders, and `generated` ones, by name."""

    def __init__(self, *folders: Path, generated: Mapping[str, bytes] | None = None) -> None:
        paths = [(folder, path) for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
        found = {path.relative_to(folder).as_posix(): path.read_bytes() for folder, path in paths}
        self._files = {name: StaticFile(name, data) for name, data in {**found, **(generated or {})}.items()}
        names = "".join(f"{name} {file.digest}\n" for name, file in self._files.items())
        self.version = hashlib.sha256(names.encode()).hexdigest()[:VERSION_LENGTH]
        self._modules: dict[str, list[str]] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def find(self, name: str) -> StaticFile | None:
        """Return a file by its path, such as `chat/app.js`."""
        return self._files.get(name)

    def path(self, name: str) -> str:
        """Return `name` behind the version. Raises `KeyError` if there is no such file."""
        if name not in self._files:
            raise KeyError(name)
        return f"{self.version}/{name}"

    def split_version(self, path: str) -> tuple[str, bool]:
        """Return the file's name, and whether `path` has the current version.

        Old versions count as no version: during a deployment, a page from another process may load its files here.
        """
        version, _, rest = path.partition("/")
        if len(version) == VERSION_LENGTH and set(version) <= set("0123456789abcdef"):
            return rest, version == self.version
        return path, False

    def modules(self, name: str) -> list[str]:
        """Return an ES module and all modules that it imports statically. Raises `KeyError` if one does not exist."""
        if name not in self._modules:
            found: list[str] = []
            waiting = [name]
            while waiting:
                module = waiting.pop(0)
                if module not in found:
                    found.append(module)
                    waiting += [_resolve(module, target) for target in _IMPORT.findall(self._files[module].data.decode())]
            self._modules[name] = found
        return self._modules[name]


def _resolve(module: str, target: str) -> str:
    """Return the path of an imported file: `./b.js` in `chat/a.js` is `chat/b.js`."""
    parts = module.split("/")[:-1]
    for step in target.split("/"):
        if step == "..":
            parts.pop()
        elif step != ".":
            parts.append(step)
    return "/".join(parts)
