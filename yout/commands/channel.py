"""`yout channel`: upstream connections."""

from __future__ import annotations

import json
from argparse import BooleanOptionalAction
from typing import TYPE_CHECKING, Any

from yout.arguments import CommandContext, Commands, Parser, UsageError, add_command, add_command_group, read_secret_option
from yout.result import Result

MAX_FAILURES = 10  # of calls, until a comparison is given up

if TYPE_CHECKING:  # commands import what they need only when they run
    from shared.models import Channel


def register(commands: Commands[Parser]) -> None:
    verbs = add_command_group(commands, "channel", "manage upstream connections")
    create = add_command(verbs, "create", "create a channel: one credential at one upstream", _create)
    create.add_argument("name", metavar="NAME")
    create.add_argument(
        "--template", metavar="T", help="a provider from `yout channel templates`; sets URL, dialect and settings"
    )
    create.add_argument("--dialect", help="the upstream's wire format: openai, responses, anthropic or gemini")
    create.add_argument("--base-url", metavar="URL", help="including the version, such as https://host/v1")
    create.add_argument("--secret", default="", metavar="S", help="the upstream's API key, or - to read it from standard input")
    create.add_argument(
        "--setting", action="append", default=[], metavar="KEY=VALUE", help="a provider setting; VALUE is JSON or text"
    )
    add_command(verbs, "templates", "list known providers", _templates, database=False)
    drafts = add_command(verbs, "drafts", "add the known models of a channel's provider, as drafts", _drafts)
    drafts.add_argument("name", metavar="NAME")
    drafts.add_argument(
        "--markup", type=int, default=0, metavar="PERCENT", help="markup on the provider's list prices (default 0)"
    )
    allow = add_command(verbs, "allow", "let a channel's calls use a parameter that no price covers", _allow)
    allow.add_argument("name", metavar="NAME")
    allow.add_argument("parameter", metavar="PARAMETER", help="name in the error of refused calls, such as plugins")
    allow.add_argument("--worst-case", required=True, metavar="TEXT", help="worst-case cost of a call; shown in the console")
    refuse = add_command(verbs, "refuse", "refuse a parameter again if no price covers it", _refuse)
    refuse.add_argument("name", metavar="NAME")
    refuse.add_argument("parameter", metavar="PARAMETER")
    rule = add_command(verbs, "rule", "set when a channel is flagged, and whether it is paused then", _rule)
    rule.add_argument("name", metavar="NAME")
    rule.add_argument("--margin-floor", type=int, metavar="PERCENT", help="flag the channel below this margin over a day")
    rule.add_argument(
        "--count-tolerance", type=int, metavar="PERCENT", help="flag it if token counts differ from ours by more than this"
    )
    rule.add_argument("--pause", action=BooleanOptionalAction, default=None, help="pause the channel when it is flagged")
    probes = add_command(verbs, "probes", "set how a channel is compared with reference channels, or make it one", _probes)
    probes.add_argument("name", metavar="NAME")
    probes.add_argument(
        "--reference", action=BooleanOptionalAction, default=None, help="other channels of its models are compared with it"
    )
    probes.add_argument("--daily", type=int, metavar="N", help="probes per day; 0 for none")
    probes.add_argument("--credits", type=int, metavar="N", help="maximum cost of a day's probes at the providers")
    probes.add_argument(
        "--lower-weight", action=BooleanOptionalAction, default=None, help="lower its weight while a model is different"
    )
    compare = add_command(verbs, "compare", "probe a channel and a reference now; exits with 1 if they differ", _compare)
    compare.add_argument("name", metavar="NAME")
    compare.add_argument("--reference", required=True, metavar="CHANNEL", help="the channel to compare it with")
    compare.add_argument("--model", metavar="ID", help="a chat model of both; needed if they share several")
    compare.add_argument("--probes", type=int, default=200, metavar="N", help="probes, of three calls each (default 200)")


