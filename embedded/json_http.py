"""Reads JSON bodies and fields, and writes JSON responses, for all endpoints."""

from typing import Any

import orjson
from aiohttp import web

from embedded.catalog import ENTRIES, CatalogEntry
from embedded.errors import ApiError, invalid_request


def decode_json(raw: bytes) -> Any:
    """Decode a JSON body. Raises ApiError 400."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise invalid_request(None, f"The request body is not valid JSON: {error}.") from error


async def read_object(http: web.Request) -> dict[str, Any]:
    """Read the body as a JSON object. Raises ApiError 400."""
    body = decode_json(await http.read())
    if not isinstance(body, dict):
        raise invalid_request(None, "The request body must be a JSON object.")
    return body


def json_response(body: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response(body=orjson.dumps(body), status=status, headers=headers)


def require_model(body: dict[str, Any], entry: CatalogEntry) -> None:
    """Require that the body names the endpoint's model. Raises ApiError 400, or 404 for another model."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise invalid_request("model", "'model' must be the ID of a model, as a string. GET /v1/models lists them.")
    if model != entry.id:
        raise model_not_found(model, entry)


def model_not_found(id: str, fitting: CatalogEntry | None = None) -> ApiError:
    """Return a 404 that lists the existing models, or only `fitting`, the endpoint's model, for one of another kind."""
    if fitting is not None and any(entry.id == id for entry in ENTRIES):
        message = f"The model {id!r} is not available on this endpoint. Use {fitting.id!r}."
    else:
        known = ", ".join(entry.id for entry in ENTRIES)
        message = f"The model {id!r} does not exist. Available models: {known}."
    return ApiError(404, message, param="model", code="model_not_found")


def required_string(body: dict[str, Any], name: str, max_characters: int) -> str:
    """Return a non-blank string of at most `max_characters` characters. Raises ApiError 400."""
    value = body.get(name)
    if not isinstance(value, str) or not value.strip():
        raise invalid_request(name, f"'{name}' must be a non-empty string.")
    if len(value) > max_characters:
        raise invalid_request(
            name, f"'{name}' allows at most {max_characters} characters, but has {len(value)}.", "string_above_max_length"
        )
    return value


def optional_choice(body: dict[str, Any], name: str, choices: tuple[str, ...], default: str) -> str:
    """Return one of `choices`, or `default` if absent. Raises ApiError 400."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, str) or value not in choices:
        raise invalid_request(name, f"'{name}' must be one of: {', '.join(choices)}.")
    return value
