"""Flash messages. The URL only contains their names, so that a link cannot make a page show other text."""

from __future__ import annotations

FLASH_MESSAGES = {
    "signed-out": "You have been signed out.",
    "signed-out-everywhere": "Signed out of all other browsers.",
    "session-ended": "Session ended. That browser has been signed out.",
    "email-changed": "Email address changed. Use the new one to sign in.",
    "password-changed": "Password changed. All other browsers have been signed out.",
    "key-updated": "Key updated. Changes take effect with the next call.",
    "key-revoked": "Key revoked. Calls with it fail from now on.",
    "conversation-deleted": "Conversation deleted.",
    "share-revoked": "Share revoked. Its link no longer works.",
    "redeemed": "Code redeemed. The credits have been added to your balance.",
    "media-ordered": "Job started. Its credits are held until it finishes.",
    "media-cancelled": "Job cancelled. Held credits were released.",
    "welcome": "Your account has been created.",
    "email-changed-verify": "Email address changed. Use the new one to sign in. We sent it a verification link.",
    "verification-sent": "We sent you an email with a link. It can take a few minutes to arrive.",
    "welcome-verify": "Your account has been created. We sent you an email with a link to verify your address.",
}
