"""SECRET_KEY, and the former keys that can still decrypt during a rotation. Pure, except for the key file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

MAX_KEYS = 3  # in a key file: the current key and the two before it


class SecretKey(str):
    """The current key. Values are encrypted with it, and decrypted with it or with one of the others.

    The others are `fallback`, and the keys in `file`, which is read again when a value cannot be decrypted: a process that
    started before `yout secret rotate` can therefore decrypt newer values.
    """

    fallback: str
    file: Path | None

    def __new__(cls, key: str, fallback: str = "", file: Path | None = None) -> SecretKey:
        made = super().__new__(cls, key)
        made.fallback, made.file = fallback, file
        return made


def decryption_keys(secret_key: str) -> Iterator[str]:
    """Yield the keys to try, the current one first."""
    yield secret_key
    if isinstance(secret_key, SecretKey):
        if secret_key.fallback:
            yield secret_key.fallback
        if secret_key.file is not None:
            yield from (key for key in read_key_file(secret_key.file) if key != secret_key)


def read_key_file(path: Path) -> list[str]:
    """Return the keys in a key file, the current one first; none if there is no such file. Raises `OSError`."""
    if not path.is_file():
        return []
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]
