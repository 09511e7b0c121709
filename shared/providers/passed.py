"""What is passed on to vendors who have it, in OpenAI's shape, and priced by the call: moderations and transcriptions. Pure."""

from __future__ import annotations

import orjson

from shared.nesting import too_deep
from shared.providers.base import Answer, ChatCall, MalformedStream, StreamReader, Target, VendorError, VendorRequest
from shared.providers.openai import read_openai_error, request_headers
from shared.usage import PartialUsage


class Passed:
    """A `Dialect` for calls whose answer is a JSON object that is passed on, its `model` the caller's name of it."""

    def __init__(self, path: str) -> None:
        self._path = path

    def request(self, call: ChatCall, target: Target) -> VendorRequest:
        """The vendor's request for `call`: model renamed."""
        body = {**call.body, "model": target.route.upstream_model}
        return VendorRequest("POST", target.route.base_url + self._path, request_headers(target), orjson.dumps(body))

    def read_answer(self, data: bytes, call: ChatCall, call_id: str, began: int) -> Answer:  # noqa: ARG002  (not in the shape)
        """Read the object. Raises `MalformedStream` when it is none."""
        try:
            body = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise MalformedStream("not JSON") from None
        if not isinstance(body, dict) or not body or too_deep(data, body):
            raise MalformedStream("no object that can be passed on")
        if "model" in body:
            body["model"] = call.model
        return Answer(body, PartialUsage(), "", delivered=True)

    def read_stream(self, call: ChatCall, call_id: str, began: int) -> StreamReader:
        """No call asks for a stream of these."""
        raise NotImplementedError

    def read_error(self, status: int, data: bytes, call: ChatCall, target: Target) -> VendorError:
        """Read an error answer, as that of a chat."""
        return read_openai_error(status, data, call.model, target)


class Upload(Passed):
    """The same with a form: `call.body` is `{"parts": ((head, content), …)}`, its field `model` left out."""

    def request(self, call: ChatCall, target: Target) -> VendorRequest:
        """The vendor's request for `call`: the caller's parts, and the vendor's name of the model."""
        boundary = f"yout-{call.body['boundary']}"
        model = (b'Content-Disposition: form-data; name="model"', target.route.upstream_model.encode())
        parts = [b"--%s\r\n%s\r\n\r\n%s\r\n" % (boundary.encode(), *part) for part in (model, *call.body["parts"])]
        headers = dict(request_headers(target)) | {"content-type": f"multipart/form-data; boundary={boundary}"}
        body = b"".join(parts) + b"--%s--\r\n" % boundary.encode()
        return VendorRequest("POST", target.route.base_url + self._path, tuple(headers.items()), body)


MODERATIONS = Passed("/moderations")
TRANSCRIPTIONS = Upload("/audio/transcriptions")