def _probes(call: CommandContext) -> Result:
    from shared.operations.channels import find_channel
    from shared.operations.model_probes import ProbeRule, rule_of, update_probe_rule

    arguments = call.arguments
    before = rule_of(find_channel(arguments.name))
    options = (arguments.reference, arguments.daily, arguments.credits, arguments.lower_weight)
    given = dict(zip(ProbeRule._fields, options, strict=True))
    rule = before._replace(**{name: value for name, value in given.items() if value is not None})
    channel = update_probe_rule(arguments.name, rule, origin=call.origin)
    text = (
        f"Channel {channel.name} gets at most {rule.daily_probes} probes a day, for at most {rule.daily_probe_credits} credits."
    )
    if rule.is_reference:
        text = f"Channel {channel.name} is a reference."
    return Result({"id": str(channel.id), "name": channel.name, **rule._asdict()}, text)


def _compare(call: CommandContext) -> Result:
    from random import SystemRandom

    from shared.core.clock import now_ms
    from shared.operations.model_probes import add_sums, find_routes, record_failure
    from shared.probes.client import ProbeClient, ProbeFailed, ShapeRefused
    from shared.probes.evidence import RUN_PROBES, THRESHOLD, Evidence

    arguments, random = call.arguments, SystemRandom()
    if not 1 <= arguments.probes <= RUN_PROBES:
        raise UsageError(f"--probes must be from 1 to {RUN_PROBES}")
    reference, route, model = find_routes(arguments.name, arguments.reference, arguments.model)
    client, evidence, cost = ProbeClient(call.settings, random), Evidence(), 0
    failures: list[str] = []
    while evidence.probes < arguments.probes and not evidence.is_done and len(failures) < MAX_FAILURES:
        shape = client.shape_for(evidence.probes, reference, route)
        try:
            result = client.probe(shape, reference, route)
        except ShapeRefused as error:  # the next probe is a question instead
            cost += error.cost
            record_failure(route.channel, model, error.cost, now_ms())
            continue
        except ProbeFailed as error:
            failures.append(str(error))
            cost += error.cost
            record_failure(route.channel, model, error.cost, now_ms())
            continue
        cost += result.cost
        add_sums(route.channel, model, shape, result.observation, result.cost, now_ms())
        evidence = evidence.plus(result.observation.differing, result.observation.choice)
    verdict = "different" if evidence.is_different else "same" if evidence.is_done else "undecided"
    logs = evidence.log_capitals()
    data = {
        "id": str(route.channel),
        "channel": route.channel_name,
        "reference": reference.channel_name,
        "model": model,
        "result": verdict,
        "probes": evidence.probes,
        "failed": len(failures),
        "e_value": float(f"{evidence.value():.4g}"),
        "threshold": THRESHOLD,
        "differences": {kind: counts._asdict() for kind, counts in evidence.differences.items()},
        "log_capitals": {kind: round(value, 3) for kind, value in logs.items()},
        "cost": cost,
    }
    lines = [f"{model} on {route.channel_name}, compared with {reference.channel_name}: {verdict}"]
    lines.append(f"  {evidence.probes} probes, {len(failures)} failed; e-value {data['e_value']}, different from {THRESHOLD} on")
    lines += [
        f"  {kind}: the channel's reply differs in {counts.channel} of {counts.probes}, the reference's in {counts.reference}"
        for kind, counts in evidence.differences.items()
    ]
    if failures:
        lines.append(f"  last failure: {failures[-1]}")
    return Result(data, "\n".join(lines), int(verdict == "different"))


def _rule(call: CommandContext) -> Result:
    from shared.operations.channel_checks import Rule, rule_of, update_rule
    from shared.operations.channels import find_channel

    arguments = call.arguments
    before = rule_of(find_channel(arguments.name))
    given = dict(zip(Rule._fields, (arguments.margin_floor, arguments.count_tolerance, arguments.pause), strict=True))
    rule = before._replace(**{name: value for name, value in given.items() if value is not None})
    channel = update_rule(arguments.name, rule, origin=call.origin)
    pause = "paused" if rule.pauses_when_flagged else "flagged"
    text = f"Channel {channel.name} is {pause} below a margin of {rule.margin_floor} %, or if counts differ by over"
    return Result({"id": str(channel.id), "name": channel.name, **rule._asdict()}, f"{text} {rule.count_tolerance} %.")


