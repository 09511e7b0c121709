"""`yout account`: accounts and their plans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from yout.arguments import CommandContext, Commands, Parser, add_command, add_command_group
from yout.result import Result, format_timestamp

if TYPE_CHECKING:
    from shared.models import Account

_NO_PUBLIC_URL = (
    "\nYOUT_PUBLIC_URL is not set, so this link works only on this machine. Elsewhere, replace the host with your edge's."
)


def register(commands: Commands[Parser]) -> None:
    verbs = add_command_group(commands, "account", "create accounts and manage their plans")
    create = add_command(verbs, "create", "create an account", _create)
    create.add_argument("email", metavar="EMAIL")
    create.add_argument("--credits", type=int, default=0, metavar="N", help="initial credits (default 0)")
    create.add_argument("--name", default="", help="display name")
    create.add_argument("--invite", action="store_true", help="email the owner a link to set a password")
    link = add_command(verbs, "password-link", "create a one-time link for setting the account's password", _password_link)
    link.add_argument("email", metavar="EMAIL", help="email or ID of the account")
    factor = add_command(verbs, "reset-second-factor", "remove a member's lost second factor", _reset_second_factor)
    factor.add_argument("email", metavar="EMAIL", help="email of the member")
    email = add_command(verbs, "email", "change an account's email", _email)
    email.add_argument("email", metavar="EMAIL", help="email or ID of the account")
    email.add_argument("new_email", metavar="NEW_EMAIL", help="the new email")
    for verb, help, run in (
        ("subscribe", "subscribe an account to a plan, starting now", _subscribe),
        ("change-plan", "change an account's plan at the next renewal", _change_plan),
        ("cancel-plan", "cancel an account's plan at the end of its period", _cancel_plan),
        ("keep-plan", "withdraw a cancellation", _keep_plan),
        ("suspend-plan", "stop a plan's grants and overage until it is resumed", _suspend_plan),
        ("resume-plan", "resume a suspended plan", _resume_plan),
        ("overage", "set an account's overage cap", _overage),
    ):
        command = add_command(verbs, verb, help, run)
        command.add_argument("email", metavar="EMAIL", help="email or ID of the account")
        if verb in ("subscribe", "change-plan"):
            command.add_argument("plan", metavar="PLAN", help="name or ID of the plan")
        if verb in ("change-plan", "cancel-plan"):
            command.add_argument("--now", action="store_true", help="now instead of at the next renewal")
        if verb == "overage":
            command.add_argument("cap", type=int, metavar="CREDITS", help="maximum overage per period; 0 turns it off")


def _create(call: CommandContext) -> Result:
    from shared.operations.accounts import create_account

    arguments = call.arguments
    if arguments.invite:
        account = _invite(call)
    else:
        account = create_account(arguments.email, arguments.credits, name=arguments.name, origin=call.origin)
    data = {
        "id": str(account.id),
        "email": account.email,
        "name": account.name,
        "status": account.status,
        "credits": arguments.credits,
        "balance": account.balance,
        "invited": arguments.invite,
    }
    note = " Its owner gets an email with a link to set a password." if arguments.invite else ""
    return Result(data, f"Created account {account.email} ({account.id}) with {account.balance} credits.{note}")


def _invite(call: CommandContext) -> Account:
    from shared.core.errors import InvalidInput
    from shared.operations.account_invitations import invite_to_account

    if not call.settings.sends_mail:
        raise InvalidInput("No mail server is set. Set YOUT_SMTP_URL, or omit --invite and use `yout account password-link`.")
    options = {"name": call.arguments.name, "sign_up_credits": call.settings.sign_up_credits, "origin": call.origin}
    return invite_to_account(call.arguments.email, call.arguments.credits, **options)


def _email(call: CommandContext) -> Result:
    from shared.operations.accounts import change_email

    addresses = (call.arguments.email, call.arguments.new_email)
    account = change_email(*addresses, notifies=call.settings.sends_mail, origin=call.origin)
    data = {"id": str(account.id), "email": account.email}
    return Result(data, f"Account {account.id} now has the email {account.email}. The owner signs in with it.")


def _password_link(call: CommandContext) -> Result:
    from shared.operations.web_accounts import create_password_link

    link = create_password_link(call.arguments.email, call.settings.secret_key, origin=call.origin)
    url = f"{call.settings.edge_url}/password/{link.token}"
    data = {"id": str(link.account.id), "email": link.account.email, "url": url, "expires_at": link.expires_at}
    note = "" if call.settings.is_publicly_reachable else _NO_PUBLIC_URL
    text = (
        f"{url}\nAnyone with this link can set the password for {link.account.email}, once, until"
        f" {format_timestamp(link.expires_at)}."
    )
    return Result(data, text + note)


def _reset_second_factor(call: CommandContext) -> Result:
    from shared.operations.people import find_person
    from shared.operations.second_factor import PEOPLE

    person = find_person(call.arguments.email)
    PEOPLE.disable(person.person, origin=call.origin)
    data = {"id": str(person.person), "email": person.email, "second_factor": False}
    return Result(data, f"{person.email} now signs in without a code and can set up a new second factor.")


def _subscribe(call: CommandContext) -> Result:
    from shared.operations.subscriptions import subscribe

    return _subscription(subscribe(call.arguments.email, call.arguments.plan, origin=call.origin))


def _change_plan(call: CommandContext) -> Result:
    from shared.operations.subscriptions import change_subscription

    return _subscription(change_subscription(call.arguments.email, call.arguments.plan, _when(call), origin=call.origin))


def _cancel_plan(call: CommandContext) -> Result:
    from shared.operations.subscriptions import cancel_subscription

    return _subscription(cancel_subscription(call.arguments.email, _when(call), origin=call.origin))


def _keep_plan(call: CommandContext) -> Result:
    from shared.operations.subscriptions import withdraw_cancellation

    return _subscription(withdraw_cancellation(call.arguments.email, origin=call.origin))


def _suspend_plan(call: CommandContext) -> Result:
    from shared.operations.subscriptions import suspend_subscription

    return _subscription(suspend_subscription(call.arguments.email, origin=call.origin))


def _resume_plan(call: CommandContext) -> Result:
    from shared.operations.subscriptions import resume_subscription

    return _subscription(resume_subscription(call.arguments.email, origin=call.origin))


def _overage(call: CommandContext) -> Result:
    from shared.operations.subscriptions import set_overage

    return _subscription(set_overage(call.arguments.email, call.arguments.cap, origin=call.origin))


def _when(call: CommandContext) -> str:
    return "now" if call.arguments.now else "next_period"


def _subscription(row: Any) -> Result:
    data = {
        "id": str(row.id),
        "account": str(row.account.id),
        "plan": row.plan.name,
        "status": row.status,
        "renews_at": row.renews_at,
        "next_plan": str(row.next_plan) if row.next_plan else None,
        "cancelled_at": row.cancelled_at,
        "suspended_at": row.suspended_at,
        "overage_cap": row.overage_cap,
        "overage_used": row.overage_used,
        "balance": row.account.balance,
        "plan_credits": row.account.plan_credits,
    }
    text = f"{row.account.email} has the plan {row.plan.name}"
    if row.status == "ended":
        text = f"{row.account.email}: the plan {row.plan.name} has ended"
    elif row.suspended_at is not None:
        text += ", suspended"
    elif row.cancelled_at is not None:
        text += f" until {format_timestamp(row.renews_at)}"
    else:
        text += f", renews {format_timestamp(row.renews_at)}"
    overage = f", overage up to {row.overage_cap}" if row.overage_cap else ""
    return Result(
        data, f"{text}{overage}. Balance: {row.account.balance} credits, including {row.account.plan_credits} plan credits."
    )
