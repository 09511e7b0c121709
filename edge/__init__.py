"""The edge: speaks HTTP to customers. It owns no table, no price and no vendor JSON."""
