"""The grammar of the command line: nouns, verbs, and `--json` anywhere."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from shared.core.errors import YoutError
from shared.core.settings import Settings
from yout.result import Result


@dataclass(frozen=True, slots=True)
class Invocation:
    """What a command is called with."""

    arguments: argparse.Namespace
    settings: Settings

    @property
    def actor(self) -> str:
        """Who acts, for the trail: `operator:` and the name of the system's user."""
        try:
            return f"operator:{getpass.getuser()}"
        except (KeyError, OSError):  # a container may run under a number that has no name
            return f"operator:{os.getuid()}"


Run = Callable[[Invocation], Result]


class UsageError(YoutError):
    """The command line itself is wrong."""


class Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of exiting, takes no abbreviations, and knows `--json` at every level."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)
        # No default here: a level at which the flag is absent must not undo the level at which it was given.
        self.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON object")

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see `{self.prog} --help`)")


Commands = argparse._SubParsersAction  # argparse names the type of `add_subparsers` no other way


def add_noun(commands: Commands[Parser], name: str, help: str) -> Commands[Parser]:
    """Add `yout NAME …` and give the place for its verbs."""
    noun = commands.add_parser(name, help=help, description=help)
    return noun.add_subparsers(metavar="VERB", required=True, parser_class=Parser)


def add_command(commands: Commands[Parser], name: str, help: str, run: Run, *, database: bool = True) -> Parser:
    """Add a command that `run` performs; with `database`, on an open database at the current schema."""
    parser = commands.add_parser(name, help=help, description=help)
    parser.set_defaults(run=run, database=database)
    return parser


def secret_value(text: str) -> str:
    """The value of an option that should stay out of process lists: `-` reads one line from standard input."""
    return sys.stdin.readline().rstrip("\r\n") if text == "-" else text
