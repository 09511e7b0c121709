"""Routes, the key check, and the one place where errors become responses."""

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from embedded.catalog import DEMO_ECHO, DEMO_IMAGE, DEMO_SPEECH, DEMO_VIDEO, EMBEDDING, ENTRIES, SMOLLM2, CatalogueEntry
from embedded.chat_request import read_chat_request
from embedded.demo import DemoEcho
from embedded.embeddings import Embeddings
from embedded.errors import ApiError, server_error
from embedded.generation_events import Model
from embedded.images import OUTPUTS, Images
from embedded.json_http import decoded, json_reply, no_such_model
from embedded.model_loader import Offer
from embedded.responses import reply
from embedded.smollm import SmolLM
from embedded.speech import Speech
from embedded.videos import Videos

log = logging.getLogger(__name__)

MOST_BODY_BYTES = 4 * 2**20
CREATED = 1_730_419_200  # when SmolLM2 was published, Unix seconds


def create_app(smollm: SmolLM, api_key: str | None, load_model: bool) -> web.Application:
    """The server. With `api_key`, everything but /healthz and outputs asks for it; without `load_model`, demo-echo is alone."""
    offers = {entry.id: Offer(entry, load_model) for entry in (EMBEDDING, DEMO_IMAGE, DEMO_VIDEO, DEMO_SPEECH)}
    server = _Server(smollm, offers)
    videos = Videos(offers[DEMO_VIDEO.id])
    app = web.Application(middlewares=[_errors, _key_check(api_key)], client_max_size=MOST_BODY_BYTES)
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
    def __init__(self, smollm: SmolLM, offers: dict[str, Offer]) -> None:
        self._smollm = smollm
        self._offers = offers
        self._models: dict[str, Model] = {SMOLLM2.id: smollm, DEMO_ECHO.id: DemoEcho()}

    async def health(self, _: web.Request) -> web.Response:
        """Always 200 while the server runs: demo-echo answers even if the real model is off."""
        models = {SMOLLM2.id: await self._smollm.health(), DEMO_ECHO.id: {"state": "ready"}}
        models |= {name: {"state": offer.state} for name, offer in self._offers.items()}
        return json_reply({"status": "ok", "models": models})

    async def models(self, _: web.Request) -> web.Response:
        return json_reply({"object": "list", "data": [_model_object(entry) for entry in self._offered()]})

    async def model(self, http: web.Request) -> web.Response:
        wanted = http.match_info["id"]
        for entry in self._offered():
            if entry.id == wanted:
                return json_reply(_model_object(entry))
        raise no_such_model(wanted)

    async def chat(self, http: web.Request) -> web.StreamResponse:
        request = read_chat_request(decoded(await http.read()))
        model = self._models.get(request.model)
        if model is None:
            raise no_such_model(request.model)
        return await reply(http, request, model.answer(request))

    def _offered(self) -> list[CatalogueEntry]:
        states = {name: offer.state for name, offer in self._offers.items()} | {SMOLLM2.id: self._smollm.state}
        return [entry for entry in ENTRIES if not states.get(entry.id, "ready").startswith("off")]


def _model_object(entry: CatalogueEntry) -> dict[str, Any]:
    return {"id": entry.id, "object": "model", "created": CREATED, "owned_by": "yout-local"}


def _key_check(api_key: str | None) -> Middleware:
    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if api_key is None or _is_open(request.path) or _bears(request, api_key):
            return await handler(request)
        raise ApiError(
            401,
            "Incorrect API key provided. Send the key this server was started with as a Bearer token.",
            type="authentication_error",
            code="invalid_api_key",
        )

    return check


def _is_open(path: str) -> bool:
    """Outputs are fetched by whoever was given their address, as vendors' are; nobody can guess one."""
    return path == "/healthz" or path.startswith(OUTPUTS)


def _bears(http: web.Request, api_key: str) -> bool:
    scheme, _, given = http.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), api_key.encode())


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        return json_reply(error.body(), error.status, error.headers)
    except web.HTTPException as error:
        return _framework_error(request, error)
    except ConnectionResetError:
        # The client left while we wrote to it; there is nobody to tell.
        raise
    except Exception:  # the boundary: the client gets JSON in OpenAI's shape, the log gets the reason
        log.exception("%s %s failed", request.method, request.path)
        return json_reply(server_error("The embedded provider failed. Its log says why.").body(), 500)


def _framework_error(http: web.Request, error: web.HTTPException) -> web.Response:
    """aiohttp's own refusals (no such path, wrong method, too large) as JSON."""
    texts = {
        404: f"There is nothing at {http.path}. The chat lives at POST /v1/chat/completions.",
        405: f"{http.path} does not take {http.method}.",
        413: f"The request body is larger than {MOST_BODY_BYTES} bytes.",
    }
    body = ApiError(error.status, texts.get(error.status, error.reason)).body()
    allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
    return json_reply(body, error.status, allow)
