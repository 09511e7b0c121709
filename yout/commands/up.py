"""`yout up`: run the whole stack on this machine."""

from __future__ import annotations

from pathlib import Path

from yout.arguments import CommandContext, Commands, Parser, add_command
from yout.result import Result


def register(commands: Commands[Parser]) -> None:
    up = add_command(commands, "up", "run the whole stack on this machine until Ctrl-C", _up, database=False)
    up.add_argument("--no-local", action="store_true", help="do not start the embedded model server")
    up.add_argument("--procfile", type=Path, metavar="FILE", help="use this Procfile instead of the project's")


def _up(call: CommandContext) -> Result:
    from yout.supervisor.stack import run_stack

    local_model = call.settings.local_model and not call.arguments.no_local
    code = run_stack(call.settings, local_model=local_model, procfile=call.arguments.procfile)
    return Result({"id": "up", "exit_code": code}, "Stopped.", exit_code=code)
