"""Argument parsing: nouns and verbs, with `--json` accepted anywhere."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from shared.core.errors import YoutError
from shared.core.settings import Settings
from yout.result import Result

if TYPE_CHECKING:  # it imports the tables, which `--help` does not need
    from shared.operations.audit import Origin


@dataclass(frozen=True)
class CommandContext:
    """The parsed arguments and the settings of one command."""

    arguments: argparse.Namespace

    @cached_property
    def settings(self) -> Settings:
        """The settings, read at first use. Raises `SettingsError`."""
        return Settings.load()

    @property
    def origin(self) -> Origin:
        """The origin for the audit log: `operator:` and the name of the system user."""
        from shared.operations.audit import Origin

        try:
            return Origin(f"operator:{getpass.getuser()}")
        except (KeyError, OSError):  # a container's user id may have no name
            return Origin(f"operator:{os.getuid()}")


Run = Callable[[CommandContext], Result]


class UsageError(YoutError):
    """The command line is invalid."""


class Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of exiting, allows no abbreviations, and accepts `--json` at every level."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)
        # No default: it would override the flag if it was given at another level.
        self.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON object")

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see `{self.prog} --help`)")


Commands = argparse._SubParsersAction  # argparse has no public name for this type


def add_command_group(commands: Commands[Parser], name: str, help: str) -> Commands[Parser]:
    """Add `yout NAME …` and return the parsers of its verbs."""
    noun = commands.add_parser(name, help=help, description=help)
    return noun.add_subparsers(metavar="VERB", required=True, parser_class=Parser)


def add_command(commands: Commands[Parser], name: str, help: str, run: Run, *, database: bool = True) -> Parser:
    """Add a command. With `database`, `run` is called with a connected database at the current schema."""
    parser = commands.add_parser(name, help=help, description=help)
    parser.set_defaults(run=run, database=database, command=parser.prog.partition(" ")[2])
    return parser


def read_secret_option(text: str) -> str:
    """Return the value of a secret option. `-` reads one line from standard input, to keep it out of process lists."""
    return sys.stdin.readline().rstrip("\r\n") if text == "-" else text
