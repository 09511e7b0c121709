"""Builds requests for Gemini's generateContent, with the camelCase field names of its REST API."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from shared.catalog.model_settings import nearest_effort, of_model
from shared.dialects import content_parts
from shared.dialects.base import ChatCall, Target
from shared.dialects.content_parts import SYSTEM_ROLES, Message
from shared.dialects.custom_tools import as_functions
from shared.dialects.deferred_tools import load_tools
from shared.dialects.field_support import check_fields, raise_unsupported
from shared.dialects.gemini_fields import FIELDS, MESSAGE_FIELDS, PART_FIELDS
from shared.dialects.json_schema import GEMINI, WorkBudget

BUDGETS = {"none": 0, "minimal": 512, "low": 1_024, "medium": 8_192, "high": 24_576, "xhigh": 24_576, "max": 24_576}
LEVELS = {
    "none": "MINIMAL",
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "HIGH",
    "max": "HIGH",
}
_SAMPLING = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "n": "candidateCount",
    "seed": "seed",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
}
# "Thought Signatures", FAQ: for calls made by another model or by the caller, if the model requires a signature.
PLACEHOLDER_SIGNATURE = "skip_thought_signature_validator"
MAX_STOPS = 5  # reference of GenerationConfig
Json = dict[str, Any]


def build_body(call: ChatCall, target: Target) -> Json:
    """Return the request body. Raises `UnsupportedField`."""
    request = as_functions(load_tools(call.body))
    check_fields(request, FIELDS)
    content_parts.check_options(request)
    # Gemini 3 and later, whose thinking has levels, require a signature for the first call of each step.
    needs_signatures = _style(target) == "level"
    system, contents = _contents(request, needs_signatures=needs_signatures)
    if not contents:
        raise_unsupported("messages", "at least one message must have content")
    body: Json = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": system}
    _tools(body, request)
    config = _generation(request, target)
    if config:
        body["generationConfig"] = config
    if target.route.settings.get("body"):
        body.update(target.route.settings["body"])
    return body


def _contents(request: Mapping[str, Any], *, needs_signatures: bool) -> tuple[list[Json], list[Json]]:
    """Return the system instruction's parts and the turns. Consecutive messages of one role form one turn."""
    system: list[Json] = []
    turns: list[Json] = []
    names: dict[str, str] = {}  # function name by call id
    for message in content_parts.messages(request, MESSAGE_FIELDS, PART_FIELDS):
        if message.role in SYSTEM_ROLES:
            if text := content_parts.plain_text(message):
                system.append({"text": text})
            continue
        role = "model" if message.role == "assistant" else "user"
        found = _parts(message, names, needs_signatures=needs_signatures)
        if turns and turns[-1]["role"] == role:
            turns[-1]["parts"] += found
        elif found:
            turns.append({"role": role, "parts": found})
    return system, turns


def _parts(message: Message, names: dict[str, str], *, needs_signatures: bool) -> list[Json]:
    if message.role == "tool":
        return [_function_response(message, names)]
    found = [made for where, part in message.parts if (made := _part(where, part)) is not None]
    if message.role == "assistant":
        if isinstance(message.fields.get("refusal"), str) and message.fields["refusal"]:
            found.append({"text": message.fields["refusal"]})
        found += _images(message)
        for index, call in enumerate(message.fields.get("tool_calls") or ()):
            id, name, arguments = content_parts.parse_tool_call(f"{message.path}.tool_calls[{index}]", call)
            names[id] = name
            google = (call.get("extra_content") or {}).get("google") or {}
            signature = google.get("thought_signature")
            if not isinstance(signature, str) or not signature:
                signature = PLACEHOLDER_SIGNATURE if needs_signatures and index == 0 else None
            made = {"functionCall": {"name": name, "args": arguments}}
            found.append({**made, "thoughtSignature": signature} if signature else made)
    return found


def _images(message: Message) -> list[Json]:
    """Return the images of an earlier answer: models that edit images need them, and newer ones require their signatures."""
    found: list[Json] = []
    images = message.fields.get("images")
    for index, image in enumerate(images if isinstance(images, list) else ()):
        where = f"{message.path}.images[{index}]"
        if not isinstance(image, dict):
            raise_unsupported(where, "must be an object with 'image_url'")
        made = _media(f"{where}.image_url.url", content_parts.media_url(where, image, "image_url"))
        extra = image.get("extra_content")
        google = extra.get("google") if isinstance(extra, dict) else None
        signature = google.get("thought_signature") if isinstance(google, dict) else None
        found.append({**made, "thoughtSignature": signature} if isinstance(signature, str) else made)
    return found


def _function_response(message: Message, names: Mapping[str, str]) -> Json:
    name = names.get(str(message.fields.get("tool_call_id") or "")) or message.fields.get("name")
    if not isinstance(name, str):
        raise_unsupported(f"{message.path}.tool_call_id", "must be the id of an earlier call")
    text = content_parts.plain_text(message)
    try:
        response = orjson.loads(text)
    except orjson.JSONDecodeError:
        response = None
    return {"functionResponse": {"name": name, "response": response if isinstance(response, dict) else {"result": text}}}


