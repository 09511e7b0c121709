"""Canaries are found in every form in which a product could store them, and named."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Callable
from urllib.parse import quote

import pytest

from yout.proof.canary import Finder, Found, new_prefix

PREFIX = "k3v9q0x7m2c8b1z"
FINDER = Finder(PREFIX, {"prompt": f"{PREFIX}prompt", "header": f"{PREFIX}header"}, {"API key": "yout-0A1b2C3d4E5f6G7h"})
SAID = f"say {PREFIX}prompt, please"


def escaped(text: str) -> bytes:
    return "".join(f"\\u{ord(letter):04X}" for letter in text).encode()


@pytest.mark.parametrize(
    ("store", "form"),
    [
        (str.encode, "plain"),
        (lambda text: text.upper().encode(), "plain"),
        (lambda text: json.dumps({"a": [text]}).encode(), "plain"),
        (lambda text: quote(text).encode(), "plain"),
        (lambda text: text.encode().hex().encode(), "hex"),
        (lambda text: text.encode().hex().upper().encode(), "hex"),
        (lambda text: base64.b64encode(text.encode()), "base64"),
        (lambda text: base64.b64encode(b"x" + text.encode()), "base64"),
        *(
            (lambda text, level=level: base64.b64encode(zlib.compress(text.encode() * 40, level)), "plain, base64, compressed")
            for level in (1, 6, 9)
        ),
        (lambda text: base64.urlsafe_b64encode(b"xy" + text.encode()), "base64"),
        (escaped, "JSON escapes"),
        (lambda text: "".join(f"%{byte:02X}" for byte in text.encode()).encode(), "percent-encoded"),
        (lambda text: text.encode("utf-16"), "UTF-16"),
        (lambda text: b"before" + gzip.compress(text.encode()) + b"after", "plain, compressed"),
        (lambda text: b"before" + zlib.compress(text.encode(), 9), "plain, compressed"),
        (lambda text: gzip.compress(zlib.compress(text.encode())), "plain, compressed, compressed"),
        (lambda text: b'{"a": "' + base64.b64encode(zlib.compress(text.encode())) + b'"}', "plain, base64, compressed"),
        (lambda text: base64.urlsafe_b64encode(gzip.compress(text.encode())), "plain, base64, compressed"),
    ],
)
def test_forms(store: Callable[[str], bytes], form: str) -> None:
    assert FINDER.find(store(SAID)) == {Found("prompt", form)}


def test_other_data_has_none() -> None:
    for data in (b"", b"prompt header", zlib.compress(b"x" * 10_000), bytes(range(256)) * 50, PREFIX[:-1].encode()):
        assert FINDER.find(data) == set()


def test_everything_in_one_piece_is_named() -> None:
    data = f"{PREFIX}header {PREFIX}prompt yout-0A1b2C3d4E5f6G7h".encode()
    assert FINDER.find(data) == {Found("header", "plain"), Found("prompt", "plain"), Found("API key", "plain")}
    assert FINDER.find(b"yout-0A1b2C3d4E5f6G7h") == {Found("API key", "plain")}


def test_a_truncated_canary_is_found() -> None:
    assert FINDER.find(f"{PREFIX}pro".encode()) == {Found("truncated", "plain")}


def test_prefixes_are_unguessable() -> None:
    assert len({new_prefix() for _ in range(1_000)}) == 1_000
    assert new_prefix().isalnum()
