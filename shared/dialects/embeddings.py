"""Embeddings in OpenAI's format. Pure.

A channel's `settings` are those of the `openai` dialect (`body`, `headers`). `encoding_format` is passed on, so most responses
need no conversion; responses of providers that ignore it are converted.
"""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from typing import Any

import orjson

from shared.billing.token_usage import read_openai_usage
from shared.dialects.base import Answer, ChatCall, MalformedStream
from shared.dialects.nonstreaming import NonStreamingDialect


class Embeddings(NonStreamingDialect):
    """A `Dialect` for calls of the kind `embedding`. `call.choices` is the number of inputs."""

    path = "/embeddings"

    def parse_response(self, data: bytes, call: ChatCall, call_id: str, created: int) -> Answer:  # noqa: ARG002  (a list has neither)
        """Parse a list with one embedding per input, in order. Raises `MalformedStream` if it is invalid."""
        try:
            body = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise MalformedStream("not JSON") from None
        rows = body.get("data") if isinstance(body, dict) else None
        if not isinstance(rows, list) or len(rows) != call.choices or not all(isinstance(row, dict) for row in rows):
            raise MalformedStream("the number of embeddings differs from the number of inputs")
        encoding = call.body.get("encoding_format") or "float"
        made: list[Any] = [None] * call.choices
        for place, row in enumerate(rows):
            index = row.get("index", place)
            if type(index) is not int or not 0 <= index < call.choices or made[index] is not None:
                raise MalformedStream("an index without an input")
            made[index] = {"object": "embedding", "index": index, "embedding": _encoded(row.get("embedding"), encoding)}
        answer = {"object": "list", "data": made, "model": call.model}
        return Answer(answer, read_openai_usage(body.get("usage")), "", delivered=True)


EMBEDDINGS = Embeddings()


def _encoded(vector: object, encoding: str) -> Any:
    """Return `vector` in the requested encoding: a list of numbers, or base64 of 32-bit little-endian floats."""
    if isinstance(vector, str):
        if encoding == "base64":
            return vector
        try:
            return _floats(base64.b64decode(vector, validate=True)).tolist()
        except (binascii.Error, ValueError):
            raise MalformedStream("an embedding that is not base64-encoded floats") from None
    if not isinstance(vector, list) or not vector:
        raise MalformedStream("an embedding that is not a list of numbers")
    try:
        floats = array("f", vector)
    except TypeError:
        raise MalformedStream("an embedding that is not a list of numbers") from None
    return base64.b64encode(_little_endian(floats).tobytes()).decode() if encoding == "base64" else vector


def _floats(data: bytes) -> array[float]:
    floats = array("f")
    floats.frombytes(data)
    return _little_endian(floats)


def _little_endian(floats: array[float]) -> array[float]:
    if sys.byteorder == "big":
        floats.byteswap()
    return floats
