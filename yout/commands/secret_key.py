"""`yout secret-key`: change SECRET_KEY without entering every secret again."""

from __future__ import annotations

from yout.arguments import CommandContext, Commands, Parser, UsageError, add_command, add_command_group, read_secret_option
from yout.result import Result


def register(commands: Commands[Parser]) -> None:
    verbs = add_command_group(commands, "secret-key", "change SECRET_KEY")
    change = add_command(verbs, "change", "re-encrypt values from the former key to SECRET_KEY", _change, database=False)
    change.add_argument("--former", metavar="KEY", help="the former SECRET_KEY, or - to read it from standard input")
    change.add_argument("--lost", action="store_true", help="the former key is lost: erase the values encrypted with it")


def _change(call: CommandContext) -> Result:
    from shared.files.storage import open_storage
    from shared.media.inputs import open_input_keys, reencrypt_inputs
    from shared.operations.secret_key import change_secret_key
    from yout.command_database import database_session

    arguments = call.arguments
    if (arguments.former is None) is not arguments.lost:
        raise UsageError("pass either --former or --lost")
    former = None if arguments.lost else read_secret_option(arguments.former)
    with database_session(call.settings, check_secret_key=False):
        files = 0
        if former is not None and (keys := open_input_keys()):  # first, so that a failure leaves everything to be repeated
            files = reencrypt_inputs(keys, open_storage(call.settings), former, call.settings.secret_key)
        changed = change_secret_key(former, call.settings.secret_key, origin=call.origin)
    sealed = changed.sealed + files
    data = {"id": "secret-key", "sealed": sealed, "erased": changed.erased}
    text = f"{sealed} values are now encrypted with SECRET_KEY"
    return Result(data, f"{text}, {changed.erased} were erased. Enter channel secrets again." if arguments.lost else f"{text}.")
