"""Reading a JSON body and writing a JSON answer, the same for every endpoint."""

from typing import Any

import orjson
from aiohttp import web

from embedded.catalog import ENTRIES, CatalogueEntry
from embedded.errors import ApiError, invalid


def decoded(raw: bytes) -> Any:
    """The body as JSON. Raises ApiError 400."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise invalid(None, f"The request body is not valid JSON: {error}.") from error


async def read_object(http: web.Request) -> dict[str, Any]:
    """The body as a JSON object. Raises ApiError 400."""
    body = decoded(await http.read())
    if not isinstance(body, dict):
        raise invalid(None, "The request body must be a JSON object.")
    return body


def json_reply(body: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response(body=orjson.dumps(body), status=status, headers=headers)


def require_model(body: dict[str, Any], entry: CatalogueEntry) -> None:
    """That the body names the one model of its endpoint. Raises ApiError 400, or 404 for another one."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise invalid("model", "Give the id of a model as a string in 'model'. GET /v1/models lists them.")
    if model != entry.id:
        raise no_such_model(model, entry)


def no_such_model(wanted: str, fitting: CatalogueEntry | None = None) -> ApiError:
    """A 404 that names what there is; with `fitting`, the only one that the endpoint serves."""
    if fitting is not None and any(entry.id == wanted for entry in ENTRIES):
        message = f"The model {wanted!r} is not of this kind. This endpoint serves {fitting.id!r}."
    else:
        known = ", ".join(entry.id for entry in ENTRIES)
        message = f"The model {wanted!r} does not exist here. Known are: {known}."
    return ApiError(404, message, param="model", code="model_not_found")


def required_text(body: dict[str, Any], name: str, longest: int) -> str:
    """A string that is not blank, of at most `longest` characters. Raises ApiError 400."""
    value = body.get(name)
    if not isinstance(value, str) or not value.strip():
        raise invalid(name, f"Give '{name}' as a string that is not empty.")
    if len(value) > longest:
        raise invalid(name, f"'{name}' takes at most {longest} characters, but has {len(value)}.", "string_above_max_length")
    return value


def choice(body: dict[str, Any], name: str, choices: tuple[str, ...], default: str) -> str:
    """One of the given words, `default` when not given. Raises ApiError 400."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, str) or value not in choices:
        raise invalid(name, f"'{name}' must be one of: {', '.join(choices)}.")
    return value
