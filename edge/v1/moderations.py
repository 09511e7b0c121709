"""`POST /v1/moderations`: verdicts of a model on texts and pictures."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from edge.call.admission import Caller
from edge.call.endpoint_adapter import Asked, Events, Surface, Unstreamed, spent
from edge.call.exchange import Finished
from edge.call.requests import IMAGE_TOKENS
from edge.http.api_spec import ANY, OPEN, SPENT, STRING, Answer, array, declare_call, example, open_wish, record, text
from edge.http.fields import LONGEST_MODEL, json_object, model_of
from edge.services import Services
from shared.core.clock import now_ms
from shared.core.errors import InvalidRequest
from shared.dialects.base import ChatCall

MOST_INPUTS = 2_048
KIND = "moderation"


def read(data: bytes) -> ChatCall:
    """The call that a body asks for; its model is "" where the body names none. Raises `InvalidRequest`."""
    body = json_object(data)
    model = model_of(body) if body.get("model") is not None else ""
    for name in ("user", "safety_identifier"):
        if body.get(name) is not None and not isinstance(body[name], str):
            raise InvalidRequest(f"'{name}' must be a string.", name)
    if body.get("stream"):
        raise InvalidRequest("Moderations do not stream. Leave out 'stream'.", "stream")
    verdicts, pictures, heavy = _measure(body.get("input"))
    light = len(data) - heavy
    return ChatCall(
        model=model,
        body=body,
        stream=False,
        include_usage=False,
        choices=verdicts,
        output_limit=0,
        input_bound=light + pictures * IMAGE_TOKENS,
        input_estimate=light // 4 + pictures * IMAGE_TOKENS // 3 + 1,
        kind=KIND,
    )


def _measure(value: object) -> tuple[int, int, int]:
    """How many verdicts are asked for, how many pictures there are, and how many bytes these are."""
    if isinstance(value, str) and value:
        return 1, 0, 0
    if not isinstance(value, list) or not value:
        raise InvalidRequest("'input' must be a text, a list of texts, or a list of parts with a 'type'.", "input")
    if len(value) > MOST_INPUTS:
        raise InvalidRequest(f"'input' has {len(value)} inputs; {MOST_INPUTS} are allowed at once.", "input")
    if isinstance(value[0], str):
        for index, item in enumerate(value):
            if not isinstance(item, str) or not item:
                raise InvalidRequest(f"'input[{index}]' must be a text that is not empty, as the first is.", f"input[{index}]")
        return len(value), 0, 0
    sizes = [_picture(item, f"input[{index}]") for index, item in enumerate(value)]
    found = [size for size in sizes if size]
    return 1, len(found), sum(found)  # all parts are judged as one


def _picture(part: Any, where: str) -> int:
    """The length of a part's picture; 0 for a text."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        if not isinstance(part.get("text"), str) or not part["text"]:
            raise InvalidRequest(f"'{where}.text' must be a text that is not empty.", f"{where}.text")
        return 0
    if kind == "image_url":
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, dict) else None
        if not isinstance(url, str) or not url:
            raise InvalidRequest(f"'{where}.image_url' must be an object with a 'url'.", f"{where}.image_url")
        return len(url)
    raise InvalidRequest(f"'{where}' must be a part of the type text or image_url.", where)


class Verdicts(Unstreamed):
    """The renderer of an answer, which is the vendor's."""

    __slots__ = ()

    def whole(self, event: Finished) -> dict[str, Any]:
        """The verdicts in the order of their inputs."""
        return {**event.body, "yout": spent(event)}


class OnlyModel:
    """Beside a call that names no model: the only one that its key may use is taken."""

    def __init__(self, call: ChatCall) -> None:
        self._call = call

    async def open(self, services: Services, caller: Caller) -> ChatCall:
        """The call with its model. Raises `InvalidRequest` unless there is exactly one, and what speaks against the key."""
        key = await services.keys.look_up(caller.digest)
        now = now_ms()
        found = sorted(m.id for m in services.catalog.models.values() if m.kind == KIND and key.may_use(m, now))
        if len(found) == 1:
            return self._call._replace(model=found[0])
        which = f"Name one as 'model': {', '.join(found)}." if found else "There is no moderation model that this key may use."
        raise InvalidRequest(which, "model")

    def keep(self, services: Services, model: str, events: Events) -> Events:  # noqa: ARG002  (as `Beside` has it)
        """Nothing is kept."""
        return events


def _open(data: bytes, _: UUID) -> Asked:
    call = read(data)
    return Asked(call, Verdicts(), None if call.model else OnlyModel(call))


DECLARATION = declare_call(
    "Judge texts and pictures, as OpenAI's API does",
    Answer(
        record({"id": STRING, "model": STRING, "results": array(OPEN), "yout": SPENT}),
        "A verdict for each text, or one for all parts.",
    ),
    body=example(
        open_wish(
            {"input": ANY, "model": text(LONGEST_MODEL), "user": STRING, "safety_identifier": STRING},
            required=("input",),
        ),
        {"model": "$moderation", "input": ["Hello"]},
    ),
    notes="Without `model`, the moderation model of the key judges, if there is exactly one.",
)
MODERATIONS = Surface(_open, declaration=DECLARATION)
