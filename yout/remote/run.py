"""Runs a command on another installation: the table of the commands that can, and the function of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from yout.arguments import CommandContext, UsageError
from yout.remote import URL_VARIABLE, accounts, catalog
from yout.remote.api_client import ApiClient, RemoteFailed
from yout.result import Result

RemoteRun = Callable[[CommandContext, ApiClient], Result]

REMOTE: Mapping[str, RemoteRun] = MappingProxyType(
    {
        "account create": accounts.create_account,
        "account email": accounts.change_email,
        "account subscribe": accounts.subscribe,
        "account change-plan": accounts.change_plan,
        "account cancel-plan": accounts.cancel_plan,
        "account keep-plan": accounts.keep_plan,
        "account suspend-plan": accounts.suspend_plan,
        "account resume-plan": accounts.resume_plan,
        "account overage": accounts.set_overage,
        "member add": accounts.add_member,
        "member update": accounts.update_member,
        "member suspend": accounts.suspend_member,
        "member resume": accounts.resume_member,
        "member remove": accounts.remove_member,
        "member transfer": accounts.transfer_account,
        "member list": accounts.list_members,
        "key create": accounts.create_key,
        "key update": accounts.update_key,
        "key limit": accounts.limit_key,
        "key revoke": accounts.revoke_key,
        "credits grant": accounts.grant_credits,
        "plan create": catalog.create_plan,
        "plan change": catalog.change_plan,
        "plan list": catalog.list_plans,
        "channel create": catalog.create_channel,
        "model create": catalog.create_model,
        "model publish": catalog.publish_model,
        "model deprecate": catalog.deprecate_model,
        "prices set": catalog.set_price,
        "prices show": catalog.show_price,
    }
)


def run_remotely(call: CommandContext) -> Result:
    """Run a command through the administration API.

    Raises `UsageError` if it works only on the installation itself, and like `ApiClient.send`.
    """
    run = REMOTE.get(call.arguments.command)
    if run is None:
        raise UsageError(
            f"`yout {call.arguments.command}` works only on the installation itself; unset {URL_VARIABLE} to run it there"
        )
    try:
        return run(call, ApiClient.from_environment())
    except KeyError as error:  # of a response: the service is another one, or another version
        raise RemoteFailed(
            f"The response has no field {error}. {URL_VARIABLE} must be the address of an edge with this version of Yout."
        ) from error
