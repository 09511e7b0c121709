"""`yout model`: what callers may ask for, and what it costs."""

from __future__ import annotations

from yout.arguments import Commands, Invocation, Parser, UsageError, add_command, add_noun
from yout.result import Result

PRICES = ("input", "output", "cached_input", "per_call", "per_5_seconds", "per_1k_characters", "minimum", "cache_write")
MEDIA_KINDS = ("image", "video", "speech")


def register(commands: Commands[Parser]) -> None:
    verbs = add_noun(commands, "model", "offer models")
    create = add_command(
        verbs, "create", "offer a model; prices are credits per 1,000 tokens, per call, or as the kind has it", _create
    )
    create.add_argument("id", metavar="ID", help="what callers send as `model`")
    create.add_argument("--channel", required=True, metavar="NAME", help="the channel that serves it")
    create.add_argument("--upstream-model", metavar="M", help="the upstream's name for it (default: ID)")
    create.add_argument("--input", type=int, metavar="N", help="credits per 1,000 input tokens (chat models need it)")
    create.add_argument("--output", type=int, metavar="N", help="credits per 1,000 output tokens (chat models need it)")
    create.add_argument("--cached-input", type=int, metavar="N", help="credits per 1,000 cached input tokens (default: as input)")
    create.add_argument(
        "--cache-write", type=int, metavar="N", help="credits per 1,000 tokens written to a cache (default: as input)"
    )
    create.add_argument("--per-call", type=int, default=0, metavar="N", help="credits for each call (default 0)")
    create.add_argument("--per-5-seconds", type=int, metavar="N", help="credits for each 5 seconds of video")
    create.add_argument("--per-1k-characters", type=int, metavar="N", help="credits per 1,000 characters of speech")
    create.add_argument("--minimum", type=int, default=10, metavar="N", help="least credits of a call (default 10)")
    create.add_argument(
        "--kind", default="chat", help="chat (default), embedding, image, video, speech, moderation or transcription"
    )
    create.add_argument("--context-window", type=int, metavar="N", help="tokens of prompt and answer together")
    create.add_argument("--max-output", type=int, metavar="N", help="tokens of the longest answer")
    create.add_argument("--free", action="store_true", help="visitors may use it; a price of 0 is allowed")
    create.add_argument("--description", default="", metavar="TEXT", help="one line for the catalogue")
    create.add_argument("--capability", action="append", default=[], metavar="TAG", help="such as tools or vision (repeatable)")
    create.add_argument("--modality", metavar="TEXT", help="such as text+image->text (default: from the kind)")
    create.add_argument(
        "--from-template",
        action="store_true",
        help="windows, prices and tags as the channel's template knows them; ID alone counts",
    )
    create.add_argument(
        "--markup", type=int, default=0, metavar="PERCENT", help="with --from-template, on its list prices (default 0)"
    )
    publish = add_command(verbs, "publish", "serve a draft from now on, at the price that it has", _publish)
    publish.add_argument("id", metavar="ID")


def _publish(call: Invocation) -> Result:
    from shared.operations.channel_templates import publish_model

    model = publish_model(call.arguments.id, actor=call.actor)
    return Result({"id": model.id, "status": model.status}, f"Model {model.id} is served.")


def _create_from_template(call: Invocation) -> Result:
    from shared.operations.channel_templates import create_known_model, known_model
    from shared.operations.channels import find_channel

    arguments = call.arguments
    known = known_model(find_channel(arguments.channel), arguments.id)
    model = create_known_model(arguments.channel, known, markup_percent=arguments.markup, actor=call.actor)
    data = {"id": model.id, "kind": model.kind, "channel": arguments.channel, "status": model.status}
    return Result(data, f"Model {model.id} on channel {arguments.channel}.")


def _create(call: Invocation) -> Result:
    from shared.operations.catalog import create_model

    arguments = call.arguments
    if arguments.from_template:
        return _create_from_template(call)
    prices = {name: getattr(arguments, name) for name in PRICES}
    for name in ("input", "output"):
        if prices[name] is None:
            if arguments.kind not in MEDIA_KINDS:
                raise UsageError(f"the following arguments are required: --{name} (only media are not priced by tokens)")
            prices[name] = 0
    model = create_model(
        arguments.id,
        arguments.channel,
        upstream_model=arguments.upstream_model,
        kind=arguments.kind,
        context_window=arguments.context_window,
        max_output_tokens=arguments.max_output,
        free=arguments.free,
        description=arguments.description,
        capabilities=arguments.capability,
        modality=arguments.modality,
        actor=call.actor,
        **prices,
    )
    data = {
        "id": model.id,
        "kind": model.kind,
        "channel": arguments.channel,
        "upstream_model": arguments.upstream_model or model.id,
        **prices,
        "free": model.is_free,
        "context_window": model.context_window,
        "max_output_tokens": model.max_output_tokens,
        "capabilities": model.capabilities,
        "modality": model.modality,
        "status": model.status,
    }
    return Result(data, f"Model {model.id} on channel {arguments.channel}.")