def _part(where: str, part: Mapping[str, Any]) -> Json | None:
    match part["type"]:
        case "image_url" | "video_url" as kind:
            return _media(f"{where}.{kind}.url", content_parts.media_url(where, part, kind))
        case "file":
            url, _ = content_parts.file_url(where, part)
            return _media(f"{where}.file.file_data", url)
        case "input_audio":
            audio = part.get("input_audio")
            if not isinstance(audio, dict) or not isinstance(audio.get("data"), str) or not isinstance(audio.get("format"), str):
                raise_unsupported(f"{where}.input_audio", "must be an object with base64 'data' and a 'format'")
            return {"inlineData": {"mimeType": f"audio/{audio['format']}", "data": audio["data"]}}
        case "thinking":
            return None
        case _:
            text = content_parts.text_of_part(part)
            if text is None:
                raise_unsupported(where, "must have text")
            return {"text": text} if text else None  # the provider rejects empty parts


def _media(where: str, url: str) -> Json:
    found = content_parts.parse_data_url(url)
    if found is not None:
        return {"inlineData": {"mimeType": found.media_type, "data": found.data}}
    kind, _ = mimetypes.guess_type(urlsplit(content_parts.require_https(where, url)).path)
    return {"fileData": {"fileUri": url, **({"mimeType": kind} if kind else {})}}


def _tools(body: Json, request: Mapping[str, Any]) -> None:
    functions = content_parts.function_tools(request)
    name = content_parts.chosen_function(request)
    if not functions:
        return
    work = WorkBudget()
    body["tools"] = [{"functionDeclarations": [_declaration(where, function, work) for where, _, function in functions]}]
    choice = "named" if name else request.get("tool_choice") or "auto"
    mode = {"named": "ANY", "required": "ANY", "none": "NONE", "auto": "AUTO"}[choice]
    if mode == "AUTO" and any(function.get("strict") for _, _, function in functions):
        mode = "VALIDATED"  # arguments that match the schema, or plain text
    body["toolConfig"] = {"functionCallingConfig": {"mode": mode, **({"allowedFunctionNames": [name]} if name else {})}}


def _declaration(where: str, function: Mapping[str, Any], work: WorkBudget) -> Json:
    made: Json = {"name": function["name"]}
    if function.get("description"):
        made["description"] = function["description"]
    parameters = function.get("parameters")
    if isinstance(parameters, dict):
        schema = content_parts.convert_schema(f"{where}.function.parameters", parameters, GEMINI, object_root=True, work=work)
        if schema.get("properties") or schema.get("additionalProperties"):
            made["parametersJsonSchema"] = schema
    return made


def _generation(request: Mapping[str, Any], target: Target) -> Json:
    config: Json = {theirs: request[ours] for ours, theirs in _SAMPLING.items() if request.get(ours) is not None}
    limit = content_parts.output_limit(request, target.max_output_tokens)
    if limit is not None:
        config["maxOutputTokens"] = limit
    if stops := content_parts.stop_sequences(request):
        if len(stops) > MAX_STOPS:
            raise_unsupported("stop", f"at most {MAX_STOPS} stop sequences are allowed")
        config["stopSequences"] = stops
    if request.get("logprobs"):
        config["responseLogprobs"] = True
        if request.get("top_logprobs"):
            config["logprobs"] = request["top_logprobs"]
    kind, schema = content_parts.response_format(request)
    if kind != "text":
        config["responseMimeType"] = "application/json"
        if schema is not None:
            config["responseJsonSchema"] = content_parts.convert_schema("response_format.json_schema.schema", schema, GEMINI)
    modalities = request.get("modalities")
    if modalities:
        if not set(modalities) <= {"text", "image"}:
            raise_unsupported("modalities", "must be text and image")
        config["responseModalities"] = [modality.upper() for modality in dict.fromkeys(modalities)]
    effort = request.get("reasoning_effort")
    if effort is not None and (thinking := _thinking(effort, target)):
        config["thinkingConfig"] = thinking
    return config


def _style(target: Target) -> str:
    style = of_model(target.route.settings, "thinking", target.route.upstream_model, "level")
    return style if isinstance(style, str) else "level"


def _thinking(requested: str, target: Target) -> Json:
    if requested not in LEVELS:
        raise_unsupported("reasoning_effort", f"must be one of {', '.join(LEVELS)}")
    effort = nearest_effort(target.route.settings, target.route.upstream_model, requested)
    style = _style(target)
    if style == "none" or effort not in LEVELS:
        return {}
    config = {"includeThoughts": requested != "none"}
    if style == "budget":
        return {**config, "thinkingBudget": BUDGETS[effort]}
    return {**config, "thinkingLevel": LEVELS[effort]}
