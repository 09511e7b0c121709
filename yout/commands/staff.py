"""`yout staff`: people with access to the console."""

from __future__ import annotations

from yout.arguments import CommandContext, Commands, Parser, add_command, add_command_group, read_secret_option
from yout.result import Result


def register(commands: Commands[Parser]) -> None:
    verbs = add_command_group(commands, "staff", "manage console access")
    create = add_command(verbs, "create", "add a staff member and print their first password once", _create)
    create.add_argument("--role", default="owner", help="owner, billing, support or readonly (default owner)")
    password = add_command(verbs, "password", "reset a staff member's password and end their sessions", _password)
    factor = add_command(verbs, "reset-second-factor", "remove a staff member's lost second factor", _reset)
    factor.add_argument("email", metavar="EMAIL")
    for verb in (create, password):
        verb.add_argument("email", metavar="EMAIL")
        verb.add_argument(
            "--password", metavar="P", help="the password, or - to read it from standard input (default: generated)"
        )


def _create(call: CommandContext) -> Result:
    from shared.operations.staff import create_staff

    person, password = create_staff(
        call.arguments.email,
        call.arguments.role,
        _chosen(call),
        must_change_password=call.settings.staff_password_change,
        origin=call.origin,
    )
    data = {"id": str(person.id), "email": person.email, "role": person.role, "password": password}
    return Result(data, f"{password}\nAdded {person.email} ({person.role}). Store the password now; it will not be shown again.")


def _password(call: CommandContext) -> Result:
    from shared.operations.staff import set_staff_password

    person, password = set_staff_password(
        call.arguments.email,
        _chosen(call),
        must_change_password=call.settings.staff_password_change,
        origin=call.origin,
    )
    data = {"id": str(person.id), "email": person.email, "password": password}
    return Result(data, f"{password}\nNew password for {person.email}. Store it now; it will not be shown again.")


def _reset(call: CommandContext) -> Result:
    from shared.operations.second_factor import STAFF
    from shared.operations.staff import find_staff

    person = find_staff(call.arguments.email)
    STAFF.disable(person.id, origin=call.origin)
    data = {"id": str(person.id), "email": person.email, "second_factor": False}
    return Result(data, f"{person.email} now signs in with only a password and can set up a new second factor.")


def _chosen(call: CommandContext) -> str | None:
    return None if call.arguments.password is None else read_secret_option(call.arguments.password)
