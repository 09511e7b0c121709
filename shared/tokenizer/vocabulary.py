"""Reads the packed vocabularies in this folder. As in tiktoken, each line has a token in base64 and its rank."""

from __future__ import annotations

import hashlib
import io
import lzma
from binascii import a2b_base64
from pathlib import Path


def read_ranks(path: Path, sha256: str) -> dict[bytes, int]:
    """Return the rank of each token. Raises `ValueError` if the file is damaged."""
    data = lzma.decompress(path.read_bytes())
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{path} is damaged: its SHA-256 is wrong")
    lines = io.BytesIO(data)  # `splitlines` would hold 200,000 lines in memory
    return {a2b_base64(token): int(rank) for token, rank in map(bytes.split, lines)}
