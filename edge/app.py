"""`create_app(settings)`: assembles the edge's ASGI application."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, cast

import orjson
from quart import Quart, Response, current_app, g, request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from edge.admin.routes import ADMIN_BLUEPRINTS
from edge.api import chat_stream
from edge.api.account_limits import limit
from edge.api.budgets import budget_routes
from edge.api.conversations import conversations
from edge.api.keys import keys
from edge.api.ledger_heads import ledger_heads
from edge.api.media import api as media
from edge.api.models import catalog_models
from edge.api.purge import purge_routes
from edge.api.quote import quote_routes
from edge.api.receipts import receipts
from edge.api.reports import reports
from edge.api.share import share_routes
from edge.api.stripe_webhook import stripe_webhook
from edge.api.trust import trust
from edge.api.usage import usage_routes
from edge.call.asgi_routes import Handler, call_handler
from edge.call.endpoint_adapter import EndpointAdapter
from edge.call.responses import rate_headers
from edge.health import health
from edge.http.asgi_entry import entry
from edge.http.compression import compress_response
from edge.http.cors import PATHS as API_PATHS
from edge.http.cors import Cors
from edge.http.errors import INTERNAL, error_spec, is_internal, openai_error_body, request_id
from edge.http.lazy_rules import LazyRule
from edge.http.path_hint import path_hint
from edge.http.public_url import edge_url
from edge.reference.openapi_route import reference
from edge.request_context import refuse_unstorable
from edge.services import Services
from edge.store.metrics import Metrics
from edge.v1.chat import CHAT
from edge.v1.completions import COMPLETIONS
from edge.v1.embeddings import EMBEDDINGS
from edge.v1.image_edits import image_edits
from edge.v1.images import images
from edge.v1.messages import MESSAGES
from edge.v1.messages.count_tokens import counting
from edge.v1.messages.errors import error_body
from edge.v1.models import PATH as MODELS_PATH
from edge.v1.models import is_anthropic_client, models
from edge.v1.moderations import MODERATIONS
from edge.v1.rerank import RERANK
from edge.v1.responses import COMPACT, RESPONSES
from edge.v1.responses.retrieve import stored_responses
from edge.v1.speech import speech
from edge.v1.transcriptions import NATIVE_TRANSCRIPTIONS, TRANSCRIPTIONS, TRANSLATIONS
from edge.v1.videos import videos
from edge.web import pages
from edge.web.assets import assets
from edge.web.errors import error_page, wants_page
from edge.web.languages import languages
from edge.web.page_request import PageRequest
from edge.web.routes import web
from edge.web.share_page import share_page
from shared.core.clock import new_id
from shared.core.errors import InvalidRequest, YoutError
from shared.core.errors import NotFound as NothingThere
from shared.core.failure_report import describe_failure
from shared.core.settings import Settings

log = logging.getLogger("yout.edge")

BLUEPRINTS = (
    health,
    models,
    stored_responses,
    counting,
    receipts,
    usage_routes,
    budget_routes,
    quote_routes,
    catalog_models,
    limit,
    keys,
    media,
    images,
    image_edits,
    speech,
    videos,
    conversations,
    share_routes,
    purge_routes,
    ledger_heads,
    reports,
    trust,
    stripe_webhook,
    assets,
    share_page,
    *ADMIN_BLUEPRINTS,
    reference,
    languages,
    web,
)
# POST routes that call models, served without Quart.
ENDPOINTS: dict[str, EndpointAdapter] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": COMPLETIONS,
    "/v1/embeddings": EMBEDDINGS,
    "/v1/moderations": MODERATIONS,
    "/v1/rerank": RERANK,
    "/v2/rerank": RERANK,  # Cohere's SDK adds /v2 itself
    "/v1/audio/transcriptions": TRANSCRIPTIONS,
    "/v1/audio/translations": TRANSLATIONS,
    "/v1/responses": RESPONSES,
    "/v1/responses/compact": COMPACT,
    "/v1/messages": MESSAGES,
    "/api/chat/stream": chat_stream.NATIVE,
    "/api/chat/transcription": NATIVE_TRANSCRIPTIONS,
}


def create_app(settings: Settings, metrics: Metrics | None = None) -> Quart:
    """Return the edge as an ASGI application. Its lifespan opens and closes the `Services`; the database must be bound."""
    app = Quart(__name__, static_folder=None)
    app.request_class = PageRequest
    app.url_rule_class = LazyRule
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # a path with "//" is a 404, not a redirect
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    pages.install(app, settings)
    app.after_request(compress_response)
    app.extensions["endpoints"] = ENDPOINTS
    routes: dict[str, Handler] = {}
    cors = Cors(settings.cors_origins)
    _handle_errors(app, routes, cors)

    @app.before_serving
    async def start() -> None:
        services = await Services.start(settings, metrics)
        app.extensions["services"] = services
        routes.update({path: call_handler(services, adapter, path) for path, adapter in ENDPOINTS.items()})

    @app.after_serving
    async def stop() -> None:
        services: Services = app.extensions["services"]
        await services.close()

    wrapped: Any = entry(cast(Any, app.asgi_app), routes, cors, settings.max_body_bytes)
    app.asgi_app = wrapped  # type: ignore[method-assign]  # the documented way to wrap an app
    return app


def _refuse_repeated(args: MultiDict[str, str]) -> None:
    """Raise `InvalidRequest` for a query parameter that was sent twice: using one of its values would hide the other."""
    name = next((name for name, values in args.lists() if len(values) > 1), None)
    if name is not None:
        raise InvalidRequest(f"The parameter '{name[:100]}' was sent more than once. Send it once.", name[:100])


def _handle_errors(app: Quart, routes: Mapping[str, Handler], cors: Cors) -> None:
    @app.before_request
    async def name_request() -> None:
        g.request_id = request_id(new_id())

    @app.before_request
    async def check_address() -> None:
        if "\0" in request.path:
            raise NothingThere("Page not found.")
        refuse_unstorable(request.args.items(multi=True))
        if request.path.startswith("/api/"):
            _refuse_repeated(request.args)

    @app.after_request
    async def count_request(response: Response) -> Response:
        route = "unmatched" if request.url_rule is None else request.url_rule.rule
        services: Services = app.extensions["services"]
        services.metrics.record_request(route, response.status_code)
        return response

    @app.after_request
    async def add_request_id(response: Response) -> Response:
        for name in _adapter().id_headers:
            response.headers[name.decode()] = g.request_id
        for header, value in g.get("alias_headers", ()):
            response.headers[header.decode()] = value.decode()
        if request.path.startswith(API_PATHS):
            origin = request.headers.get("origin")
            for header, value in cors.headers(origin.encode("latin-1") if origin is not None else None):
                response.headers.add(header.decode(), value.decode("latin-1"))
            if "authorization" in request.headers or "x-api-key" in request.headers or "cache-control" not in response.headers:
                response.headers["cache-control"] = "no-store"
        return response

    @app.errorhandler(YoutError)
    async def domain_error(error: YoutError) -> Response:
        if is_internal(error):
            _log_failure(error)
        if wants_page():
            return await error_page(error)
        problem = _adapter().render_error(error, g.request_id)
        _count_error(problem.status, error_spec(error).code)
        response = Response(problem.body, status=problem.status)
        standing = rate_headers(error.rate_limit_state) if error.rate_limit_state else []
        for name, value in (*standing, *problem.headers):
            response.headers[name.decode()] = value.decode()
        return response

    @app.errorhandler(HTTPException)
    async def http_error(error: HTTPException) -> Response:
        if isinstance(error, NotFound) and request.path.rstrip("/") in routes:  # paths unknown to Quart
            error = MethodNotAllowed(["POST"])
        response = await error_page(error) if wants_page() else _plain_error(error.code or 500)
        if isinstance(error, MethodNotAllowed) and error.valid_methods:
            response.headers["allow"] = ", ".join(sorted(error.valid_methods))
        return response

    @app.errorhandler(Exception)
    async def unhandled_error(error: Exception) -> Response:
        _log_failure(error)
        if wants_page():
            return await error_page(error)
        problem = _adapter().render_error(error, g.request_id)
        _count_error(problem.status, INTERNAL.code)
        return Response(problem.body, status=problem.status, content_type="application/json")


def _count_error(status: int, code: str) -> None:
    services: Services = current_app.extensions["services"]
    services.metrics.record_error(status, code)


def _log_failure(error: Exception) -> None:
    log.error("%s failed with an internal error: %s", g.get("request_id", request.path), describe_failure(error))


def _adapter() -> EndpointAdapter:
    """Return the endpoint adapter whose error format applies: Anthropic's for its paths and clients, else OpenAI's."""
    lists_models = request.path.startswith(MODELS_PATH) and is_anthropic_client(request.headers)
    return MESSAGES if lists_models or request.path.startswith(_MESSAGES_PATHS) else CHAT


_MESSAGES_PATHS = tuple(path for path, adapter in ENDPOINTS.items() if adapter is MESSAGES)


MAX_PATH = 200  # characters quoted in an error message
_HTTP_ERRORS = {
    404: ("not_found", "Unknown route: {method} {path}. {hint}"),
    405: ("method_not_allowed", "{method} is not allowed for {path}."),
    413: ("request_too_large", "The request body is too large."),
}


def _plain_error(status: int) -> Response:
    code, text = _HTTP_ERRORS.get(status, ("invalid_request", "The request is malformed."))
    _count_error(status, code)
    hint = path_hint(request.path[:MAX_PATH], edge_url(), _is_known) if status == 404 else ""
    message = text.format(method=request.method, path=request.path[:MAX_PATH], hint=hint)
    kind = "invalid_request_error" if status < 500 else "server_error"
    body = openai_error_body(message, kind, code)
    if _adapter() is MESSAGES:
        body = error_body(status, body["error"], g.request_id)
    response = Response(orjson.dumps(body), status=status, content_type="application/json")
    if status in (404, 405):
        response.headers["x-should-retry"] = "false"
    return response


def _is_known(path: str) -> bool:
    if path in ENDPOINTS:
        return request.method == "POST"
    return bool(current_app.url_map.bind("").test(path, request.method))
