"""The endpoint POST /v1/embeddings."""

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from embedded.catalog import EMBEDDING
from embedded.errors import invalid_request
from embedded.json_http import json_response, optional_choice, read_object, require_model
from embedded.minilm import DIMENSIONS, MiniLM, Tokens
from embedded.model_loader import ModelLoader
from shared.tokenizer import cl100k

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

MAX_INPUTS = 2048  # OpenAI's limit
MAX_TOKENS = 300_000  # per request, OpenAI's limit
MAX_INPUT_TOKENS = EMBEDDING.context_window


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """Each input is a text or a list of token ids."""

    inputs: list[str | list[int]]
    as_base64: bool


class Embeddings:
    """The endpoint and its model."""

    def __init__(self, offer: ModelLoader) -> None:
        self._offer = offer
        self._model = MiniLM()

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/embeddings", self._create)]

    async def _create(self, http: web.Request) -> web.Response:
        request = read_embedding_request(await read_object(http))
        self._offer.require_available()
        tokens = await self._offer.run(self._tokenize, request.inputs)
        _check_lengths(tokens)
        # Each text is a separate call to the model's thread, so that requests take turns, and a disconnected client stops using
        # it.
        vectors = [await self._offer.run(self._model.embed, one) for one in tokens]
        return json_response(_body(vectors, sum(len(one.ids) for one in tokens), request.as_base64))

    def _tokenize(self, inputs: list[str | list[int]]) -> list[Tokens]:
        """Tokenize with the model's tokenizer; input token ids are first decoded to text. Runs in the model's thread."""
        return self._model.tokenize([one if isinstance(one, str) else _text(one, place) for place, one in enumerate(inputs)])


def _text(ids: list[int], place: int) -> str:
    try:
        return cl100k.decode(ids)
    except LookupError:
        raise invalid_request(
            "input",
            f"Input {place} contains an ID that is not a cl100k_base token. Send 'input' as text "
            "(in LangChain: check_embedding_ctx_length=False).",
        ) from None


def read_embedding_request(body: dict[str, Any]) -> EmbeddingRequest:
    """Validate the body. Raises ApiError 400 that names the field."""
    require_model(body, EMBEDDING)
    if body.get("dimensions") not in (None, DIMENSIONS):
        raise invalid_request("dimensions", f"'dimensions' must be {DIMENSIONS} for {EMBEDDING.id}.")
    as_base64 = optional_choice(body, "encoding_format", ("float", "base64"), "float") == "base64"
    return EmbeddingRequest(_inputs(body.get("input")), as_base64)


def _inputs(given: Any) -> list[str | list[int]]:
    inputs = [given] if isinstance(given, str) or _is_ids(given) else given
    if not isinstance(inputs, list) or not inputs:
        raise invalid_request("input", "'input' must be a string or a non-empty list of strings.")
    if len(inputs) > MAX_INPUTS:
        raise invalid_request("input", f"'input' allows at most {MAX_INPUTS} texts, but has {len(inputs)}.")
    if not all(isinstance(text, str) and text for text in inputs) and not all(_is_ids(ids) for ids in inputs):
        raise invalid_request("input", "'input' must contain only non-empty strings, or only lists of token IDs.")
    return inputs


def _is_ids(given: Any) -> bool:
    return isinstance(given, list) and bool(given) and all(type(id) is int for id in given)


def _check_lengths(tokens: list[Tokens]) -> None:
    for place, one in enumerate(tokens):
        if len(one.ids) > MAX_INPUT_TOKENS:
            raise invalid_request(
                f"input[{place}]" if len(tokens) > 1 else "input",
                f"This model's maximum context length is {MAX_INPUT_TOKENS} tokens, but input {place} has {len(one.ids)}. "
                "Shorten it.",
                "context_length_exceeded",
            )
    total = sum(len(one.ids) for one in tokens)
    if total > MAX_TOKENS:
        raise invalid_request(
            "input", f"A request allows at most {MAX_TOKENS} tokens, but this one has {total}.", "max_tokens_per_request"
        )


def _body(vectors: "list[NDArray[numpy.float32]]", tokens: int, as_base64: bool) -> dict[str, Any]:
    shown = [base64.b64encode(vector.tobytes()).decode() if as_base64 else vector.tolist() for vector in vectors]
    data = [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(shown)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": EMBEDDING.id, "usage": usage}
