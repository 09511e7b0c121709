"""The text that `yout up` prints when everything is ready."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from shared.core.settings import Settings
from yout.supervisor.demo_account import DemoCredentials
from yout.supervisor.ports import reachable_host

QUESTION = "Say hello in one short sentence."


def format_banner(settings: Settings, welcome: DemoCredentials | None) -> str:
    """Return the URLs of all services; with `welcome`, also credentials and snippets to paste."""
    host = reachable_host(settings.bind_host)
    edge, console = f"http://{host}:{settings.edge_port}", f"http://{host}:{settings.console_port}"
    lines = ["", "Yout is up. Ctrl-C stops it.", "", f"  Edge      {edge}/v1", f"  Pages     {edge}/", f"  Console   {console}/"]
    if settings.mails_in_console:
        lines.append(f"  Emails    {console}/mails/")
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


def _snippets(edge: str, welcome: DemoCredentials) -> list[str]:
    if welcome.model is None:
        return [
            f"No model is available yet. Connect a provider with `{_yout()} channel create` and add models with `… model create`."
        ]
    lines = ["Paste into a shell:", "", python_snippet(edge, welcome.key, welcome.model)]
    if shutil.which("curl"):
        lines += ["Or:", "", curl_snippet(edge, welcome.key, welcome.model), ""]
    return lines


def _yout() -> str:
    """Return the path of this installation's `yout` command, quoted for a shell."""
    return shlex.quote(str(Path(sys.executable).with_name("yout")))


def curl_snippet(edge: str, key: str, model: str) -> str:
    """Return a curl command that streams a chat."""
    body = f'{{"model": "{model}", "stream": true, "messages": [{{"role": "user", "content": "{QUESTION}"}}]}}'
    return f"""\
curl -N {edge}/v1/chat/completions \\
  -H "Authorization: Bearer {key}" \\
  -H "Content-Type: application/json" \\
  -d '{body}'"""


def python_snippet(edge: str, key: str, model: str) -> str:
    """Return a shell command that streams a chat with Python's standard library, then prints the cost and the remaining credits.

    A minimal system has this environment's Python, but neither curl nor an SDK.
    """
    return f"""\
{shlex.quote(sys.executable)} - <<'END'
import json
from urllib.request import Request, urlopen

headers = {{"Authorization": "Bearer {key}", "Content-Type": "application/json"}}
body = {{"model": "{model}", "stream": True, "messages": [{{"role": "user", "content": "{QUESTION}"}}]}}
with urlopen(Request("{edge}/v1/chat/completions", json.dumps(body).encode(), headers)) as stream:
    for line in stream:
        if line.startswith(b"data: {{"):
            chunk = json.loads(line.removeprefix(b"data: "))
            print("".join(choice["delta"].get("content") or "" for choice in chunk["choices"]), end="", flush=True)
            if "yout" in chunk:
                print("\\n", chunk["yout"])
END
"""
