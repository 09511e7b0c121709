"""Keys, passwords, sessions and visitors: their formats and the limits on guessing them."""
