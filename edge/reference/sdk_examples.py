"""Code examples of a model's main call in curl, and with OpenAI's SDKs for Python and Node. Pure.

A rerank has no method in OpenAI's SDKs, so its examples have no dependencies, like those of `edge.reference.examples`.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from edge.reference.examples import API_KEY, Call, examples

_UPLOAD = "speech.mp3"


class _SdkCall(NamedTuple):
    """A call with OpenAI's SDKs: the arguments in addition to the model, and a line that prints the result."""

    path: str
    method: str
    body: dict[str, Any]
    python: str
    node: str


_CALLS = {
    "chat": _SdkCall(
        "/chat/completions",
        "chat.completions.create",
        {"messages": [{"role": "user", "content": "Hello"}]},
        "print(response.choices[0].message.content)",
        "console.log(response.choices[0].message.content);",
    ),
    "embedding": _SdkCall(
        "/embeddings",
        "embeddings.create",
        {"input": ["Hello"]},
        "print(response.data[0].embedding)",
        "console.log(response.data[0].embedding);",
    ),
    "moderation": _SdkCall(
        "/moderations",
        "moderations.create",
        {"input": ["Hello"]},
        "print(response.results[0].flagged)",
        "console.log(response.results[0].flagged);",
    ),
    "image": _SdkCall(
        "/images/generations",
        "images.generate",
        {"prompt": "A lighthouse", "response_format": "url"},
        "print(response.data[0].url)",
        "console.log(response.data[0].url);",
    ),
    "video": _SdkCall(
        "/videos",
        "videos.create",
        {"prompt": "A lighthouse"},
        "print(response.id, response.status)",
        "console.log(response.id, response.status);",
    ),
    "speech": _SdkCall(
        "/audio/speech",
        "audio.speech.create",
        {"input": "Hello", "voice": "alloy"},
        f'response.write_to_file("{_UPLOAD}")',
        f'await writeFile("{_UPLOAD}", Buffer.from(await response.arrayBuffer()));',
    ),
    "transcription": _SdkCall(
        "/audio/transcriptions",
        "audio.transcriptions.create",
        {},
        "print(response.text)",
        "console.log(response.text);",
    ),
}
_RERANK = {"query": "Where do cats sleep?", "documents": ["Cats sleep on sofas.", "Rain falls."]}


def sdk_examples(kind: str, model: str, base_url: str) -> dict[str, str]:
    """Return the code by language. `base_url` ends with `/v1`."""
    if kind == "rerank":
        return examples(Call("POST", f"{base_url}/rerank", {"model": model, **_RERANK}, API_KEY, streams=False))
    call = _CALLS[kind]
    body = {"model": model, **call.body}
    uploads = kind == "transcription"
    return {
        "curl": _curl_upload(base_url + call.path, model) if uploads else _curl(base_url + call.path, body, kind),
        "Python": _python(call, body, base_url, uploads),
        "Node": _node(call, body, base_url, kind),
    }


def _curl(url: str, body: dict[str, Any], kind: str) -> str:
    code = examples(Call("POST", url, body, API_KEY, streams=False))["curl"]
    return f"{code} \\\n  -o {_UPLOAD}" if kind == "speech" else code


def _curl_upload(url: str, model: str) -> str:
    return f"curl '{url}' \\\n  -H \"authorization: Bearer ${API_KEY}\" \\\n  -F model='{model}' \\\n  -F file=@{_UPLOAD}"


def _python(call: _SdkCall, body: dict[str, Any], base_url: str, uploads: bool) -> str:
    arguments = "".join(f"    {name}={value!r},\n" for name, value in body.items())
    if uploads:
        arguments += f'    file=open("{_UPLOAD}", "rb"),\n'
    return (
        f"import os\n\nfrom openai import OpenAI\n\n"
        f'client = OpenAI(base_url="{base_url}", api_key=os.environ["{API_KEY}"])\n'
        f"response = client.{call.method}(\n{arguments})\n{call.python}"
    )


def _node(call: _SdkCall, body: dict[str, Any], base_url: str, kind: str) -> str:
    fields = "".join(f"  {name}: {json.dumps(value, ensure_ascii=False)},\n" for name, value in body.items())
    imports = 'import OpenAI from "openai";\n'
    if kind == "speech":
        imports = f'import {{ writeFile }} from "node:fs/promises";\n{imports}'
    if kind == "transcription":
        imports = f'import {{ createReadStream }} from "node:fs";\n{imports}'
        fields += f'  file: createReadStream("{_UPLOAD}"),\n'
    return (
        f'{imports}\nconst client = new OpenAI({{ baseURL: "{base_url}", apiKey: process.env.{API_KEY} }});\n'
        f"const response = await client.{call.method}({{\n{fields}}});\n{call.node}"
    )
