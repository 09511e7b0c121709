"""`yout secret`: rotate SECRET_KEY without entering every secret again."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

from yout.arguments import CommandContext, Commands, Parser, UsageError, add_command, add_command_group, read_secret_option
from yout.result import Result


def register(commands: Commands[Parser]) -> None:
    verbs = add_command_group(commands, "secret", "rotate SECRET_KEY")
    rotate = add_command(verbs, "rotate", "re-encrypt values from the former key to SECRET_KEY", _rotate, database=False)
    rotate.add_argument(
        "--former", metavar="KEY", help="the former SECRET_KEY (default: SECRET_KEY_FALLBACK); - reads it from standard input"
    )
    rotate.add_argument("--lost", action="store_true", help="the former key is lost: erase the values encrypted with it")


def _rotate(call: CommandContext) -> Result:
    from yout.command_database import database_session
    from yout.data_folder import only_rotation

    arguments, settings = call.arguments, call.settings
    if arguments.former is not None and arguments.lost:
        raise UsageError("pass either --former or --lost")
    given = [] if arguments.former is None else [read_secret_option(arguments.former)]
    file = settings.secret_key.file
    if given or arguments.lost or not (file and file.exists()):
        file = None
    former = given or [key for key in [settings.secret_key.fallback] if key]
    if not (former or file or arguments.lost):
        raise UsageError("set SECRET_KEY to a new key and SECRET_KEY_FALLBACK to the former one, or pass --former or --lost")
    with database_session(settings, check_secret_key=False):
        if file:
            with only_rotation(file.parent):
                return _replace_file(call, file)
        sealed, erased = _reencrypt(call, former, settings.secret_key)
    data = {"id": "secret", "sealed": sealed, "erased": erased}
    text = f"{sealed} values are now encrypted with SECRET_KEY"
    if arguments.lost:
        return Result(data, f"{text}, {erased} were erased. Enter channel secrets again.")
    return Result(data, f"{text}. Once all processes use it, unset SECRET_KEY_FALLBACK and restart them.")


def _replace_file(call: CommandContext, file: Path) -> Result:
    """Generate a new key in the key file. Running processes can decrypt with it at once, and encrypt with it after a restart."""
    from shared.core.secret_key import MAX_KEYS, read_key_file
    from yout.data_folder import write_private_file

    keys = read_key_file(file)
    _reencrypt(call, keys[1:], keys[0])  # values left by an interrupted run or by a process with an older key
    keys = [secrets.token_hex(32), *keys][:MAX_KEYS]
    write_private_file(file, "".join(f"{key}\n" for key in keys))
    sealed, erased = _reencrypt(call, keys[1:], keys[0])
    text = f"{sealed} values are now encrypted with a new key in {file}. Restart all processes before the next rotation."
    return Result({"id": "secret", "sealed": sealed, "erased": erased}, text)


def _reencrypt(call: CommandContext, former: Sequence[str], current: str) -> tuple[int, int]:
    """Re-encrypt files and rows. Returns how many values were re-encrypted, and how many erased."""
    from shared.files.storage import open_storage
    from shared.media.inputs import open_input_keys, reencrypt_inputs
    from shared.operations.secret_rotation import rotate_secret_key

    files = 0
    if former and (inputs := open_input_keys()):  # first, so that the command can be repeated after a failure
        storage = open_storage(call.settings)
        files = sum(reencrypt_inputs(inputs, storage, key, str(current)) for key in former)
    changed = rotate_secret_key(former, current, lost=call.arguments.lost, origin=call.origin)
    return changed.sealed + files, changed.erased
