"""POST /v1/embeddings."""

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from workers.local.catalogue import EMBEDDING
from workers.local.errors import invalid
from workers.local.minilm import DIMENSIONS, MiniLM, Tokens
from workers.local.offer import Offer
from workers.local.wire import choice, json_reply, read_object, require_model

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

MOST_INPUTS = 2048  # as OpenAI
MOST_TOKENS = 300_000  # of a request, as OpenAI
LONGEST = EMBEDDING.context_window


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    texts: list[str]
    as_base64: bool


class Embeddings:
    """The endpoint and its model."""

    def __init__(self, offer: Offer) -> None:
        self._offer = offer
        self._model = MiniLM()

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/embeddings", self._create)]

    async def _create(self, http: web.Request) -> web.Response:
        request = read_embedding_request(await read_object(http))
        self._offer.require()
        tokens = await self._offer.run(self._model.tokenize, request.texts)
        _check_lengths(tokens)
        # Each text is a turn of its own in the model's thread: others get theirs, and a client that leaves frees it.
        vectors = [await self._offer.run(self._model.embed, one) for one in tokens]
        return json_reply(_body(vectors, sum(len(one.ids) for one in tokens), request.as_base64))


def read_embedding_request(body: dict[str, Any]) -> EmbeddingRequest:
    """Check the body. Raises ApiError 400 that names the field."""
    require_model(body, EMBEDDING)
    if body.get("dimensions") not in (None, DIMENSIONS):
        raise invalid("dimensions", f"{EMBEDDING.id} has {DIMENSIONS} dimensions: leave out 'dimensions'.")
    as_base64 = choice(body, "encoding_format", ("float", "base64"), "float") == "base64"
    return EmbeddingRequest(_texts(body.get("input")), as_base64)


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise invalid("input", "Give 'input' as a string, or as a list of strings that is not empty.")
    if any(isinstance(text, int | list) for text in texts):
        raise invalid(
            "input",
            f"{EMBEDDING.id} has a vocabulary of its own and takes no token ids: give 'input' as text "
            "(in LangChain: check_embedding_ctx_length=False).",
        )
    if len(texts) > MOST_INPUTS:
        raise invalid("input", f"'input' takes at most {MOST_INPUTS} texts, but has {len(texts)}.")
    for text in texts:
        if not isinstance(text, str) or not text:
            raise invalid("input", "Every text of 'input' must be a string that is not empty.")
    return texts


def _check_lengths(tokens: list[Tokens]) -> None:
    for place, one in enumerate(tokens):
        if len(one.ids) > LONGEST:
            raise invalid(
                "input",
                f"This model's maximum context length is {LONGEST} tokens, but the text at place {place} has {len(one.ids)}. "
                "Shorten it.",
                "context_length_exceeded",
            )
    total = sum(len(one.ids) for one in tokens)
    if total > MOST_TOKENS:
        raise invalid(
            "input", f"A request takes at most {MOST_TOKENS} tokens, but this one has {total}.", "max_tokens_per_request"
        )


def _body(vectors: "list[NDArray[numpy.float32]]", tokens: int, as_base64: bool) -> dict[str, Any]:
    shown = [base64.b64encode(vector.tobytes()).decode() if as_base64 else vector.tolist() for vector in vectors]
    data = [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(shown)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": EMBEDDING.id, "usage": usage}
