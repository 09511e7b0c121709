"""Code examples in curl, Python and Node that run without dependencies. Pure.

They read the key from an environment variable, so that no key ends up in a script.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

API_KEY, ADMIN_KEY = "YOUT_API_KEY", "YOUT_ADMIN_KEY"  # environment variables


class Call(NamedTuple):
    """The call to show. `body` is None for a call without one; `streams` is true for server-sent events.

    `key_variable` is the environment variable with the key, "" for a call without a key.
    """

    method: str
    url: str
    body: Any
    key_variable: str
    streams: bool


def examples(call: Call) -> dict[str, str]:
    """Return the call's code in each language."""
    return {"curl": _curl(call), "Python": _python(call), "Node": _node(call)}


def fill_models(value: Any, models: Mapping[str, str]) -> Any:
    """Replace placeholders such as `$model` and `$image` in an example with models of the catalog."""
    if isinstance(value, dict):
        return {name: fill_models(item, models) for name, item in value.items()}
    if isinstance(value, list):
        return [fill_models(item, models) for item in value]
    if isinstance(value, str) and value.startswith("$"):
        kind = "chat" if value == "$model" else value[1:]
        return models.get(kind, f"a-{kind}-model")
    return value


def _curl(call: Call) -> str:
    lines = [f"curl{' -N' if call.streams else ''}{'' if call.method == 'GET' else f' -X {call.method}'} '{call.url}'"]
    if call.key_variable:
        lines.append(f'-H "authorization: Bearer ${call.key_variable}"')
    if call.body is not None:
        data = json.dumps(call.body).replace("'", "'\\''")
        lines += ["-H 'content-type: application/json'", f"-d '{data}'"]
    return " \\\n  ".join(lines)


def _python(call: Call) -> str:
    headers = [f'"authorization": "Bearer " + os.environ["{call.key_variable}"]'] if call.key_variable else []
    data = ""
    if call.body is not None:
        headers.append('"content-type": "application/json"')
        data = f"\n    data=json.dumps({call.body!r}).encode(),"
    imports = [*(["json"] if call.body is not None else []), *(["os"] if call.key_variable else []), "urllib.request"]
    read = "    print(response.read().decode())"
    if call.streams:
        read = '    for line in response:\n        print(line.decode(), end="")'
    return (
        f"import {', '.join(imports)}\n\n"
        f'request = urllib.request.Request(\n    "{call.url}",{data}\n    headers={{{", ".join(headers)}}},\n'
        f'    method="{call.method}",\n)\n'
        f"with urllib.request.urlopen(request) as response:\n{read}"
    )


def _node(call: Call) -> str:
    headers = [f'authorization: "Bearer " + process.env.{call.key_variable}'] if call.key_variable else []
    options = [f'method: "{call.method}"']
    if call.body is not None:
        headers.append('"content-type": "application/json"')
        options.append(f"body: JSON.stringify({json.dumps(call.body)})")
    if headers:
        options.append(f"headers: {{ {', '.join(headers)} }}")
    inside = "".join(f"  {option},\n" for option in options)
    read = (
        "for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) process.stdout.write(chunk);"
        if call.streams
        else "console.log(await response.text());"
    )
    return f'const response = await fetch("{call.url}", {{\n{inside}}});\n{read}'
