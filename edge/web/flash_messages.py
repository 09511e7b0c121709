"""What pages say after something was done. Named in the address, so that nobody can make a page of ours say anything else."""

from __future__ import annotations

DONE = {
    "signed-out": "You are signed out.",
    "signed-out-everywhere": "You are signed out everywhere else. Those browsers are refused from now on.",
    "session-ended": "Session ended. That browser is refused from now on.",
    "email-changed": "E-mail address changed. Use the new one to sign in.",
    "password-changed": "Password changed. Every other browser is signed out.",
    "key-updated": "Key updated. Changes apply from the next call.",
    "key-revoked": "Key revoked. Calls with it fail from now on.",
    "conversation-deleted": "Conversation deleted.",
    "share-revoked": "Share revoked. Its address is unknown from now on.",
    "redeemed": "Code redeemed. Its credits are in your balance.",
    "media-ordered": "It is on its way. Its credits are held until it is delivered.",
    "media-cancelled": "Cancelled. What was held is free again.",
    "welcome": "Your account is open.",
}
