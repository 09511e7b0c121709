"""Examples of a call in curl, Python and Node: with nothing to install, they work as they are pasted. Pure.

The key is taken from the environment variable `YOUT_API_KEY`, so that none is pasted along.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

VARIABLE = "YOUT_API_KEY"


class Call(NamedTuple):
    """What an example does: `body` is None for a call without one, `streams` for an answer of events."""

    method: str
    url: str
    body: Any
    with_key: bool
    streams: bool


def examples(call: Call) -> dict[str, str]:
    """The same call in each language."""
    return {"curl": _curl(call), "Python": _python(call), "Node": _node(call)}


def fill(value: Any, models: Mapping[str, str]) -> Any:
    """An example's value with `$model` and its like replaced by models that the edge has, by kind."""
    if isinstance(value, dict):
        return {name: fill(item, models) for name, item in value.items()}
    if isinstance(value, list):
        return [fill(item, models) for item in value]
    if isinstance(value, str) and value.startswith("$"):
        kind = "chat" if value == "$model" else value[1:]
        return models.get(kind, f"a-{kind}-model")
    return value


def _curl(call: Call) -> str:
    lines = [f"curl{' -N' if call.streams else ''}{'' if call.method == 'GET' else f' -X {call.method}'} '{call.url}'"]
    if call.with_key:
        lines.append(f'-H "authorization: Bearer ${VARIABLE}"')
    if call.body is not None:
        data = json.dumps(call.body).replace("'", "'\\''")
        lines += ["-H 'content-type: application/json'", f"-d '{data}'"]
    return " \\\n  ".join(lines)


def _python(call: Call) -> str:
    headers = [f'"authorization": "Bearer " + os.environ["{VARIABLE}"]'] if call.with_key else []
    data = ""
    if call.body is not None:
        headers.append('"content-type": "application/json"')
        data = f"\n    data=json.dumps({call.body!r}).encode(),"
    imports = [*(["json"] if call.body is not None else []), *(["os"] if call.with_key else []), "urllib.request"]
    read = (
        '    for line in answer:\n        print(line.decode(), end="")' if call.streams else "    print(answer.read().decode())"
    )
    return (
        f"import {', '.join(imports)}\n\n"
        f'request = urllib.request.Request(\n    "{call.url}",{data}\n    headers={{{", ".join(headers)}}},\n'
        f'    method="{call.method}",\n)\n'
        f"with urllib.request.urlopen(request) as answer:\n{read}"
    )


def _node(call: Call) -> str:
    headers = [f'authorization: "Bearer " + process.env.{VARIABLE}'] if call.with_key else []
    options = [f'method: "{call.method}"']
    if call.body is not None:
        headers.append('"content-type": "application/json"')
        options.append(f"body: JSON.stringify({json.dumps(call.body)})")
    if headers:
        options.append(f"headers: {{ {', '.join(headers)} }}")
    inside = "".join(f"  {option},\n" for option in options)
    read = (
        "for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) process.stdout.write(piece);"
        if call.streams
        else "console.log(await answer.text());"
    )
    return f'const answer = await fetch("{call.url}", {{\n{inside}}});\n{read}'
