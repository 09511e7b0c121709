"""The text that `yout up` prints when everything is ready."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from shared.core.settings import Settings
from yout.supervisor.demo_account import Welcome
from yout.supervisor.ports import reachable_host

QUESTION = "Say hello in one short sentence."


def greeting(settings: Settings, welcome: Welcome | None) -> str:
    """Where everything listens; with `welcome`, also how to log in, and snippets that work when pasted."""
    host = reachable_host(settings.bind_host)
    edge, console = f"http://{host}:{settings.edge_port}", f"http://{host}:{settings.console_port}"
    lines = ["", "Yout is up. Ctrl-C stops it.", "", f"  Edge      {edge}/v1", f"  Pages     {edge}/", f"  Console   {console}/"]
    if welcome is not None:
        password = welcome.staff_password or f"(changed; `{_yout()} staff password {welcome.staff_email}` sets a new one)"
        lines += [
            f"  Staff     {welcome.staff_email}   {password}",
            f"  Account   {welcome.account_email}   {welcome.credits} credits",
            f"  API key   {welcome.key}",
            "",
            *_snippets(edge, welcome),
        ]
    return "\n".join([*lines, ""])


def _snippets(edge: str, welcome: Welcome) -> list[str]:
    if welcome.model is None:
        return [f"No model can be called yet: `{_yout()} channel create` connects a provider, `… model create` adds its models."]
    lines = ["Paste into a shell:", "", python_snippet(edge, welcome.key, welcome.model)]
    if shutil.which("curl"):
        lines += ["Or:", "", curl_snippet(edge, welcome.key, welcome.model), ""]
    return lines


def _yout() -> str:
    """This installation's `yout` command, quoted for a shell, usable from any folder."""
    return shlex.quote(str(Path(sys.executable).with_name("yout")))


def curl_snippet(edge: str, key: str, model: str) -> str:
    """A streamed chat in the shell."""
    body = f'{{"model": "{model}", "stream": true, "messages": [{{"role": "user", "content": "{QUESTION}"}}]}}'
    return f"""\
curl -N {edge}/v1/chat/completions \\
  -H "Authorization: Bearer {key}" \\
  -H "Content-Type: application/json" \\
  -d '{body}'"""


def python_snippet(edge: str, key: str, model: str) -> str:
    """A streaming chat with OpenAI's SDK: the text as it arrives, then the cost and the remaining credits.

    It runs with this environment's Python, which has the SDK, so that it works wherever it is pasted.
    """
    return f"""\
{shlex.quote(sys.executable)} - <<'END'
from openai import OpenAI

client = OpenAI(base_url="{edge}/v1", api_key="{key}")
stream = client.chat.completions.create(
    model="{model}", stream=True, messages=[{{"role": "user", "content": "{QUESTION}"}}]
)
for chunk in stream:
    print("".join(choice.delta.content or "" for choice in chunk.choices), end="", flush=True)
    if hasattr(chunk, "yout"):
        print("\\n", chunk.yout)
END
"""
