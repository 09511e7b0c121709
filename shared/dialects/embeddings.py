"""Embeddings as OpenAI and all who copy it speak them. Pure.

A channel's `settings` are those of the `openai` dialect (`body`, `headers`). The caller's `encoding_format` is passed on, so that
most answers need no conversion; the answer of a vendor that ignores it is converted.
"""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from typing import Any

import orjson

from shared.billing.token_usage import read_openai_usage
from shared.dialects.base import Answer, ChatCall, MalformedStream, Target, VendorRequest
from shared.dialects.nonstreaming import AnsweredWhole
from shared.dialects.openai import request_headers


class Embeddings(AnsweredWhole):
    """A `Dialect` for calls of the kind `embedding`. `call.choices` is the number of inputs."""

    def request(self, call: ChatCall, target: Target) -> VendorRequest:
        """The vendor's request for `call`: model renamed, identity replaced."""
        body = {**call.body, "model": target.route.upstream_model}
        if body.get("user") is not None:
            body["user"] = target.pseudonym(str(body["user"]))
        body.update(target.route.settings.get("body") or {})
        return VendorRequest("POST", f"{target.route.base_url}/embeddings", request_headers(target), orjson.dumps(body))

    def read_answer(self, data: bytes, call: ChatCall, call_id: str, began: int) -> Answer:  # noqa: ARG002  (a list has neither)
        """Read a list of embeddings, one for each input, in order. Raises `MalformedStream` when it is none."""
        try:
            body = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise MalformedStream("not JSON") from None
        rows = body.get("data") if isinstance(body, dict) else None
        if not isinstance(rows, list) or len(rows) != call.choices or not all(isinstance(row, dict) for row in rows):
            raise MalformedStream("not an embedding for each input")
        wanted = call.body.get("encoding_format") or "float"
        made: list[Any] = [None] * call.choices
        for place, row in enumerate(rows):
            index = row.get("index", place)
            if type(index) is not int or not 0 <= index < call.choices or made[index] is not None:
                raise MalformedStream("an index that no input has")
            made[index] = {"object": "embedding", "index": index, "embedding": _encoded(row.get("embedding"), wanted)}
        answer = {"object": "list", "data": made, "model": call.model}
        return Answer(answer, read_openai_usage(body.get("usage")), "", delivered=True)


EMBEDDINGS = Embeddings()


def _encoded(vector: object, wanted: str) -> Any:
    """`vector` as the caller wants it: a list of numbers, or its 32-bit floats, little-endian, in base64."""
    if isinstance(vector, str):
        if wanted == "base64":
            return vector
        try:
            return _floats(base64.b64decode(vector, validate=True)).tolist()
        except (binascii.Error, ValueError):
            raise MalformedStream("an embedding that is not base64 of floats") from None
    if not isinstance(vector, list) or not vector:
        raise MalformedStream("an embedding that is no list of numbers")
    try:
        floats = array("f", vector)
    except TypeError:
        raise MalformedStream("an embedding that is no list of numbers") from None
    return base64.b64encode(_little_endian(floats).tobytes()).decode() if wanted == "base64" else vector


def _floats(data: bytes) -> array[float]:
    floats = array("f")
    floats.frombytes(data)
    return _little_endian(floats)


def _little_endian(floats: array[float]) -> array[float]:
    if sys.byteorder == "big":
        floats.byteswap()
    return floats
