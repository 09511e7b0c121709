"""`yout alias`: other names for models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shared.core.errors import InvalidInput
from yout.arguments import CommandContext, Commands, Parser, add_command, add_command_group
from yout.result import Result, format_timestamp

if TYPE_CHECKING:  # it imports the tables, which `--help` does not need
    from shared.models import ModelAlias

NONE = "none"
_DATES = ("deprecated", "shutdown")


def register(commands: Commands[Parser]) -> None:
    verbs = add_command_group(commands, "alias", "manage aliases: other names for models")
    create = add_command(verbs, "create", "create an alias for a model", _create)
    create.add_argument("name", metavar="NAME", help="name that callers send as `model`")
    create.add_argument("model", metavar="MODEL", help="ID of the model, or another alias")
    add_deprecation_options(create)
    add_command(verbs, "list", "list all aliases", _list)
    update = add_command(verbs, "update", "change the given options of an alias", _update)
    update.add_argument("name", metavar="NAME")
    update.add_argument("--model", metavar="MODEL", help="ID of the model, or another alias")
    add_deprecation_options(update, removable=f"; '{NONE}' removes it")
    delete = add_command(verbs, "delete", "delete an alias", _delete)
    delete.add_argument("name", metavar="NAME")


def add_deprecation_options(
    parser: Parser, removable: str = "", shutdown: str = "calls with the name are refused", default: str = " (default: the model)"
) -> None:
    """Add the options with the dates and the successor. `shutdown` says what happens from that day on."""
    for name, what in (("deprecated", "the name is deprecated"), ("shutdown", shutdown)):
        parser.add_argument(f"--{name}", metavar="DATE", help=f"day (UTC) from which {what}, such as 2027-01-31{removable}")
    parser.add_argument("--successor", metavar="MODEL", help=f"the name to use instead{default}{removable}")


def _create(call: CommandContext) -> Result:
    from shared.operations.model_aliases import create_alias

    arguments = call.arguments
    alias = create_alias(arguments.name, arguments.model, **deprecation_options(vars(arguments)), origin=call.origin)
    return Result(_data(alias), f"Created alias {_line(alias)}.")


def _list(_call: CommandContext) -> Result:
    from shared.operations.model_aliases import list_aliases

    aliases = list_aliases()
    text = "\n".join(map(_line, aliases)) or "No aliases. Create one with: yout alias create NAME MODEL"
    return Result({"id": "aliases", "aliases": [_data(alias) for alias in aliases]}, text)


def _update(call: CommandContext) -> Result:
    from shared.operations.model_aliases import update_alias

    given = vars(call.arguments)
    changes = deprecation_options(given) | ({"model": given["model"]} if given["model"] is not None else {})
    if not changes:
        raise InvalidInput("Nothing to change. Pass at least one option, such as --model or --shutdown.")
    alias = update_alias(given["name"], changes, origin=call.origin)
    return Result(_data(alias), f"Updated alias {_line(alias)}.")


def _delete(call: CommandContext) -> Result:
    from shared.operations.model_aliases import delete_alias

    delete_alias(call.arguments.name, origin=call.origin)
    return Result({"id": call.arguments.name}, f"Deleted alias {call.arguments.name}.")


def deprecation_options(given: dict[str, Any]) -> dict[str, Any]:
    """Convert the options to fields of an alias or a model."""
    found = {f"{name}_at": _start_of_day(name, given[name]) for name in _DATES if given[name] is not None}
    if given["successor"] is not None:
        found["successor"] = None if given["successor"] == NONE else given["successor"]
    return found


def _start_of_day(option: str, text: str) -> int | None:
    from shared.core.timestamps import parse_timestamp

    if text == NONE:
        return None
    try:
        return parse_timestamp(f"{text}T00:00:00Z")
    except ValueError:
        raise InvalidInput(f"--{option} must be a date such as 2027-01-31, not {text!r}.") from None


def _data(alias: ModelAlias) -> dict[str, Any]:
    fields = ("model", "successor", "deprecated_at", "shutdown_at")
    return {"id": alias.name, **{field: getattr(alias, field) for field in fields}}


def _line(alias: ModelAlias) -> str:
    parts = [f"{alias.name} → {alias.model}"]
    parts += [f"successor {alias.successor}"] if alias.successor else []
    for what, time in (("deprecated", alias.deprecated_at), ("shut down", alias.shutdown_at)):
        parts += [f"{what} from {format_timestamp(time)}"] if time is not None else []
    return ", ".join(parts)
