"""Flash messages. The URL only contains their names, so that a link cannot make a page show other text."""

from __future__ import annotations

from shared.text.translation import lazy_gettext

FLASH_MESSAGES = {
    "signed-out": lazy_gettext("You have been signed out."),
    "signed-out-everywhere": lazy_gettext("Signed out of all other browsers."),
    "session-ended": lazy_gettext("Session ended. That browser has been signed out."),
    "email-changed": lazy_gettext("Email address changed. Use the new one to sign in."),
    "password-changed": lazy_gettext("Password changed. All other browsers have been signed out."),
    "key-updated": lazy_gettext("Key updated. Changes take effect with the next call."),
    "key-revoked": lazy_gettext("Key revoked. Calls with it fail from now on."),
    "invited": lazy_gettext("Invitation sent."),
    "invited-link": lazy_gettext("Invitation created. Send its link to the recipient."),
    "invitation-revoked": lazy_gettext("Invitation revoked. Its link no longer works."),
    "invitation-accepted": lazy_gettext("Welcome. You are now a member of this account."),
    "member-changed": lazy_gettext("Member updated. Changes take effect with the next call."),
    "member-suspended": lazy_gettext("Member suspended. Their API keys are rejected from now on."),
    "member-resumed": lazy_gettext("Member reinstated."),
    "member-removed": lazy_gettext("Member removed. Their API keys are revoked."),
    "ownership-transferred": lazy_gettext("The account has a new owner. Sign in again to continue as an admin."),
    "account-switched": lazy_gettext("Account switched."),
    "account-left": lazy_gettext("You have left the account."),
    "conversation-deleted": lazy_gettext("Conversation deleted."),
    "share-revoked": lazy_gettext("Share revoked. Its link no longer works."),
    "redeemed": lazy_gettext("Code redeemed. The credits have been added to your balance."),
    "order-cancelled": lazy_gettext("Order cancelled."),
    "top-up-on": lazy_gettext("Automatic top-up saved."),
    "top-up-off": lazy_gettext("Automatic top-up is off."),
    "card-removed": lazy_gettext("Card removed. Automatic top-up is off."),
    "budget-created": lazy_gettext("Budget created. Spending is compared with it about once a minute."),
    "budget-changed": lazy_gettext("Budget updated."),
    "budget-deleted": lazy_gettext("Budget deleted."),
    "emails-changed": lazy_gettext("Saved. It applies to the next emails."),
    "media-ordered": lazy_gettext("Job started. Its credits are held until it finishes."),
    "media-cancelled": lazy_gettext("Job cancelled. Held credits were released."),
    "welcome": lazy_gettext("Your account has been created."),
    "email-changed-verify": lazy_gettext("Email address changed. Use the new one to sign in. We sent it a verification link."),
    "verification-sent": lazy_gettext("We sent you an email with a link. It can take a few minutes to arrive."),
    "welcome-verify": lazy_gettext("Your account has been created. We sent you an email with a link to verify your address."),
}
