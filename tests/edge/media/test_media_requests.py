"""Parsing a body into a media call: the priced units, what may be stored of it, and what is rejected."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.http.body_types import check_body
from edge.media.requests import JOBS, media_call, parse_native_request
from shared.billing.pricing import MediaUnits
from shared.core.errors import InvalidRequest

PROMPT = "a lighthouse"


@pytest.mark.parametrize(
    ("kind", "fields", "units", "options"),
    [
        ("image", {"prompt": PROMPT}, MediaUnits(1), {"n": 1}),
        ("image", {"prompt": PROMPT, "n": 3, "output_format": "webp"}, MediaUnits(3), {"n": 3, "format": "webp"}),
        ("image", {"prompt": PROMPT, "size": "auto"}, MediaUnits(1), {"n": 1, "size": "auto"}),
        ("speech", {"input": "Grüße"}, MediaUnits(characters=5), {"characters": 5, "format": "mp3"}),
        ("speech", {"input": "🙂", "response_format": "pcm"}, MediaUnits(characters=1), {"characters": 1, "format": "pcm"}),
        ("video", {"prompt": PROMPT}, MediaUnits(seconds=4), {"seconds": 4}),
        ("video", {"prompt": PROMPT, "seconds": "12", "size": "80x64"}, MediaUnits(seconds=12), {"seconds": 12, "size": "80x64"}),
    ],
)  # fmt: skip
def test_priced_units_of_a_call(kind: str, fields: dict[str, Any], units: MediaUnits, options: dict[str, Any]) -> None:
    call, callback = parse_native_request(kind, orjson.dumps({"model": "m", **fields}))
    assert (call.units, call.options, callback) == (units, options, None)


@pytest.mark.parametrize(
    ("kind", "fields", "param"),
    [
        ("image", {"prompt": "  "}, "prompt"),
        ("image", {"prompt": "x" * 32_001}, "prompt"),
        ("image", {"prompt": PROMPT, "n": 0}, "n"),
        ("image", {"prompt": PROMPT, "n": 2**63}, "n"),
        ("image", {"prompt": PROMPT, "n": -1}, "n"),
        ("image", {"prompt": PROMPT, "n": 1.0}, "n"),
        ("speech", {"input": PROMPT, "speed": 9}, "speed"),
        ("speech", {"input": PROMPT, "voice": 3}, "voice"),
        ("speech", {"input": PROMPT, "response_format": "midi"}, "response_format"),
        ("video", {"prompt": PROMPT, "seconds": 61}, "seconds"),
        ("video", {"prompt": PROMPT, "seconds": "-4"}, "seconds"),
        ("video", {"prompt": PROMPT, "seconds": "4.5"}, "seconds"),
        ("video", {"prompt": PROMPT, "seconds": True}, "seconds"),
        ("video", {"prompt": PROMPT, "size": f"{PROMPT}"}, "size"),
    ],
)
def test_rejected_bodies(kind: str, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        parse_native_request(kind, orjson.dumps({"model": "m", **fields}))
    assert refusal.value.param == param


values = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12) | st.lists(st.text(max_size=3))
)


@given(st.sampled_from(sorted(JOBS)), st.data())
def test_any_body_is_parsed_or_rejected_and_no_text_is_kept(kind: str, data: st.DataObject) -> None:
    declared = JOBS[kind].__base__
    fields = declared.__struct_fields__
    body = data.draw(st.fixed_dictionaries({}, optional=dict.fromkeys((*fields, "colour"), values)))
    body |= data.draw(st.sampled_from([{}, {"model": "m", "prompt": PROMPT, "input": PROMPT}]))
    try:
        call = media_call(body, check_body(body, declared))
    except InvalidRequest as refusal:
        call, named = None, refusal.param
    if call is None:
        assert named in fields
        return
    assert all(number >= 0 and type(number) is int for number in call.units)
    assert PROMPT not in repr(call.options)
    assert all(isinstance(value, int) or len(value) <= 11 for value in call.options.values())