def _allow(call: CommandContext) -> Result:
    from shared.operations.channels import allow_parameter

    arguments = call.arguments
    channel = allow_parameter(arguments.name, arguments.parameter, arguments.worst_case, origin=call.origin)
    return _allowed(channel, f"Calls of channel {channel.name} can use {arguments.parameter}.")


def _refuse(call: CommandContext) -> Result:
    from shared.operations.channels import disallow_parameter

    arguments = call.arguments
    channel = disallow_parameter(arguments.name, arguments.parameter, origin=call.origin)
    return _allowed(channel, f"Channel {channel.name} refuses {arguments.parameter}, unless a model's price covers it.")


def _allowed(channel: Channel, line: str) -> Result:
    allowed = channel.settings.get("allowed_parameters") or {}
    return Result({"id": str(channel.id), "name": channel.name, "allowed_parameters": allowed}, line)


def _create(call: CommandContext) -> Result:
    from shared.catalog.templates import no_log_warning

    channel = _create_channel(call)
    warning = no_log_warning(channel.dialect, channel.base_url, channel.settings)
    data = {
        "id": str(channel.id),
        "name": channel.name,
        "dialect": channel.dialect,
        "base_url": channel.base_url,
        "settings": channel.settings,
        "status": channel.status,
        "warning": warning,
    }
    text = f"Created channel {channel.name} ({channel.id}) for {channel.base_url}."
    return Result(data, text if warning is None else f"{text}\nWarning: {warning}")


def _create_channel(call: CommandContext) -> Channel:
    from shared.operations.channel_templates import create_channel_from_template
    from shared.operations.channels import create_channel

    arguments = call.arguments
    secret = read_secret_option(arguments.secret)
    settings = parse_settings(arguments.setting)
    if arguments.template is not None:
        if arguments.dialect is not None:
            raise UsageError("--dialect cannot be combined with --template")
        return create_channel_from_template(
            arguments.name,
            arguments.template,
            secret,
            base_url=arguments.base_url,
            settings=settings,
            secret_key=call.settings.secret_key,
            origin=call.origin,
        )
    missing = next((name for name in ("dialect", "base_url") if getattr(arguments, name) is None), None)
    if missing is not None:
        raise UsageError(f"the following arguments are required: --{missing.replace('_', '-')} (or a --template)")
    return create_channel(
        arguments.name,
        arguments.dialect,
        arguments.base_url,
        secret,
        secret_key=call.settings.secret_key,
        settings=settings,
        origin=call.origin,
    )


def _templates(_: CommandContext) -> Result:
    from shared.catalog.templates import TEMPLATES

    rows: list[dict[str, Any]] = [
        {
            "id": template.id,
            "name": template.name,
            "dialect": template.dialect,
            "base_url": template.base_url,
            "settings": template.channel_settings,
            "needs_secret": template.needs_secret,
            "models": [model.id for model in template.models],
            "note": template.note,
        }
        for template in TEMPLATES.values()
    ]
    lines = [f"{row['id']:<13} {row['dialect']:<10} {len(row['models']):>2} models  {row['base_url']}" for row in rows]
    return Result({"id": "templates", "templates": rows}, "\n".join(lines))


def _drafts(call: CommandContext) -> Result:
    from shared.operations.channel_templates import draft_models

    drafts = draft_models(
        call.arguments.name,
        credits_per_usd=call.settings.credits_per_usd,
        markup_percent=call.arguments.markup,
        origin=call.origin,
    )
    lines = [f"Added draft {id}. To enable it: yout model publish {id}" for id in drafts.added]
    lines += [f"{id} is already in the catalog, unchanged." for id in drafts.existing]
    return Result({"id": call.arguments.name, "drafts": drafts.added, "kept": drafts.existing}, "\n".join(lines))


def parse_settings(options: list[str]) -> dict[str, Any]:
    """Return the settings of `--setting KEY=VALUE` options. Raises `UsageError`."""
    return dict(_pair(text) for text in options)


def _pair(text: str) -> tuple[str, Any]:
    """Parse `retries=2` to `("retries", 2)`, and `mode=fast` to `("mode", "fast")`."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UsageError(f"--setting must be KEY=VALUE, not {text!r}")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
