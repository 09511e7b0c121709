"""The embedded provider's app: routes, API key check, and error responses."""

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from embedded.catalog import DEMO_ECHO, DEMO_IMAGE, DEMO_SPEECH, DEMO_VIDEO, EMBEDDING, ENTRIES, SMOLLM2, CatalogEntry
from embedded.chat_request import read_chat_request
from embedded.demo import DemoEcho
from embedded.embeddings import Embeddings
from embedded.errors import ApiError, server_error
from embedded.generation_events import Model
from embedded.images import OUTPUTS, Images
from embedded.json_http import decode_json, json_response, model_not_found
from embedded.model_loader import ModelLoader
from embedded.responses import send_response
from embedded.smollm import SmolLM
from embedded.speech import Speech
from embedded.videos import Videos

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 4 * 2**20
CREATED = 1_730_419_200  # when SmolLM2 was published, Unix seconds


def create_app(smollm: SmolLM, api_key: str | None, load_model: bool) -> web.Application:
    """Create the app. With `api_key`, everything but /healthz and outputs requires it.

    Without `load_model`, only demo-echo is available.
    """
    offers = {entry.id: ModelLoader(entry, load_model) for entry in (EMBEDDING, DEMO_IMAGE, DEMO_VIDEO, DEMO_SPEECH)}
    server = _Server(smollm, offers)
    videos = Videos(offers[DEMO_VIDEO.id])
    app = web.Application(middlewares=[_errors, _key_check(api_key)], client_max_size=MAX_BODY_BYTES)
    app.add_routes(
        [
            web.get("/healthz", server.health),
            web.get("/v1/models", server.models),
            web.get("/v1/models/{id}", server.model),
            web.post("/v1/chat/completions", server.chat),
            *Embeddings(offers[EMBEDDING.id]).routes(),
            *Images(offers[DEMO_IMAGE.id]).routes(),
            *Speech(offers[DEMO_SPEECH.id]).routes(),
            *videos.routes(),
        ]
    )

    async def lifetime(_: web.Application) -> AsyncIterator[None]:
        loading = asyncio.create_task(smollm.load()) if load_model else None
        yield
        videos.stop()
        for offer in offers.values():
            offer.close()
        if loading is not None:
            await loading
        await smollm.close()

    app.cleanup_ctx.append(lifetime)
    return app


class _Server:
    def __init__(self, smollm: SmolLM, offers: dict[str, ModelLoader]) -> None:
        self._smollm = smollm
        self._offers = offers
        self._models: dict[str, Model] = {SMOLLM2.id: smollm, DEMO_ECHO.id: DemoEcho()}

    async def health(self, _: web.Request) -> web.Response:
        """Return 200 while the server runs: demo-echo works even if the chat model is off."""
        models = {SMOLLM2.id: await self._smollm.health(), DEMO_ECHO.id: {"state": "ready"}}
        models |= {name: {"state": offer.state} for name, offer in self._offers.items()}
        return json_response({"status": "ok", "models": models})

    async def models(self, _: web.Request) -> web.Response:
        return json_response({"object": "list", "data": [_model_object(entry) for entry in self._offered()]})

    async def model(self, http: web.Request) -> web.Response:
        id = http.match_info["id"]
        for entry in self._offered():
            if entry.id == id:
                return json_response(_model_object(entry))
        raise model_not_found(id)

    async def chat(self, http: web.Request) -> web.StreamResponse:
        request = read_chat_request(decode_json(await http.read()))
        model = self._models.get(request.model)
        if model is None:
            raise model_not_found(request.model)
        return await send_response(http, request, model.answer(request))

    def _offered(self) -> list[CatalogEntry]:
        states = {name: offer.state for name, offer in self._offers.items()} | {SMOLLM2.id: self._smollm.state}
        return [entry for entry in ENTRIES if not states.get(entry.id, "ready").startswith("off")]


def _model_object(entry: CatalogEntry) -> dict[str, Any]:
    return {"id": entry.id, "object": "model", "created": CREATED, "owned_by": "yout-local"}


def _key_check(api_key: str | None) -> Middleware:
    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if api_key is None or _is_public(request.path) or _has_key(request, api_key):
            return await handler(request)
        raise ApiError(
            401,
            "Incorrect API key provided. Send the key this server was started with as a Bearer token.",
            type="authentication_error",
            code="invalid_api_key",
        )

    return check


def _is_public(path: str) -> bool:
    """Return whether the path needs no API key. Output URLs, like those of providers, cannot be guessed."""
    return path == "/healthz" or path.startswith(OUTPUTS)


def _has_key(http: web.Request, api_key: str) -> bool:
    scheme, _, given = http.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), api_key.encode())


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        return json_response(error.body(), error.status, error.headers)
    except web.HTTPException as error:
        return _framework_error(request, error)
    except ConnectionResetError:
        # The client disconnected during the response, so no error can be sent.
        raise
    except Exception:  # clients get JSON in OpenAI's format, the log gets the reason
        log.exception("%s %s failed", request.method, request.path)
        return json_response(server_error("Internal error of the embedded provider. See its log.").body(), 500)


def _framework_error(http: web.Request, error: web.HTTPException) -> web.Response:
    """Convert aiohttp's errors (404, 405, 413) to JSON."""
    texts = {
        404: f"Unknown path {http.path}. Chat completions are at POST /v1/chat/completions.",
        405: f"Method {http.method} is not allowed for {http.path}.",
        413: f"The request body is larger than {MAX_BODY_BYTES} bytes.",
    }
    body = ApiError(error.status, texts.get(error.status, error.reason)).body()
    allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
    return json_response(body, error.status, allow)
