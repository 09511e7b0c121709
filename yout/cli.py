"""The entry point of `yout`, the operator's command line.

Exit codes: 0 success, 1 failure, 2 invalid command line or value, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from shared.core.errors import InvalidInput, NotFound, SchemaMismatch, SettingsError, YoutError
from yout.arguments import CommandContext, Parser, Run, UsageError
from yout.commands import (
    account,
    admin_key,
    alias,
    backup,
    channel,
    code,
    credits,
    doctor,
    key,
    ledger,
    member,
    migrate,
    model,
    plan,
    prices,
    privacy_check,
    prove_cap,
    purge,
    receipt,
    report,
    secret,
    staff,
    up,
)
from yout.remote import URL_VARIABLE
from yout.result import Result, print_error, print_result

NOUNS = (
    up,
    migrate,
    doctor,
    backup,
    secret,
    account,
    member,
    key,
    admin_key,
    credits,
    plan,
    code,
    channel,
    model,
    prices,
    alias,
    staff,
    ledger,
    prove_cap,
    receipt,
    privacy_check,
    report,
    purge,
)
CODES: dict[type[BaseException], str] = {
    UsageError: "usage",
    InvalidInput: "invalid_input",
    NotFound: "not_found",
    SettingsError: "settings",
    SchemaMismatch: "schema_mismatch",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Expected errors are printed as one line, without a traceback."""
    argv = sys.argv[1:] if argv is None else argv
    as_json = "--json" in argv
    try:
        arguments = build_parser().parse_args(argv)
        return print_result(_run(arguments), as_json=as_json)
    except (YoutError, OSError) as error:
        return _fail(error, as_json=as_json)
    except KeyboardInterrupt:
        return 130


def build_parser() -> Parser:
    """Build the parser. It is fast, because commands import what they need only when they run."""
    parser = Parser(prog="yout", description="Operate a Yout installation. Settings come from the environment and .env.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for noun in NOUNS:
        noun.register(commands)
    return parser


def _run(arguments: argparse.Namespace) -> Result:
    run: Run = arguments.run
    call = CommandContext(arguments)
    if arguments.database and os.environ.get(URL_VARIABLE):
        from yout.remote.run import run_remotely

        return run_remotely(call)
    if not arguments.database:
        return run(call)
    from yout.command_database import database_session

    with database_session(call.settings):
        return run(call)


def _fail(error: YoutError | OSError, *, as_json: bool) -> int:
    if isinstance(error, BrokenPipeError):
        # The reader of the pipe closed it. Discard further output, including the interpreter's flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    code = next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), "failed")
    print_error(str(error), code, as_json=as_json)
    return 2 if isinstance(error, UsageError | InvalidInput) else 1
