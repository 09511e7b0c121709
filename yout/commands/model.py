"""`yout model`: catalog models and their prices."""

from __future__ import annotations

from shared.core.errors import InvalidInput
from yout.arguments import CommandContext, Commands, Parser, UsageError, add_command, add_command_group
from yout.commands.alias import NONE, add_deprecation_options, deprecation_options
from yout.commands.prices import RATE_HELP
from yout.result import Result, format_timestamp

PRICES = ("input", "output", "cached_input", "per_call", "per_5_seconds", "per_1k_characters", "minimum", "cache_write")
MEDIA_KINDS = ("image", "video", "speech")


def register(commands: Commands[Parser]) -> None:
    verbs = add_command_group(commands, "model", "manage models")
    create = add_command(
        verbs, "create", "add a model; prices are in credits per 1,000 tokens, per call, or per unit of its kind", _create
    )
    create.add_argument("id", metavar="ID", help="the `model` that callers send")
    create.add_argument("--channel", required=True, metavar="NAME", help="the channel that serves it")
    create.add_argument("--upstream-model", metavar="M", help="the provider's model name (default: ID)")
    create.add_argument("--input", type=int, metavar="N", help="credits per 1,000 input tokens (required for chat models)")
    create.add_argument("--output", type=int, metavar="N", help="credits per 1,000 output tokens (required for chat models)")
    create.add_argument("--cached-input", type=int, metavar="N", help="credits per 1,000 cached input tokens (default: --input)")
    create.add_argument("--cache-write", type=int, metavar="N", help="credits per 1,000 cache write tokens (default: --input)")
    create.add_argument("--rate", action="append", default=[], metavar="KIND=N", help=RATE_HELP)
    create.add_argument("--per-call", type=int, default=0, metavar="N", help="credits per call (default 0)")
    create.add_argument("--per-5-seconds", type=int, metavar="N", help="credits per 5 seconds of video")
    create.add_argument("--per-1k-characters", type=int, metavar="N", help="credits per 1,000 characters of speech")
    create.add_argument("--minimum", type=int, default=10, metavar="N", help="minimum charge per call, in credits (default 10)")
    create.add_argument(
        "--kind", default="chat", help="chat (default), embedding, image, video, speech, moderation, transcription or rerank"
    )
    create.add_argument("--context-window", type=int, metavar="N", help="context window in tokens: prompt plus output")
    create.add_argument("--max-output", type=int, metavar="N", help="maximum output tokens")
    create.add_argument("--free", action="store_true", help="free for visitors; allows a price of 0")
    create.add_argument("--full-hold", action="store_true", help="calls hold their maximum cost, also in a tight pool")
    create.add_argument("--description", default="", metavar="TEXT", help="one line for the catalog")
    create.add_argument(
        "--capability", action="append", default=[], metavar="TAG", help="a capability, such as tools or vision (repeatable)"
    )
    create.add_argument("--modality", metavar="TEXT", help="such as text+image->text (default: from the kind)")
    create.add_argument(
        "--from-template",
        action="store_true",
        help="use the limits, prices and tags of the channel's template; other options are ignored",
    )
    create.add_argument(
        "--markup", type=int, default=0, metavar="PERCENT", help="with --from-template: markup on list prices (default 0)"
    )
    publish = add_command(verbs, "publish", "enable a draft at its current price", _publish)
    publish.add_argument("id", metavar="ID")
    deprecate = add_command(verbs, "deprecate", "announce that a model will be shut down, or change that", _deprecate)
    deprecate.add_argument("id", metavar="ID")
    ending = "calls go to the successor, or are refused without one"
    add_deprecation_options(deprecate, f"; '{NONE}' removes it", ending, default="")


def _publish(call: CommandContext) -> Result:
    from shared.operations.channel_templates import publish_model

    model = publish_model(call.arguments.id, origin=call.origin)
    return Result({"id": model.id, "status": model.status}, f"Model {model.id} is enabled.")


def _deprecate(call: CommandContext) -> Result:
    from shared.operations.model_deprecation import FIELDS, deprecate_model

    changes = deprecation_options(vars(call.arguments))
    if not changes:
        raise InvalidInput("Nothing to change. Pass at least one option, such as --successor or --shutdown.")
    model = deprecate_model(call.arguments.id, changes, origin=call.origin)
    parts = [f"Model {model.id}"]
    for what, at in (("deprecated", model.deprecated_at), ("shut down", model.shutdown_at)):
        parts += [f"{what} from {format_timestamp(at)}"] if at is not None else []
    parts += [f"successor {model.successor}"] if model.successor else []
    text = ", ".join(parts) if len(parts) > 1 else f"{parts[0]} is not deprecated"
    return Result({"id": model.id, **{field: getattr(model, field) for field in FIELDS}}, f"{text}.")


def _create_from_template(call: CommandContext) -> Result:
    from shared.operations.channel_templates import create_known_model, known_model
    from shared.operations.channels import find_channel

    arguments = call.arguments
    known = known_model(find_channel(arguments.channel), arguments.id)
    model = create_known_model(
        arguments.channel,
        known,
        credits_per_usd=call.settings.credits_per_usd,
        markup_percent=arguments.markup,
        origin=call.origin,
    )
    data = {"id": model.id, "kind": model.kind, "channel": arguments.channel, "status": model.status}
    return Result(data, f"Created model {model.id} on channel {arguments.channel}.")


def _create(call: CommandContext) -> Result:
    from shared.operations.catalog import ModelDetails, Rates, create_model
    from shared.operations.prices import format_rate, parse_rates

    arguments = call.arguments
    if arguments.from_template:
        return _create_from_template(call)
    prices = {name: getattr(arguments, name) for name in PRICES}
    for name in ("input", "output"):
        if prices[name] is None:
            if arguments.kind not in MEDIA_KINDS:
                raise UsageError(f"the following arguments are required: --{name} (optional only for media models)")
            prices[name] = 0
    details = ModelDetails(
        kind=arguments.kind,
        description=arguments.description,
        context_window=arguments.context_window,
        max_output_tokens=arguments.max_output,
        capabilities=arguments.capability,
        modality=arguments.modality,
        free=arguments.free,
        full_hold=arguments.full_hold,
    )
    upstream = arguments.upstream_model
    rates = Rates(**prices, rates=parse_rates(arguments.rate))
    model = create_model(arguments.id, arguments.channel, rates, details, upstream_model=upstream, origin=call.origin)
    data = {
        "id": model.id,
        "kind": model.kind,
        "channel": arguments.channel,
        "upstream_model": upstream or model.id,
        **prices,
        "rates": [format_rate(rate) for rate in rates.rates],
        "free": model.is_free,
        "full_hold": model.full_hold,
        "context_window": model.context_window,
        "max_output_tokens": model.max_output_tokens,
        "capabilities": model.capabilities,
        "modality": model.modality,
        "status": model.status,
    }
    return Result(data, f"Created model {model.id} on channel {arguments.channel}.")
