"""`yout channel`: where calls are sent."""

from __future__ import annotations

import json
from typing import Any

from yout.arguments import Commands, Invocation, Parser, UsageError, add_command, add_noun, secret_value
from yout.result import Result


def register(commands: Commands[Parser]) -> None:
    verbs = add_noun(commands, "channel", "connect upstreams")
    create = add_command(verbs, "create", "connect one credential at one upstream", _create)
    create.add_argument("name", metavar="NAME")
    create.add_argument("--dialect", required=True, help="the upstream's wire format: openai, anthropic or gemini")
    create.add_argument("--base-url", required=True, metavar="URL", help="up to and with its version, such as https://host/v1")
    create.add_argument("--secret", default="", metavar="S", help="the upstream's key; - reads it from standard input")
    create.add_argument(
        "--setting", action="append", default=[], metavar="KEY=VALUE", help="a quirk of the vendor; VALUE is JSON or text"
    )


def _create(call: Invocation) -> Result:
    from shared.operations.channels import create_channel

    arguments = call.arguments
    channel = create_channel(
        arguments.name,
        arguments.dialect,
        arguments.base_url,
        secret_value(arguments.secret),
        secret_key=call.settings.secret_key,
        settings=dict(_pair(text) for text in arguments.setting),
        actor=call.actor,
    )
    data = {
        "id": str(channel.id),
        "name": channel.name,
        "dialect": channel.dialect,
        "base_url": channel.base_url,
        "settings": channel.settings,
        "status": channel.status,
    }
    return Result(data, f"Channel {channel.name} ({channel.id}) to {channel.base_url}.")


def _pair(text: str) -> tuple[str, Any]:
    """`retries=2` → `("retries", 2)`; `mode=fast` → `("mode", "fast")`."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UsageError(f"--setting takes KEY=VALUE, not {text!r}")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
