"""The permission that each route requires of a member. Calls of models are checked by the ledger.

Routes that are not listed are for the owner only. `tests/edge/identity/test_route_permissions.py` compares the
table with the routes.
"""

from __future__ import annotations

from typing import Literal

from shared.identity.roles import OWNER, Permission, may, refusal

ADMIN_PATH = "/api/admin/"  # for admin keys only, which belong to no member: `edge/admin/route.py`
# public: also without signing in. self: every member, for their own sign-in.
Need = Permission | Literal["public", "self"]

_TABLE: dict[Need, tuple[str, ...]] = {
    "public": (
        *("GET /", "GET /models", "GET /models/<path:model_id>", "GET /playground", "GET /robots.txt", "GET /sitemap.xml"),
        *("GET /docs", "GET /docs/<chapter>", "GET /docs/reference", "GET /docs/reference/<section>", "GET /docs/search.json"),
        *("GET /openapi.json", "GET /healthz", "GET /readyz", "GET /metrics", "GET /assets/<path:name>", "POST /language"),
        *("GET /c/<slug>", "GET /closed/<proof>", "GET /closed/<proof>/certificate.json"),
        *("GET /forgot-password", "POST /forgot-password"),
        *("GET /sign-in", "POST /sign-in", "GET /sign-up", "POST /sign-up", "POST /sign-out"),
        *("GET /sign-in/<provider_id>", "GET /sign-in/<provider_id>/callback"),
        *("GET /sign-in/code", "POST /sign-in/code"),
        "POST /sign-in/passkey",
        *(
            "GET /password/<token>",
            "POST /password/<token>",
            "GET /invitation/<invitation_token>",
            "POST /invitation/<invitation_token>",
        ),
        *("GET /confirm-email/<link>", "POST /confirm-email/<link>", "GET /cancel-email/<link>", "POST /cancel-email/<link>"),
        *("GET /verify-email/<link>", "POST /verify-email/<link>", "POST /verify-email/<link>/resend"),
        *(
            "GET /.well-known/yout-purge-key.pem",
            "GET /.well-known/yout-ledger-heads.json",
            "GET /.well-known/yout-report-key.pem",
            "POST /webhooks/stripe/",
        ),
        *("GET /trust", "GET /trust.json"),
        *("GET /api/media/files/<id>", "GET /api/media/files/<id>/thumbnail"),  # links signed for a short time
    ),
    "self": (
        *("GET /account/sessions", "POST /account/sessions/<digest>/end", "POST /sign-out-everywhere"),
        *("POST /account/password", "POST /account/email", "POST /account/email/cancel", "GET /account/security"),
        *("POST /account/identities/connect", "POST /account/identities/<identity_id>/disconnect"),
        *("POST /account/passkeys", "POST /account/passkeys/<passkey_id>/remove"),
        *("POST /account/second-factor", "POST /account/second-factor/off", "POST /account/second-factor/recovery-codes"),
        *("GET /account/emails", "POST /account/emails"),
        *("GET /accounts", "POST /accounts/<account_id>/switch", "GET /account/leave", "POST /account/leave"),
    ),
    "read": (
        *("GET /account", "GET /account/usage", "GET /account/members"),
        *("GET /calls", "GET /calls.csv", "GET /calls/<id>", "GET /calls/<id>/receipt.json"),
        *("GET /api/usage/", "GET /api/receipts/<id>/", "GET /api/chat/limit/", "GET /api/chat/models/", "POST /api/quote/"),
        *("GET /api/key/", "GET /v1/models", "GET /v1/models/<path:model_id>", "POST /v1/messages/count_tokens"),
    ),
    "call": (
        *("GET /account/conversations", "GET /account/conversations/<conversation_id>/delete"),
        *("POST /account/conversations/<conversation_id>/delete", "GET /account/shares", "GET /account/shares/<slug>/revoke"),
        *("POST /account/shares/<slug>/revoke", "GET /account/media", "POST /account/media", "GET /account/media/jobs/<id>"),
        *("POST /account/media/jobs/<id>/cancel", "GET /account/media/price"),
        *("GET /api/chat/conversations/", "GET /api/chat/conversations/<conversation_id>/"),
        *("PUT /api/chat/conversations/<conversation_id>/", "DELETE /api/chat/conversations/<conversation_id>/"),
        *("POST /api/chat/share/", "GET /api/chat/share/", "DELETE /api/chat/share/<slug>/"),
        *("POST /api/media/<any(image, video, speech):kind>/", "GET /api/media/jobs/", "GET /api/media/jobs/<id>/"),
        *("DELETE /api/media/jobs/<id>/", "POST /api/media/jobs/<id>/cancel/"),
        *("GET /api/media/webhook-secret/", "POST /v1/audio/speech", "POST /v1/images/edits", "POST /v1/images/generations"),
        *("POST /v1/images/variations", "GET /v1/responses/<id>", "DELETE /v1/responses/<id>", "POST /v1/responses/<id>/cancel"),
        *("GET /v1/responses/<id>/input_items", "POST /v1/videos", "GET /v1/videos", "GET /v1/videos/<id>"),
        *("DELETE /v1/videos/<id>", "GET /v1/videos/<id>/content"),
    ),
    "keys": (
        *("GET /account/keys", "POST /account/keys", "GET /account/keys/created/<form_id>"),
        *("GET /account/keys/<key_id>/edit", "POST /account/keys/<key_id>/edit"),
        *("GET /account/keys/<key_id>/revoke", "POST /account/keys/<key_id>/revoke"),
        *(
            "GET /api/chat/keys/",
            "POST /api/chat/keys/",
            "PATCH /api/chat/keys/<key_id>/",
            "POST /api/chat/keys/<key_id>/revoke/",
        ),
    ),
    "all_keys": ("POST /api/media/webhook-secret/",),
    "pay": (
        *("POST /account/redeem", "GET /account/credits", "POST /account/credits/checkout", "POST /account/credits/invoice"),
        *("GET /account/credits/orders/<reference>", "POST /account/credits/orders/<reference>/pay"),
        *("POST /account/credits/orders/<reference>/cancel", "POST /account/credits/top-up", "POST /account/credits/card/remove"),
        *("GET /account/plan", "POST /account/plan/subscribe", "POST /account/plan/change"),
        *("POST /account/plan/cancel", "POST /account/plan/keep", "POST /account/plan/overage"),
        "POST /account/plan/bills/<reference>/pay",
        *("GET /account/budgets", "POST /account/budgets", "GET /account/budgets/<budget_id>"),
        *("POST /account/budgets/<budget_id>", "POST /account/budgets/<budget_id>/delete"),
        *("GET /api/budgets/", "POST /api/budgets/", "GET /api/budgets/<budget_id>/", "PATCH /api/budgets/<budget_id>/"),
        *("DELETE /api/budgets/<budget_id>/",),
    ),
    "members": (
        *("POST /account/members/invite", "POST /account/members/invitations/<invitation_id>/resend"),
        *("POST /account/members/invitations/<invitation_id>/revoke", "GET /account/members/<member_id>"),
        *("POST /account/members/<member_id>", "POST /account/members/<member_id>/suspend"),
        *("POST /account/members/<member_id>/resume", "POST /account/members/<member_id>/remove"),
    ),
    "account": (
        *("GET /account/close", "POST /account/close", "GET /account/data", "GET /account/export.json", "POST /account/purge"),
        *("GET /account/purge/<purge_id>/certificate.json", "POST /account/verify-email"),
        *("POST /account/members/<member_id>/transfer", "POST /api/chat/purge/", "GET /api/chat/purge/<purge_id>/"),
    ),
}
NEEDS: dict[str, Need] = {route: need for need, routes in _TABLE.items() for route in routes}


def is_allowed(role: str, method: str, rule: str) -> bool:
    """Return whether a member with this role may send `method` to the route `rule`."""
    if rule.startswith(ADMIN_PATH):
        return False
    need = NEEDS.get(f"{'GET' if method in ('HEAD', 'OPTIONS') else method} {rule}")
    if need is None:
        return role == OWNER
    return need == "public" or need == "self" or may(role, need)


def require_route(role: str, method: str, rule: str) -> None:
    """Raise `AccessDenied` unless a member with this role may send `method` to the route `rule`."""
    if not is_allowed(role, method, rule):
        raise refusal(role)
