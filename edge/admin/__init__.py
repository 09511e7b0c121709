"""The administration API under `/api/admin/`: what staff and operators do, for programs with an admin key."""
